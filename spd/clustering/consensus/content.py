"""The content of stable_groups.json, key by key; the module of the file (stable_groups_file) says what each means."""

from typing import NotRequired, TypedDict

from spd.clustering.consensus.cuts import CutKind
from spd.clustering.consensus.stable_groups import Verdict


class MemberRow(TypedDict):
    """A member at the cut."""

    index: int
    run_id: str | None
    n_alive: int
    n_merges: int | None
    n_groups: int
    mean_distance: float
    is_representative: bool


class Evidence(TypedDict):
    """How firm a group is: co-association inside, and with the nearest other group of two or more."""

    mean: float | None
    least: float | None
    nearest: int | None
    nearest_mean: float | None
    found_in: NotRequired[int]
    found_again: NotRequired[float | None]


class Group(Evidence):
    """A group of the consensus partition."""

    id: int
    verdict: Verdict
    why: str
    size: int
    n_stable_parts: int
    components: list[str]


class StableGroup(Evidence):
    """A group that is together at the threshold."""

    id: int
    group: int
    size: int
    is_core: bool
    components: list[str]


class Core(TypedDict):
    """Components that are together in every member."""

    id: int
    group: int | None
    size: int
    components: list[str]


class Share(TypedDict):
    """A group, or a component that is alone, that a contested component is with in a share of the members."""

    group: int | None
    component: str | None
    share: float | None


class Place(TypedDict):
    """Where a component is, at each level; None: alone."""

    group: int | None
    stable_group: int | None
    core: int | None
    confidence: float | None
    found_in: NotRequired[int]
    found_again: NotRequired[float | None]
    alive_in: int
    moves_between: list[Share]


class Summary(TypedDict):
    """The numbers to know first."""

    n_members: int
    n_components: int
    n_stable_groups: int
    n_components_stable: int
    n_cores: int
    n_groups: int
    n_components_alone: int
    n_contested: int
    mean_adjusted_rand: float | None
    pac: float
    ambiguous_of_together: float | None
    representative: int


class AgreementCurves(TypedDict):
    """Agreement of the members along a grid of iterations."""

    iterations: list[int]
    n_groups: list[float]
    mean: list[float | None]
    least: list[float | None]
    most: list[float | None]
    pac: list[float | None]
    ambiguous_of_together: list[float | None]
    member_minimum: list[int] | None


class StableGroups(TypedDict):
    """The whole file."""

    schema_version: int
    ensemble_id: str | None
    cut: str
    cut_kind: NotRequired[CutKind]
    threshold: float
    rules: dict[str, str]
    summary: Summary
    members: list[MemberRow]
    groups: list[Group]
    stable_groups: list[StableGroup]
    cores: list[Core]
    components: dict[str, Place]
    agreement: AgreementCurves | None
