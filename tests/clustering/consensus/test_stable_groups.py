"""Stable groups of ensembles whose answer is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from spd.clustering import consensus
from spd.clustering.consensus import FOUND_GROUPS, Cut, agreement_along_iterations, cut_members, find_consensus
from spd.clustering.consensus.stable_groups_file import as_json
from spd.clustering.groups import Groups, find_groups
from spd.clustering.math.merge_paths import component_merges_to_pairs
from spd.clustering.merge_config import MergeConfig
from spd.clustering.merge_history import MergeHistory
from spd.clustering.pipeline.stable_groups import StableGroupsSettings, write_stable_groups_of
from spd.errors import DamagedFileError, MissingFileError, SPDError


def member(groups: list[str], alive: str = "abcdefgh", then: list[str] | None = None) -> MergeHistory:
    """A history that first makes these groups, where the MDL is least, and then joins what `then` says."""
    labels = [f"m:{'abcdefgh'.index(letter)}" for letter in sorted(alive)]
    place = {letter: k for k, letter in enumerate(sorted(alive))}
    merges, least = [], {}
    for group in [*groups, *(then or [])]:
        letters = sorted(group)
        for letter in letters[1:]:
            kept, absorbed = sorted((least.get(letters[0], place[letters[0]]), least.get(letter, place[letter])))
            if kept != absorbed:
                merges.append((kept, absorbed))
                least = {k: (kept if v == absorbed else v) for k, v in (dict(place) | least).items()}
    pairs = component_merges_to_pairs(np.array(merges, np.int64).reshape(-1, 2), len(labels))
    n_best = sum(len(group) - 1 for group in groups)
    mdl = np.abs(np.arange(1, len(merges) + 1) - n_best) + 1.0
    config = MergeConfig(iters=None)
    return MergeHistory(labels, config, pairs, np.zeros(len(merges)), mdl, float(n_best + 1))


def letters(labels: np.ndarray, names: list[str]) -> set[str]:
    """Groups of two or more, as text."""
    groups = {
        g: "".join("abcdefgh"[int(n.split(":")[1])] for n, x in zip(names, labels, strict=True) if x == g)
        for g in np.unique(labels)
    }
    return {group for group in groups.values() if len(group) > 1}


def test_members_that_agree() -> None:
    found = find_consensus(cut_members([member(["abc", "de"], then=["abcde"])] * 3))
    for labels in (found.core, found.stable, found.consensus):
        assert letters(labels, found.labels) == {"abc", "de"}
    assert found.agreement == 1
    assert (found.confidence == 1).all()
    assert [found.verdict(group) for group in (0, 1)] == ["core", "core"]
    assert not any(found.moves_between(component) for component in range(found.n))
    assert found.representative == 0


def test_what_is_to_be_trusted_and_what_is_in_doubt_adds_up() -> None:
    """Both halves are stable; that they are one larger group is in doubt for all eight components."""
    members = [member(["abcd", "efgh"])] * 4 + [member(["abcdefgh"])] * 6
    content = as_json(find_consensus(cut_members(members)))
    assert content["summary"]["n_contested"] == content["summary"]["n_components_stable"] == 8
    text = consensus.summary_text(content)
    assert "stable groups: 2, with 8 of 8 components" in text
    assert "in doubt: 0 components are in no stable group and move between groups" in text
    assert "of the 8 in stable groups 8 do not always go with the same larger group" in text


def test_labels_do_not_steer_the_terminal() -> None:
    content = as_json(find_consensus(cut_members([member(["abcd", "efgh"])] * 2)))
    content["groups"][0]["components"][:2] = ["\x1b[31mred:0", "two\r\nlines:1"]
    text = consensus.summary_text(content)
    assert r"\x1b[31mred:0, two\r\nlines:1" in text
    assert not set(text) & {"\x1b", "\r"}


def test_a_component_that_moves_between_two_groups() -> None:
    """c is with ab in 6 of 10 members and with de in 4; f joins de in 9 of 10."""
    members = [member(["abc", "def"])] * 5 + [member(["abc", "de"])] + [member(["ab", "cdef"])] * 4
    found = find_consensus(cut_members(members))
    assert letters(found.core, found.labels) == {"ab", "de"}
    assert letters(found.stable, found.labels) == {"ab", "def"}
    assert letters(found.consensus, found.labels) == {"abc", "def"}
    group_of = dict(zip("abcdefgh", found.consensus, strict=True))
    assert found.confidence[2] == pytest.approx(0.6)
    [(own, share), (other, other_share)] = found.moves_between(2)
    assert (own, other) == (group_of["a"], group_of["d"])
    assert share == pytest.approx(0.6)
    assert other_share == pytest.approx((0.4 + 0.4 + 0.4) / 3)
    assert found.verdict(group_of["a"]) == "uncertain"
    assert found.verdict(group_of["d"]) == "stable"
    stats = found.consensus_stats
    assert stats.min[group_of["d"]] == pytest.approx(0.9)
    assert stats.mean[group_of["d"]] == pytest.approx((1 + 0.9 + 0.9) / 3)
    assert stats.nearest[group_of["a"]] == group_of["d"]
    assert stats.nearest_mean[group_of["a"]] == pytest.approx(0.4 * 3 / 9)


def test_two_firm_groups_that_are_often_joined_are_split() -> None:
    members = [member(["abcd"])] * 6 + [member(["ab", "cd"])] * 4
    found = find_consensus(cut_members(members))
    assert letters(found.consensus, found.labels) == {"abcd"}
    assert letters(found.stable, found.labels) == {"ab", "cd"}
    assert found.verdict(0) == "split"


def test_components_that_some_members_lack() -> None:
    """h is always with ab where it is alive: in 2 of 4 that is enough, in 1 of 4 it is not."""
    without, with_h = member(["ab"], alive="abcdefg"), member(["abh"])
    half = find_consensus(cut_members([without, without, with_h, with_h]))
    assert letters(half.core, half.labels) == {"abh"}
    seldom = find_consensus(cut_members([without, without, without, with_h]))
    assert letters(seldom.core, seldom.labels) == {"ab"}
    assert letters(seldom.consensus, seldom.labels) == {"ab"}
    assert seldom.n_alive.tolist() == [4] * 7 + [1]


def test_where_members_are_cut() -> None:
    members = [member(["abc", "de"], then=["abcde", "fg"])] * 2
    assert letters(find_consensus(cut_members(members, Cut(iteration=0))).core, [f"m:{i}" for i in range(8)]) == {"ab"}
    found = find_consensus(cut_members(members, Cut(iteration=-1)))
    assert letters(found.core, found.labels) == {"abcde", "fg"}
    found = find_consensus(cut_members(members, Cut(n_groups=6)))
    assert letters(found.core, found.labels) == {"abc"}
    assert found.cut == "6 groups"
    with pytest.raises(SPDError, match=r"member 0: there is no iteration 5, they are 0 \.\. 4"):
        cut_members(members, Cut(iteration=5))
    with pytest.raises(SPDError, match=r"member 0: there is no state with 2 groups, the merges of 8 .* down to 3"):
        cut_members(members, Cut(n_groups=2))
    with pytest.raises(SPDError, match="not both"):
        Cut(1, 2)
    with pytest.raises(SPDError, match="at least 2 members, got 1"):
        cut_members(members[:1])
    with pytest.raises(SPDError, match=r"above 0\.5 and at most 1, got 0\.5"):
        find_consensus(cut_members(members), threshold=0.5)


def test_members_in_which_no_merge_pays() -> None:
    found = find_consensus(cut_members([member([], then=["ab"])] * 2))
    assert letters(found.consensus, found.labels) == set()
    content = as_json(found)
    assert content["groups"] == content["stable_groups"] == content["cores"] == []
    assert "nothing to trust" in consensus.summary_text(content)


def test_the_representative_is_the_member_nearest_to_the_others() -> None:
    members = [member(["abc", "de"]), member(["abc", "defg"]), member(["abc", "def"])]
    found = find_consensus(cut_members(members), run_ids=["x", "y", "z"])
    distances = [m.mean_distance for m in found.members]
    assert found.representative == int(np.argmin(distances)) == 2
    assert [m.run_id for m in found.members if m.is_representative] == ["z"]


def test_agreement_along_iterations_marks_doubt() -> None:
    members = [member(["ab", "cd"], then=["ef"]), member(["ac", "bd"], then=["ef"])]
    along = agreement_along_iterations(members)
    assert along.iterations.tolist() == [0, 1, 2]
    assert along.n_groups.tolist() == [7, 6, 5]
    # After both merges: ab|cd against ac|bd: four pairs in one member only; with ef then one in both.
    assert along.ambiguous_of_together.tolist() == [1, 1, 0.8]
    assert along.ambiguous.tolist() == pytest.approx([2 / 28, 4 / 28, 4 / 28])
    assert along.member_n_groups == [6, 6]
    assert (along.mean[:2] < 0.01).all()


def test_files_hold_the_answer_and_are_read_back(tmp_path: Path) -> None:
    members = [member(["abc", "def"])] * 5 + [member(["abc", "de"])] + [member(["ab", "cdef"])] * 4
    content = write_stable_groups_of(tmp_path, members, ensemble_id="e-00000001", spd_run="a/b/c")
    assert content == consensus.read_stable_groups(tmp_path / "stable_groups.json")
    groups = {"".join(sorted(label[-1] for label in group["components"])): group for group in content["groups"]}
    assert set(groups) == {"012", "345"}
    assert groups["345"]["verdict"] == "stable"
    assert groups["012"]["verdict"] == "uncertain"
    assert groups["012"]["why"].startswith("trust its stable part only")
    assert content["components"]["m:2"]["moves_between"] == [
        {"group": groups["012"]["id"], "component": None, "share": 0.6},
        {"group": groups["345"]["id"], "component": None, "share": 0.4},
    ]
    assert content["components"]["m:7"]["group"] is None
    assert content["summary"]["n_components_stable"] == 5
    assert content["summary"]["n_components_alone"] == 2

    mapping = json.loads((tmp_path / "consensus_mapping.json").read_text())
    assert mapping["run_idx"] is None
    assert mapping["spd_run"] == "a/b/c"
    assert mapping["clusters"]["m:7"] is None
    assert mapping["clusters"]["m:0"] == mapping["clusters"]["m:2"] != mapping["clusters"]["m:3"]

    # Where abc is not, ab is two thirds of it; de is two thirds of def, which is three quarters of cdef: all have both.
    assert (groups["012"]["found_in"], groups["345"]["found_in"]) == (10, 10)
    assert groups["012"]["mean"] == pytest.approx((1 + 0.6 + 0.6) / 3, abs=1e-6)
    places = content["components"]
    assert [places[f"m:{i}"]["found_in"] for i in (0, 2, 5, 7)] == [6, 6, 9, 10]
    # a is with more than half of bc where c is there: in six. What is in all members is surer.
    assert groups["012"]["found_again"] > 0.9
    assert places["m:7"]["found_again"] > 0.9
    assert 0.3 < places["m:2"]["found_again"] < places["m:5"]["found_again"]

    frame = consensus.to_dataframe(content)
    assert frame.loc[7, "found_again"] == content["components"]["m:7"]["found_again"]
    assert frame.loc[2, "found_in"] == 6
    assert frame.loc[2, "moves_between"] == f"group {groups['012']['id']} (60%), group {groups['345']['id']} (40%)"
    assert frame["verdict"].tolist() == ["uncertain"] * 3 + ["stable"] * 3 + ["alone"] * 2
    assert (tmp_path / "stable_groups.csv").read_text().count("\n") == 9
    for name in ("stability.png", "coassociation.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")
    text = consensus.summary_text(content)
    assert "5 of 8 components" in text
    assert "largest groups in doubt" in text


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "stable_groups.json"
    with pytest.raises(MissingFileError):
        consensus.read_stable_groups(path)
    write_stable_groups_of(tmp_path, [member(["ab"])] * 2)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"schema_version": 9}))
    with pytest.raises(DamagedFileError, match="schema version 9"):
        consensus.read_stable_groups(path)
    path.write_text(json.dumps({**content, "groups": [1]}))
    with pytest.raises(DamagedFileError, match="'groups' must be a list of mappings"):
        consensus.read_stable_groups(path)
    for item in (*content["groups"], *content["stable_groups"], *content["components"].values()):
        del item["found_in"], item["found_again"]
    path.write_text(json.dumps(content))  # as an older version wrote it
    assert consensus.to_dataframe(consensus.read_stable_groups(path))["found_in"].isna().all()
    del content["cores"]
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedFileError, match="lacks 'cores'"):
        consensus.read_stable_groups(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resid_mlp1", "lm_kjv"])
def test_golden_ensembles_hold_no_mdl_but_can_be_cut_at_a_number_of_groups(golden, tmp_path: Path, name: str) -> None:
    files = sorted((golden / "expected" / name / "ensemble").glob("history_*.zip"))
    members = [MergeHistory.read(path) for path in files]
    with pytest.raises(SPDError, match=r"member 0: .* cut at an iteration or a number of groups instead"):
        cut_members(members)
    content = write_stable_groups_of(tmp_path, members, settings=StableGroupsSettings(Cut(n_groups=120)))
    assert len(content["components"]) == len({label for history in members for label in history.labels})
    assert content["summary"]["n_stable_groups"] >= 1
    assert content["agreement"]["member_minimum"] is None


def found_in(groups: list[str], alive: str) -> Groups:
    """What find_groups gives where these components are always active together, and never with others."""
    rng = np.random.default_rng(len(alive))
    fires = {letter: k for k, group in enumerate(groups) for letter in group}
    sources = rng.random((400, len(alive) + len(groups))) < 0.1
    columns = [sources[:, fires.get(letter, len(groups) + k)] for k, letter in enumerate(alive)]
    labels = [f"m:{'abcdefgh'.index(letter)}" for letter in alive]
    return find_groups(np.stack(columns, axis=1), labels, control=False)


def test_found_groups_are_cut_whatever_the_histories_say() -> None:
    """Also where a member lists its components in another order, or lacks one."""
    histories = [member(["ab"]), member(["ab"]), member(["ab"], alive="abcdefg")]
    groups = [found_in(["cd", "efg"], alive) for alive in ("abcdefgh", "hgfedcba", "abcdefg")]
    cuts = cut_members(histories, FOUND_GROUPS, groups)
    assert cuts.n_merges is None
    assert cuts.partitions[2, 7] == -1
    found = find_consensus(cuts)
    assert letters(found.core, found.labels) == {"cd", "efg"}
    assert (found.cut_kind, found.cut) == ("groups", "the groups found in each member")
    assert [one.n_groups for one in found.members] == [5, 5, 4]
    fewer = cut_members(histories, Cut(n_groups=6, is_found=True), groups)
    assert [len(np.unique(row[row >= 0])) for row in fewer.partitions] == [6, 6, 6]


def test_found_groups_that_do_not_fit() -> None:
    histories = [member(["ab"])] * 2
    groups = [found_in(["ab"], "abcdefgh")] * 2
    with pytest.raises(SPDError, match="expected the found groups of 2 members, got those of 0"):
        cut_members(histories, FOUND_GROUPS)
    with pytest.raises(SPDError, match="member 1: its groups are of 7 components, its history of 8"):
        cut_members(histories, FOUND_GROUPS, [groups[0], found_in(["ab"], "abcdefg")])
    with pytest.raises(SPDError, match="found groups belong to no iteration"):
        Cut(iteration=3, is_found=True)
    assert [Cut().kind, Cut(iteration=1).kind, Cut(n_groups=1).kind] == ["mdl", "iteration", "n-groups"]
