"""The stable groups of an ensemble as files: stable_groups.json, its table, the mapping of the consensus, figures.

They are what the members' found groups (groups.json) agree on; of members without these, and where that is asked for,
what their histories agree on at a cut.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from spd.clustering import consensus
from spd.clustering.ensemble_registry import RegisteredMember
from spd.clustering.groups import Groups
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.comparison import (
    ProductState,
    finished_members,
    history_fingerprints,
    product_state,
    read_ensemble,
    record_product,
)
from spd.clustering.pipeline.ensemble import stored_run_config
from spd.clustering.pipeline.foreign import ForeignEnsemble, check_replaceable, ensemble_model, output_of
from spd.clustering.pipeline.found_groups import groups_fingerprints, read_members_groups
from spd.clustering.pipeline.provenance import Fingerprints, read_manifest
from spd.clustering.plotting import coassociation, stability
from spd.clustering.plotting.style import best_effort
from spd.clustering.storage import EnsemblePaths
from spd.clustering.tracking.ensemble import track_ensemble
from spd.errors import MissingFileError, SPDError
from spd.files.csv_table import write_csv

logger = logging.getLogger(__name__)

DEFAULT_THRESHOLD = 0.9
STABLE_GROUPS = "stable_groups"
FIGURES = ("stability.png", "coassociation.png")


@dataclass(frozen=True)
class StableGroupsSettings:
    """How stable groups are found.

    Attributes:
        cut: where the members are cut; None: their found groups, or each at its MDL minimum where one has none.
        threshold: the least mean co-association inside a stable group.
    """

    cut: consensus.Cut | None = None
    threshold: float = DEFAULT_THRESHOLD

    def as_json(self) -> dict[str, Any]:
        """What a manifest says of them."""
        return asdict(self)


def write_stable_groups(
    paths: EnsemblePaths,
    settings: StableGroupsSettings | None = None,
    *,
    require_all: bool = False,
    output: Path | None = None,
) -> consensus.StableGroups:
    """Find the stable groups of an ensemble's finished members and write all files.

    Args:
        settings: None: the defaults.
        output: the directory to write into; None: the ensemble's own.

    Returns:
        The content of stable_groups.json.

    Raises:
        SPDError: fewer than two finished members, a history or groups that cannot be read or cut, a file that cannot be
            written.
    """
    settings = settings or StableGroupsSettings()
    target = output_of(paths, output)
    files = _files(target)
    if output is not None or isinstance(paths, ForeignEnsemble):
        check_replaceable(target, STABLE_GROUPS, files)
    members, ensemble = read_ensemble(paths, require_all=require_all)
    sources = _sources(paths, members)
    cut, groups = _groups_to_cut(paths, members, list(ensemble), settings.cut)
    content = write_stable_groups_of(
        target.directory,
        list(ensemble),
        run_ids=[member.run_id for member in members],
        ensemble_id=paths.ensemble_id,
        spd_run=ensemble_model(paths),
        settings=replace(settings, cut=cut),
        groups=groups,
    )
    record_product(target, STABLE_GROUPS, settings.as_json(), sources, files)
    return content


def cut_ensemble(paths: EnsemblePaths, cut: consensus.Cut) -> consensus.MemberCuts:
    """The finished members' partitions at a cut.

    Raises:
        SPDError: fewer than two finished members, a history or groups that cannot be read or cut.
    """
    members, ensemble = read_ensemble(paths)
    _, groups = _groups_to_cut(paths, members, list(ensemble), cut)
    return consensus.cut_members(list(ensemble), cut, groups)


def _groups_to_cut(
    paths: EnsemblePaths,
    members: Sequence[RegisteredMember],
    histories: Sequence[MergeHistory],
    cut: consensus.Cut | None,
) -> tuple[consensus.Cut, list[Groups] | None]:
    """Where to cut, and the members' found groups, where these are cut."""
    if cut is not None and not cut.is_found:
        return cut, None
    try:
        return cut or consensus.FOUND_GROUPS, read_members_groups(paths, members, histories)
    except MissingFileError as error:
        if cut is not None:
            raise
        logger.warning("%s: their stable groups are those of %s instead", error, consensus.Cut())
        return consensus.Cut(), None


def _sources(paths: EnsemblePaths, members: Sequence[RegisteredMember]) -> Fingerprints:
    return history_fingerprints(paths, members) | groups_fingerprints(paths, members)


def settings_as_before(paths: EnsemblePaths) -> StableGroupsSettings:
    """What the stable groups were found with, where that is known: it is kept when they are made again."""
    manifest = read_manifest(paths.manifest(STABLE_GROUPS))
    if manifest is None:
        return StableGroupsSettings()
    try:
        cut, threshold = manifest.settings["cut"], float(manifest.settings["threshold"])
        is_default = cut is None or cut == {"iteration": None, "n_groups": None}  # the latter: of older versions
        return StableGroupsSettings(None if is_default else consensus.Cut(**cut), threshold)
    except (KeyError, TypeError, ValueError, SPDError):
        return StableGroupsSettings()


def write_stable_groups_of(
    directory: Path,
    histories: list[MergeHistory],
    *,
    run_ids: list[str] | None = None,
    ensemble_id: str | None = None,
    spd_run: str | None = None,
    settings: StableGroupsSettings = StableGroupsSettings(),
    groups: Sequence[Groups] | None = None,
) -> consensus.StableGroups:
    """The same for histories that are at hand, into any directory.

    Args:
        settings: without a cut: each history at its own MDL minimum.
        groups: the members' found groups, where the cut asks for them.
    """
    paths = EnsemblePaths.at(directory)
    cuts = consensus.cut_members(histories, settings.cut or consensus.Cut(), groups)
    found = consensus.find_consensus(cuts, settings.threshold, run_ids)
    agreement = consensus.agreement_along_iterations(histories)
    consensus.write_stable_groups(paths.stable_groups, found, agreement, ensemble_id)
    content = consensus.read_stable_groups(paths.stable_groups)
    consensus.write_mapping(paths.consensus_mapping, found, ensemble_id=ensemble_id, spd_run=spd_run)
    write_csv(paths.stable_groups_table, consensus.to_dataframe(content))
    with best_effort("the figures of the stable groups"):
        _save_figures(paths.plots, content, found)
    return content


def track_stable_groups(paths: EnsemblePaths) -> None:
    """Send them to W&B, if the ensemble's config names a project."""
    config = stored_run_config(paths)
    if config is not None:
        track_ensemble(paths, config)


def stable_groups_are_current(paths: EnsemblePaths) -> bool:
    """Whether the stable groups and what belongs to them are whole, and of the members that are finished now."""
    return stable_groups_state(paths) == "current"


def stable_groups_state(paths: EnsemblePaths) -> ProductState:
    """Whether they are whole, and of the histories and groups of the members that are finished now.

    Raises:
        SPDError: a history or groups cannot be read.
    """
    return product_state(paths, STABLE_GROUPS, sources=_sources(paths, finished_members(paths)))


def _files(paths: EnsemblePaths) -> list[Path]:
    figures = [paths.plots / name for name in FIGURES]
    return [paths.stable_groups, paths.stable_groups_table, paths.consensus_mapping, *figures]


def _save_figures(directory: Path, content: consensus.StableGroups, found: consensus.Consensus) -> None:
    stability.save_stability_figure(directory / FIGURES[0], content)
    table = (found.coassociation, found.consensus, found.stable, found.labels)
    views = [coassociation.overview(*table), coassociation.zoom(*table, found.consensus_stats.mean)]
    shown = [view for view in views if view is not None]
    coassociation.save_coassociation_figure(directory / FIGURES[1], shown, f"members cut at {found.cut}")
