"""Memberships on disk: every reader sees what memory would hold, and nothing but whole ones is read."""

import itertools
import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.memberships import Memberships
from spd.clustering.memberships.directory import check_contents, joined_statistics, read_parts, write_index
from spd.clustering.memberships.part import Part, PartSlot
from spd.clustering.memberships.part_writer import PartWriter
from spd.errors import DamagedFileError, MissingFileError, SPDError

N_COLUMNS = 12
LABELS = [f"m.{i % 2}:{i}" for i in range(N_COLUMNS)]
ALIVE = [label for label in LABELS if label not in ("m.0:4", "m.1:7", "m.1:11")]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few rows, some of which are large enough for kernels."""
    monkeypatch.setattr("spd.clustering.math.sparse_rows.CHUNK", 32)
    monkeypatch.setattr("spd.clustering.math.large_rows._LARGE", 30)


def _matrix(seed: int = 0, n_rows: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = np.where(rng.random((n_rows, N_COLUMNS)) < 0.3, 1 - rng.random((n_rows, N_COLUMNS)), 0)
    matrix[7] = 0
    return matrix.astype(np.float32)


def _write(
    directory: Path, matrix: np.ndarray, bounds: list[int], threshold: float | None, harvest: str = "a"
) -> Memberships:
    """Parts of the rows between the bounds, and the index of the labels that are alive; returns these in memory."""
    whole = Memberships.from_activations(matrix, LABELS, threshold)
    for number, (first, last) in enumerate(itertools.pairwise(bounds)):
        slot = PartSlot(harvest, number, len(bounds) - 1)
        with PartWriter(directory, slot, LABELS, is_soft=threshold is None) as writer:
            for row in range(first, last, 5):
                block = whole.rows(np.arange(row, min(row + 5, last)))
                writer.append(np.diff(block.indptr), block.indices, block.values)
            rows = matrix[first:last]
            writer.finish(rows.max(axis=0, initial=0), rows.sum(axis=0, dtype=np.float64))
    parts = read_parts(directory, harvest, len(bounds) - 1)
    assert write_index(directory, parts, set(ALIVE), ["m.0:4"]) == ALIVE
    return whole.select(np.isin(LABELS, ALIVE))


def _is_same(one: Memberships, other: Memberships) -> None:
    assert one.labels == other.labels
    assert (one.n_samples, one.nnz, one.is_soft) == (other.n_samples, other.nnz, other.is_soft)
    assert np.array_equal(one.lengths, other.lengths)
    assert np.array_equal(one.indptr, other.indptr)
    assert np.array_equal(one.indices, other.indices)
    assert (one.values is None) == (other.values is None)
    if one.values is not None:
        assert np.array_equal(one.values, other.values)
    assert np.array_equal(one.counts, other.counts)
    assert np.array_equal(one.entry_counts, other.entry_counts)
    third = one.n_samples // 3
    for samples in ((0, third), (third, one.n_samples - third), (one.n_samples - third, one.n_samples)):
        low, high = one.indptr[list(samples)]
        found = [np.zeros(0, np.int32), *(block.indices for block in one.blocks(samples))]
        assert np.array_equal(np.concatenate(found), other.indices[low:high])


@pytest.mark.parametrize("threshold", [None, 0.3])
@pytest.mark.parametrize("bounds", [[0, 60], [0, 20, 60], [0, 1, 1, 33, 60]])
def test_what_is_on_disk_reads_like_what_is_in_memory(
    tmp_path: Path, bounds: list[int], threshold: float | None
) -> None:
    in_memory = _write(tmp_path / "m", _matrix(), bounds, threshold)
    on_disk = Memberships.open(tmp_path / "m")
    assert on_disk.dead_labels == ["m.0:4"]
    assert len(list(on_disk.blocks())) > 3
    _is_same(on_disk, in_memory)
    mask = np.arange(in_memory.n_components) % 3 > 0
    _is_same(on_disk.select(mask), in_memory.select(mask))
    _is_same(on_disk.select(mask).select(mask[mask]), in_memory.select(mask))
    for seed in (0, 1):
        drawn = [some.resample_rows(np.random.default_rng(seed)) for some in (on_disk, in_memory)]
        _is_same(*drawn)
        _is_same(drawn[0].select(mask), in_memory.select(mask).resample_rows(np.random.default_rng(seed)))
    few = np.array([59, 0, 7, 7])
    _is_same(on_disk.take_rows(few).take_rows(np.array([3, 0])), in_memory.take_rows(few[[3, 0]]))
    if threshold is None:
        hard = [Memberships.from_activations(some, some.labels, 0.5) for some in (on_disk, in_memory)]
        _is_same(*hard)
    assert np.array_equal(on_disk.to_scipy().toarray(), in_memory.to_scipy().toarray())
    on_disk.take_rows(few).save(tmp_path / "again")
    _is_same(Memberships.load(tmp_path / "again"), in_memory.take_rows(few))
    on_disk.save(tmp_path / "one.npz")
    _is_same(Memberships.load(tmp_path / "one.npz"), in_memory)


def test_nothing_left_of_a_block_or_of_all_columns(tmp_path: Path) -> None:
    matrix = np.zeros((6, 3), np.float32)
    empty = Memberships.from_activations(matrix, ["a:0", "a:1", "a:2"], 0.1)
    empty.save(tmp_path / "m")
    back = Memberships.open(tmp_path / "m")
    assert (back.nnz, back.counts.tolist(), back.lengths.tolist()) == (0, [0, 0, 0], [0] * 6)
    none = back.select(np.zeros(3, bool))
    assert (none.n_samples, none.n_components, none.nnz) == (6, 0, 0)


def test_statistics_of_parts_are_those_of_all_rows(tmp_path: Path) -> None:
    matrix = _matrix()
    _write(tmp_path, matrix, [0, 10, 31, 60], 0.3)
    joined = joined_statistics(read_parts(tmp_path, "a", 3))
    assert np.array_equal(joined.maximum, matrix.max(axis=0))
    assert np.allclose(joined.total, matrix.sum(axis=0, dtype=np.float64), rtol=1e-14)
    assert np.array_equal(joined.n_entries, (matrix > 0.3).sum(axis=0))


def _remove(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def _cut(name: str) -> Callable[[Path], None]:
    def cut(directory: Path) -> None:
        path = directory / name
        path.write_bytes(path.read_bytes()[:-2])

    return cut


def _copy(source: str, target: str) -> Callable[[Path], None]:
    return lambda directory: shutil.copy(directory / source, directory / target)


def _foreign(*names: str) -> Callable[[Path], None]:
    """Files of another harvest of the same sizes."""

    def copy(directory: Path) -> None:
        other = directory.with_name("other")
        _write(other, _matrix(5), [0, 20, 60], 0.3, "b")
        for name in names:
            shutil.copy(other / name, directory / name)

    return copy


def _edit(name: str, **changes: object) -> Callable[[Path], None]:
    def edit(directory: Path) -> None:
        content = json.loads((directory / name).read_text())
        (directory / name).write_text(json.dumps({**content, **changes}))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove("index.json"), "is not complete: its index.json is missing"),
        (_remove("part-00001.json"), r"part-00001\.json: no such file"),
        (_remove("part-00001.indices.npy"), r"part-00001\.indices\.npy: no such file"),
        (_cut("part-00001.indices.npy"), r"part-00001\.indices\.npy: has .* bytes, expected"),
        (_cut("part-00000.lengths.npy"), r"part-00000\.lengths\.npy: has .* bytes"),
        (_cut("part-00000.json"), r"part-00000\.json: is damaged or truncated"),
        (_cut("index.json"), r"index\.json: is damaged or truncated"),
        (_copy("part-00000.json", "part-00001.json"), r"part-00001\.json: is part 0 under another name"),
        (_copy("part-00000.indices.npy", "part-00001.indices.npy"), r"part-00001\.indices\.npy: is uint16 of shape"),
        (_copy("part-00000.columns.npy", "part-00001.indices.npy"), r"part-00001\.indices\.npy: is float64"),
        (_edit("part-00001.json", harvest="b"), r"part-00001\.json: belongs to another harvest"),
        (_edit("part-00001.json", n_parts=3), r"part-00001\.json: belongs to another harvest"),
        (_edit("part-00001.json", labels=LABELS[::-1]), r"part-00001\.json: has other columns than part-00000"),
        (_edit("part-00001.json", n_samples=41), r"part-00001\.lengths\.npy: is int32 of shape"),
        (_edit("part-00001.json", n_samples=-1), "'n_samples' must be a number from 0 on, got -1"),
        (_edit("part-00001.json", files={}), "'files' must name"),
        (_edit("part-00001.json", version=2), "is no part of memberships of version 1"),
        (_edit("part-00001.json", comment="edited"), r"part-00001\.json: is not the part that index\.json names"),
        (_foreign("part-00001.json"), r"part-00001\.(json|indices)"),
        (_edit("index.json", format="x"), "is no index of memberships"),
        (_edit("index.json", parts=[]), "it has no part"),
        (_edit("index.json", labels=ALIVE[::-1]), "its labels are not some of the parts'"),
        (_edit("index.json", labels=[*ALIVE, "m:99"]), "its labels are not some of the parts'"),
        (_edit("index.json", n_samples=59), "tells of other samples than its parts"),
    ],
)
def test_what_is_not_whole_is_refused_by_name(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    directory = tmp_path / "m"
    _write(directory, _matrix(), [0, 20, 60], 0.3)
    Memberships.open(directory)
    damage(directory)
    with pytest.raises((DamagedFileError, MissingFileError), match=message) as raised:
        Memberships.open(directory)
    assert str(directory) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("indices", 200, r"part-00001: is damaged: 'indices' must lie in 0 .. 11"),
        ("indices", None, r"part-00001: is damaged: the components of a row must be ascending"),
        ("lengths", 13, r"part-00001\.lengths\.npy: rows must have 0 entries or more"),
        ("values", np.nan, r"part-00001: is damaged: 'values' must be finite"),
    ],
)
def test_structure_is_checked_as_it_is_read(tmp_path: Path, name: str, value: float | None, message: str) -> None:
    _write(tmp_path, _matrix(), [0, 20, 60], None)
    path = tmp_path / f"part-00001.{name}.npy"
    array = np.load(path)
    place = int(np.load(tmp_path / "part-00001.lengths.npy")[0])  # the first entry of its second row
    array[place] = array[place + 1] if value is None else value
    np.save(path, array)
    opened = Memberships.open(tmp_path)
    with pytest.raises(DamagedFileError, match=message):
        list(opened.blocks())
    with pytest.raises(DamagedFileError, match=message.removeprefix("part-00001: ")):
        opened.rows(np.arange(60))


def test_contents_are_compared_on_request(tmp_path: Path) -> None:
    _write(tmp_path, _matrix(), [0, 20, 60], None)
    check_contents(tmp_path)
    values = np.load(tmp_path / "part-00001.values.npy")
    values[3] /= 2
    np.save(tmp_path / "part-00001.values.npy", values)
    assert Memberships.open(tmp_path).counts.all()
    with pytest.raises(DamagedFileError, match=r"part-00001\.values\.npy: is not what was written"):
        check_contents(tmp_path)


def test_a_part_that_fails_leaves_nothing(tmp_path: Path) -> None:
    _write(tmp_path / "m", _matrix(), [0, 60], 0.3)
    vectors = {f"part-00000.{name}.npy" for name in ("lengths", "indices", "columns")}
    assert {path.name for path in (tmp_path / "m").iterdir()} == {"index.json", "part-00000.json", *vectors}

    def stopped() -> None:
        with PartWriter(tmp_path / "n", PartSlot("a"), LABELS, is_soft=False) as writer:
            writer.append(np.array([1]), np.array([3]), None)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert list((tmp_path / "n").iterdir()) == []


def test_a_full_disk_is_one_sentence_and_no_file(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write() -> None:
        with PartWriter(tmp_path, PartSlot("a"), LABELS, is_soft=False) as writer:
            for _ in range(100):
                writer.append(np.full(1000, 1), np.zeros(1000, np.int32), None)
            writer.finish(np.zeros(N_COLUMNS), np.zeros(N_COLUMNS))

    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
        with pytest.raises(SPDError, match=r"part-00000\.\w+\.npy: cannot be written: File too large"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_record_is_of_this_directory(tmp_path: Path) -> None:
    _write(tmp_path / "m", _matrix(), [0, 60], 0.3)
    path = tmp_path / "m" / "part-00000.json"
    content = json.loads(path.read_text())
    content["files"]["indices"]["file"] = "../secret.npy"
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedFileError, match="'files' must name"):
        Part.read(path)
