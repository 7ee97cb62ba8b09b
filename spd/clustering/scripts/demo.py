"""`make demo`: an ensemble of clustering runs on the bundled ResidMLP, and how well its groups meet the truth.

1. Run spd/clustering/configs/pipeline_example.yaml into ./demo_out (or SPD_OUT_DIR), unless that was done before.
2. In this model each feature is computed by components in several layers, so the right groups are known from the
   weights: compare the groups found in each member, those at its MDL minimum, and the consensus with them.
3. Say where the pictures are, and last, which page to open.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spd.clustering.scripts._command import make_parser, run_command

if TYPE_CHECKING:
    from spd.clustering.pipeline.ensemble import Pipeline

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "pipeline_example.yaml"


def make_command_parser() -> argparse.ArgumentParser:
    return make_parser(__doc__ or "", "python -m spd.clustering.scripts.demo")


def _body(arguments: argparse.Namespace) -> None:
    from spd.clustering.pipeline.compile_ahead import compiling_ahead
    from spd.clustering.pipeline.local import LocalOptions, run_local
    from spd.clustering.pipeline.log_file import log_to_file
    from spd.clustering.pipeline.sources import open_source
    from spd.clustering.pipeline.summary import summary_text
    from spd.settings import spd_out_dir

    os.environ.setdefault("SPD_OUT_DIR", "demo_out")
    pipeline, is_new = _find_or_create()
    if is_new:
        print(f"Clustering the bundled example into {spd_out_dir()}. The first run also compiles the kernels.")
    else:
        print(f"Reusing what is there of {pipeline.paths.ensemble_id}, and the compiled kernels.")
        print(f"To start again, remove {spd_out_dir()}.")
    log_to_file(pipeline.paths.log)
    options = LocalOptions(clustering_parallel=True, distances_parallel=True)
    with compiling_ahead(pipeline.run_config, pipeline.config.distances_methods):
        run_local(pipeline, options, open_source(pipeline.run_config))
    print(f"\n{summary_text(pipeline.paths)}\n")
    _print_purity(pipeline)
    _print_pictures(pipeline)
    _print_page(pipeline)


def _find_or_create() -> "tuple[Pipeline, bool]":
    """The ensemble of this very config that an earlier demo has made or begun, or a new one."""
    from spd.clustering.pipeline.ensemble import (
        create_pipeline,
        effective_run_config,
        find_pipeline,
        read_pipeline_config,
    )

    config = read_pipeline_config(CONFIG, {})
    run_config = effective_run_config(config, {})
    found = find_pipeline(config, run_config)
    return (found, False) if found else (create_pipeline(config, run_config), True)


def _print_purity(pipeline: "Pipeline") -> None:
    from spd.clustering.pipeline.mapping import get_cluster_mapping
    from spd.experiments.ground_truth import component_features

    model_path = pipeline.run_config.model_path
    assert model_path is not None, "the example has a model"
    features = component_features(model_path)
    directory = pipeline.paths.directory
    idxs = [member.idx for member in pipeline.members()]
    print("Each feature is computed by components in every layer, which should be one group. The groups found:")
    for idx in idxs:
        print(f"  member {idx}: {_purity(get_cluster_mapping(directory, 'groups', run_idx=idx)['clusters'], features)}")
    print(f"  consensus: {_purity(get_cluster_mapping(directory, 'groups')['clusters'], features)}")
    print("The same at the MDL minimum of the merge, for comparison:")
    for idx in idxs:
        print(f"  member {idx}: {_purity(get_cluster_mapping(directory, 'best', run_idx=idx)['clusters'], features)}")


def _purity(clusters: dict[str, int | None], features: dict[str, int | None]) -> str:
    """How well the clusters of a mapping, null for a component that is alone, meet the features."""
    from spd.experiments.ground_truth import group_purity

    groups: dict[object, list[str]] = {}
    for label, cluster in clusters.items():
        groups.setdefault(label if cluster is None else cluster, []).append(label)
    found = group_purity(list(groups.values()), features)
    return (
        f"{len(groups)} groups for {found.n_features} features, {found.n_pure_and_complete} features are exactly one "
        f"group; purity {found.purity:.3f}, completeness {found.completeness:.3f}, adjusted Rand "
        f"{found.adjusted_rand:.3f}"
    )


def _print_pictures(pipeline: "Pipeline") -> None:
    member = pipeline.members()[0]
    places = [pipeline.paths.directory, pipeline.paths.plots, pipeline.paths.run(member.run_id).plots]
    print("\nPictures:")
    for place in places:
        for picture in sorted(place.glob("*.png")):
            print(f"  {_short(picture)}")


def _print_page(pipeline: "Pipeline") -> None:
    if pipeline.paths.report.is_file():
        print(f"\nWhat each group does: open {_short(pipeline.paths.report)}")


def _short(path: Path) -> str:
    """From the working directory, where the path lies in it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def main(argv: list[str] | None = None) -> int:
    return run_command(make_command_parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
