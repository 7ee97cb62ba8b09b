"""The members of an ensemble before work on them begins: which are finished and whole, which are to be made."""

from collections.abc import Sequence
from pathlib import Path

from spd.clustering.ensemble_registry import RegisteredMember, set_member_state
from spd.clustering.pipeline.ensemble import Pipeline
from spd.clustering.pipeline.provenance import Fingerprints
from spd.clustering.pipeline.run_record import is_whole
from spd.clustering.pipeline.sources import MembershipSource
from spd.errors import ConfigError

ADDED_BY_HAND = (
    "is not finished, and was added by a command of its own (run_merge or run_clustering): give that command again, "
    "with --idx-in-ensemble"
)
"""Why a member of an ensemble without a config is not made by --resume."""


def source_fingerprints(source: MembershipSource) -> Fingerprints:
    """Fingerprints of the files that the memberships come from, by a name that stays when all is moved.

    Raises:
        SPDError: one cannot be read.
    """
    return {Path(path).name: found for path, found in source.fingerprints().items()}


def unfinished_members(
    pipeline: Pipeline, members: Sequence[RegisteredMember], inputs: Fingerprints | None
) -> list[RegisteredMember]:
    """Those on which something is left to do; of the others the registry then says `done`.

    Raises:
        ConfigError: a member was made from another config or other data than the ensemble's, or there are fewer
            members than its config says.
    """
    n_wanted, n_registered = pipeline.config.n_runs, len(pipeline.members())
    if n_wanted > n_registered:
        raise ConfigError(
            f"{pipeline.paths.pipeline_config}: n_runs is {n_wanted}, but the ensemble was started with {n_registered} "
            "members: put it back, or start a new ensemble"
        )
    unfinished = []
    for member in members:
        if not is_whole(pipeline.paths.run(member.run_id), pipeline.config_of(member), inputs):
            unfinished.append(member)
        elif member.state != "done":
            set_member_state(pipeline.paths.ensemble_id, member.idx, "done")
    return unfinished
