"""A sweep of alpha from one harvest, as files: sweep.json, its table and figure, and the stable groups at the alpha
that is recommended (consensus.sweep has the rule)."""

import logging
from pathlib import Path
from typing import Any

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.consensus.sweep import AlphaResult, recommend, sweep_alphas
from spd.clustering.harvest.saved import SavedHarvest, find_harvest
from spd.clustering.memberships import Memberships
from spd.clustering.pipeline.sources import open_source
from spd.clustering.pipeline.stable_groups import write_stable_groups_of
from spd.clustering.plotting.style import best_effort
from spd.clustering.plotting.sweep import save_sweep_figure
from spd.clustering.storage import SweepPaths
from spd.files.checked import write_json
from spd.files.csv_table import write_csv
from spd.text import table_lines

logger = logging.getLogger(__name__)

_COLUMNS = (
    ("alpha", "alpha", "g"),
    ("n_groups", "groups", ",.0f"),
    ("n_alone", "alone", ",.0f"),
    ("largest", "largest", ",.0f"),
    ("agreement", "agreement", ".3f"),
    ("adjusted_rand", "adj. Rand", ".3f"),
    ("in_doubt", "in doubt", ".1%"),
    ("n_stable", "stable groups", ",d"),
    ("stable_share", "in stable", ".1%"),
    ("saved", "saved", ".1%"),
)

LEGEND = """agreement: adjusted mutual information of members; in doubt: pairs of components together in 10% to 90% of
the members, of all ever together; saved: share of the description of left-out samples that the groups save"""

WITHOUT_ALPHA = """This is about the MDL cut. The groups that a run finds in its memberships (groups.json), and the
stable groups of an ensemble by default, do not depend on alpha."""


def run_sweep(
    config: ClusteringRunConfig,
    memberships: Memberships,
    directory: Path,
    *,
    alphas: list[float],
    n_seeds: int,
    n_workers: int = 1,
) -> dict[str, Any]:
    """Sweep, write all files into the directory, and return the content of sweep.json.

    Raises:
        SPDError: fewer than two seeds, alphas that are negative or repeated, a file that cannot be written.
    """
    paths = SweepPaths.at(directory)
    results, histories = sweep_alphas(
        memberships,
        config.merge_config,
        alphas,
        range(config.seed, config.seed + n_seeds),
        n_workers=n_workers,
        report=lambda line: logger.debug("%s", line),
    )
    advice = recommend(results)
    content: dict[str, Any] = {
        "recommended_alpha": advice.alpha,
        "reason": advice.reason,
        "candidates": advice.candidates,
        "n_seeds": n_seeds,
        "config": config.model_dump(mode="json"),
        "results": [vars(result) for result in results],
    }
    write_json(paths.results, content)
    _write_table(paths.table, results)
    with best_effort("the figure of the sweep"):
        save_sweep_figure(paths.figure, content["results"], content["recommended_alpha"], content["candidates"])
    if advice.alpha is not None:
        write_stable_groups_of(directory, histories[advice.alpha], spd_run=config.spd_run)
    return content


def results_table(results: list[dict[str, Any]]) -> str:
    """The results of sweep.json as a table for people."""
    rows = [tuple(title for _, title, _ in _COLUMNS)]
    rows += [tuple(format(result[name], spec) for name, _, spec in _COLUMNS) for result in results]
    return "\n".join(table_lines(rows))


def _write_table(path: Path, results: list[AlphaResult]) -> None:
    import pandas as pd

    write_csv(path, pd.DataFrame([vars(result) for result in results]))


def load_memberships(config: ClusteringRunConfig, path: Path | None) -> Memberships:
    """Those of a saved harvest, or new ones of the config's model or activations.

    Raises:
        SPDError: they cannot be read or made.
    """
    if path is not None:
        harvest = find_harvest(path)
        return Memberships.load(path) if harvest is None else SavedHarvest(harvest).load()
    source = open_source(config)
    config = source.run_config(config.replaced(ensemble_id=None))  # all samples, no member's draw of them
    return source.memberships(config)
