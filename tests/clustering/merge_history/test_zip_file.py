import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spd.clustering.merge_config import MergeOptions
from spd.clustering.merge_history import HistoryDetails, MergeHistory
from spd.errors import DamagedFileError, MissingFileError, SPDError
from tests.clustering.histories import assert_same, random_history


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


@pytest.mark.parametrize("n_components", [0, 1, 2, 30])
@pytest.mark.parametrize("with_details", [False, True])
def test_round_trip(tmp_path: Path, n_components: int, with_details: bool) -> None:
    n_iters = max(n_components - 2, 0)
    details = HistoryDetails(MergeOptions(require_coactivation=True), np.linspace(0, 1, n_iters), is_complete=False)
    history = random_history(n_components, n_iters, **({"details": details} if with_details else {}))
    history.save(tmp_path / "new" / "history.zip")
    assert_same(MergeHistory.read(tmp_path / "new" / "history.zip"), history)


def test_costs_that_are_not_known(tmp_path: Path) -> None:
    sound = random_history(8)
    history = MergeHistory(sound.labels, sound.merge_config, sound.selected_pairs)
    history.save(tmp_path / "history.zip")
    assert_same(MergeHistory.read(tmp_path / "history.zip"), history)


def test_other_readers_find_the_documented_layout(tmp_path: Path) -> None:
    history = random_history(300)
    history.save(tmp_path / "history.zip")
    content = members(tmp_path / "history.zip")
    arrays = {name: np.load(io.BytesIO(data)) for name, data in content.items() if name.endswith(".npy")}
    assert np.array_equal(arrays["merge.group_idxs.npy"], history.merges.group_idxs)
    assert np.array_equal(arrays["merge.k_groups.npy"], history.merges.k_groups)
    assert np.array_equal(arrays["selected_pairs.npy"], history.selected_pairs)
    assert arrays["merge.group_idxs.npy"].dtype == arrays["selected_pairs.npy"].dtype == np.int16
    assert content["labels.txt"].decode().splitlines() == history.labels
    metadata = json.loads(content["metadata.json"])
    assert set(metadata) == {"merge_config", "c_components", "n_iters_current", "labels"}
    assert set(metadata["merge_config"]) == set(type(history.merge_config).model_fields)
    with zipfile.ZipFile(tmp_path / "history.zip") as archive:
        assert archive.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_DEFLATED for info in archive.infolist())


def test_several_blocks_make_one_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spd.clustering.merge_history.zip_file._BLOCK_BYTES", 1000)
    history = random_history(100)
    history.save(tmp_path / "history.zip")
    stored = np.load(io.BytesIO(members(tmp_path / "history.zip")["merge.group_idxs.npy"]))
    assert np.array_equal(stored, history.merges.group_idxs)


def test_a_tool_that_reads_local_headers_can_open_it(tmp_path: Path) -> None:
    random_history(50).save(tmp_path / "history.zip")
    data = (tmp_path / "history.zip").read_bytes()
    for info in zipfile.ZipFile(io.BytesIO(data)).infolist():
        method, crc = data[info.header_offset + 8 : info.header_offset + 10], data[info.header_offset + 14 :][:4]
        assert int.from_bytes(method, "little") == info.compress_type, info.filename
        assert int.from_bytes(crc, "little") == info.CRC, info.filename


def test_equal_histories_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one.zip", "other.zip"):
        random_history(40).save(tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()


def test_beyond_the_limit_the_partitions_are_left_out_and_a_note_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spd.clustering.merge_history.zip_file.GROUP_IDXS_LIMIT", 1000)
    history = random_history(40)
    history.save(tmp_path / "history.zip")
    content = members(tmp_path / "history.zip")
    assert "merge.group_idxs.npy" not in content
    assert "39 x 40 numbers" in content["merge.group_idxs.omitted.txt"].decode()
    assert_same(MergeHistory.read(tmp_path / "history.zip"), history)


def test_files_of_the_reference(golden: Path) -> None:
    paths = sorted(golden.glob("expected/**/history*.zip"))
    assert len(paths) > 10
    for path in paths:
        history = MergeHistory.read(path)
        content = members(path)
        stored = {name: np.load(io.BytesIO(content[f"{name}.npy"])) for name in ("merge.group_idxs", "merge.k_groups")}
        n_iters = json.loads(content["metadata.json"])["n_iters_current"]
        assert len(history) == n_iters
        assert np.array_equal(history.merges.group_idxs, stored["merge.group_idxs"][:n_iters])
        assert np.array_equal(history.merges.k_groups, stored["merge.k_groups"][:n_iters])
        with pytest.raises(SPDError, match="holds no costs"):
            _ = history.best_n_merges


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.zip: no such file"):
        MergeHistory.read(tmp_path / "none.zip")


@settings(max_examples=60, deadline=None)
@given(cut=st.floats(0, 0.999))
def test_truncated_anywhere(tmp_path_factory: pytest.TempPathFactory, cut: float) -> None:
    path = tmp_path_factory.mktemp("cut") / "history.zip"
    random_history(30).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(DamagedFileError, match=r"history\.zip"):
        MergeHistory.read(path)


@settings(max_examples=100, deadline=None)
@given(position=st.floats(0, 0.999), value=st.integers(0, 255))
def test_one_byte_changed_is_noticed_or_without_effect(
    tmp_path_factory: pytest.TempPathFactory, position: float, value: int
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "history.zip"
    history = random_history(10)
    history.save(path)
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] = value
    path.write_bytes(data)
    try:
        found = MergeHistory.read(path)
    except DamagedFileError:
        return
    assert_same(found, history)


def without(name: str) -> Callable[[dict[str, bytes]], None]:
    return lambda content: content.__delitem__(name)


def with_json(name: str, **changes: object) -> Callable[[dict[str, bytes]], None]:
    return lambda content: content.__setitem__(name, json.dumps({**json.loads(content[name]), **changes}).encode())


def with_member(name: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda content: content.__setitem__(name, data)


HUGE = npy(np.zeros((1, 2), np.int64)).replace(b"(1, 2), }", b"(99999999999, 2), }")


@pytest.mark.parametrize(
    ("damage", "member", "problem"),
    [
        (without("selected_pairs.npy"), "selected_pairs.npy", "lacks"),
        (without("merge.group_idxs.npy"), "merge.group_idxs.npy", "is missing"),
        (without("labels.txt"), "labels.txt", "lacks"),
        (without("spd_clustering.json"), "spd_clustering.json", "is missing"),
        (without("mdl_loss_norm.npy"), "mdl_loss_norm.npy", "lacks"),
        (with_member("labels.txt", b"a:0\n"), "labels.txt", "holds other labels"),
        (with_member("metadata.json", b"[]"), "metadata.json", "expected a mapping"),
        (with_member("metadata.json", b"{"), "metadata.json", "not valid JSON"),
        (with_json("metadata.json", n_iters_current=10), "metadata.json", "impossible for 10 components"),
        (with_json("metadata.json", n_iters_current="9"), "metadata.json", "impossible"),
        (with_json("metadata.json", c_components=11), "metadata.json", "c_components 11, but 10 labels"),
        (with_json("metadata.json", merge_config={"alhpa": 1}), "metadata.json", "unknown key 'alhpa'"),
        (with_json("spd_clustering.json", format_version=2), "spd_clustering.json", "format version 2, this program"),
        (with_json("spd_clustering.json", is_complete=None), "spd_clustering.json", "is_complete"),
        (with_json("spd_clustering.json", merge_options=[3]), "spd_clustering.json", "valid options"),
        (with_member("selected_pairs.npy", npy(np.zeros((9, 2), np.int16))), "selected_pairs.npy", "no path of merges"),
        (with_member("selected_pairs.npy", npy(np.zeros(18, np.int16))), "selected_pairs.npy", "2 dimension"),
        (with_member("selected_pairs.npy", npy(np.zeros((9, 2)))), "selected_pairs.npy", "expected integers"),
        (with_member("selected_pairs.npy", npy(np.array([[0, 1]]))), "selected_pairs.npy", "has 1 rows"),
        (with_member("selected_pairs.npy", npy(np.array([[{}, 1]]), True)), "selected_pairs.npy", "pickled"),
        (with_member("selected_pairs.npy", HUGE), "selected_pairs.npy", "needs"),
        (with_member("selected_pairs.npy", b"no array"), "selected_pairs.npy", "magic"),
        (with_member("merge.k_groups.npy", npy(np.arange(9))), "merge.k_groups.npy", "fall by one"),
        (with_member("merge_pair_cost.npy", npy(np.zeros(8))), "merge_pair_cost.npy", "has 8 rows"),
        (with_member("merge.group_idxs.npy", npy(np.zeros((9, 11), np.int16))), "merge.group_idxs.npy", "9 x 10"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Callable, member: str, problem: str) -> None:
    random_history(10).save(tmp_path / "history.zip")
    content = members(tmp_path / "history.zip")
    damage(content)
    path = rewrite(tmp_path / "damaged.zip", content)
    with pytest.raises(DamagedFileError) as caught:
        MergeHistory.read(path)
    assert str(path) in str(caught.value)
    assert member in str(caught.value)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("groups", "problem"),
    [(lambda right: right[::-1].copy(), "row 0"), (lambda right: right[:, :-1], "shape"), (lambda r: r[:-1], "shape")],
)
def test_a_foreign_file_whose_partitions_contradict_its_pairs(
    tmp_path: Path, groups: Callable[[np.ndarray], np.ndarray], problem: str
) -> None:
    sound = random_history(10)
    history = MergeHistory(sound.labels, sound.merge_config, sound.selected_pairs)
    history.save(tmp_path / "history.zip")
    content = members(tmp_path / "history.zip")
    del content["spd_clustering.json"]
    assert len(MergeHistory.read(rewrite(tmp_path / "foreign.zip", content))) == 9
    content["merge.group_idxs.npy"] = npy(groups(history.merges.group_idxs))
    with pytest.raises(DamagedFileError, match=f"merge.group_idxs.npy.*{problem}"):
        MergeHistory.read(rewrite(tmp_path / "foreign.zip", content))


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SPDError, match="cannot be written"):
        random_history(5).save(tmp_path / "file" / "history.zip")
