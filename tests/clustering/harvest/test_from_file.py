import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.harvest import matrix_files
from spd.clustering.harvest.from_file import read_activations
from spd.clustering.memberships import Memberships
from spd.errors import ActivationsError, ConfigError, DamagedFileError, MissingFileError

LABELS = ["b:1", "a:0", "b:0", "a:7", "c:2"]


def _matrix(dtype: type = np.float32) -> np.ndarray:
    rng = np.random.default_rng(0)
    matrix = np.where(rng.random((300, 5)) < 0.3, rng.integers(1, 9, (300, 5)) / 8, 0)
    matrix[:, 3] = 0
    matrix[7, 3] = 0.125
    return matrix.astype(dtype)


def _config(**changes: object) -> ClusteringRunConfig:
    merge = {"activation_threshold": 0.25, "filter_dead_threshold": 0.2} | changes.pop("merge", {})  # type: ignore[operator]
    return ClusteringRunConfig.from_mapping(
        {"activations_path": "any", "batch_size": 300, "merge_config": merge, **changes}, "test"
    )


def _save_npy(path: Path, matrix: np.ndarray) -> Path:
    np.save(path / "m.npy", matrix)
    return path / "m.npy"


def _save_fortran_npy(path: Path, matrix: np.ndarray) -> Path:
    return _save_npy(path, np.asfortranarray(matrix))


def _save_npz(path: Path, matrix: np.ndarray) -> Path:
    np.savez(path / "m.npz", whatever=matrix)
    return path / "m.npz"


def _save_compressed(path: Path, matrix: np.ndarray) -> Path:
    np.savez_compressed(path / "m.npz", activations=matrix, other=np.zeros(3))
    return path / "m.npz"


def _save_fortran_npz(path: Path, matrix: np.ndarray) -> Path:
    return _save_npz(path, np.asfortranarray(matrix))


def _save_csr(path: Path, matrix: np.ndarray) -> Path:
    sp.save_npz(path / "m.npz", sp.csr_array(matrix))
    return path / "m.npz"


def _save_csc(path: Path, matrix: np.ndarray) -> Path:
    sp.save_npz(path / "m.npz", sp.csc_matrix(matrix), compressed=False)
    return path / "m.npz"


def _save_coo(path: Path, matrix: np.ndarray) -> Path:
    sp.save_npz(path / "m.npz", sp.coo_array(matrix))
    return path / "m.npz"


def _save_safetensors(path: Path, matrix: np.ndarray) -> Path:
    save_file({"latents": matrix}, path / "m.safetensors")
    return path / "m.safetensors"


SAVERS = [
    _save_npy,
    _save_fortran_npy,
    _save_npz,
    _save_compressed,
    _save_fortran_npz,
    _save_csr,
    _save_csc,
    _save_coo,
    _save_safetensors,
]
Saver = Callable[[Path, np.ndarray], Path]


@pytest.fixture(params=["at once", "in pieces"])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in pieces":
        monkeypatch.setattr(matrix_files, "_BYTES_AT_ONCE", 150)


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("save", SAVERS)
def test_every_format_gives_the_same(tmp_path: Path, save: Saver) -> None:
    matrix = _matrix()
    made = read_activations(save(tmp_path, matrix), _config())
    alive = [0, 1, 2, 4]
    assert made.labels == [f"activations:{index}" for index in alive]
    assert made.dead_labels == ["activations:3"]
    assert np.array_equal(made.to_scipy().toarray(), matrix[:, alive] > 0.25)

    merge = {"activation_threshold": None, "filter_dead_threshold": 0.1}
    config = _config(batch_size=100, filter_dead_stat="mean", merge=merge)
    soft = read_activations(save(tmp_path, matrix), config)
    alive = np.flatnonzero(matrix[:100].mean(axis=0, dtype=np.float64) >= 0.1).tolist()
    assert soft.labels == [f"activations:{index}" for index in alive]
    assert np.array_equal(soft.to_scipy().toarray(), matrix[:100, alive])


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("dtype", [bool, np.float64, np.int32])
def test_other_types(tmp_path: Path, save: Saver, dtype: type) -> None:
    matrix = _matrix(dtype)
    made = read_activations(save(tmp_path, matrix), _config(merge={"activation_threshold": None}))
    assert made.is_soft == (dtype is not bool)
    kept = matrix.max(axis=0) >= 0.2
    assert np.array_equal(made.to_scipy().toarray(), matrix[:, kept].astype(np.float32))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    matrix = torch.from_numpy(_matrix()).to(dtype)
    save_torch_file({"activations": matrix, "other": torch.zeros(3)}, tmp_path / "m.safetensors")
    config = _config(merge={"activation_threshold": None, "filter_dead_threshold": 0})
    made = read_activations(tmp_path / "m.safetensors", config)
    assert np.array_equal(made.to_scipy().toarray(), matrix.float().numpy())


def test_labels_within_and_beside(tmp_path: Path) -> None:
    matrix = _matrix()
    np.savez(tmp_path / "m.npz", activations=matrix, labels=np.array(LABELS))
    made = read_activations(tmp_path / "m.npz", _config(merge={"module_name_filter": ["a", "b"]}))
    assert (made.labels, made.dead_labels) == (["b:1", "a:0", "b:0"], ["a:7"])
    assert np.array_equal(made.to_scipy().toarray(), matrix[:, :3] > 0.25)

    path = _save_csr(tmp_path, matrix)
    (tmp_path / "m.labels.txt").write_text("\n".join(LABELS) + "\n")
    assert read_activations(path, _config(merge={"module_name_filter": "c"})).labels == ["c:2"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:4], r"labels\.txt: 4 labels for 5 components"),
        ([*LABELS[:4], "a:0"], "'a:0' is given twice"),
        ([*LABELS[:4], "latent 3"], "a label is <module>:<index> in printable characters, got 'latent 3'"),
        ([*LABELS[:4], ":3"], "a label is <module>:<index> in printable characters, got ':3'"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, labels: list[str], message: str) -> None:
    path = _save_npy(tmp_path, _matrix())
    (tmp_path / "m.labels.txt").write_text("\n".join(labels))
    with pytest.raises(ActivationsError, match=message):
        read_activations(path, _config())


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(LABELS).encode("utf-8-sig"),
        "\r\n".join(LABELS).encode("utf-8-sig") + b"\r\n",
        "\n".join(LABELS).encode() + b"\n\n",
        "\r".join(LABELS).encode(),
    ],
)
def test_labels_as_editors_save_them(tmp_path: Path, content: bytes) -> None:
    path = _save_npy(tmp_path, _matrix())
    (tmp_path / "m.labels.txt").write_bytes(content)
    made = read_activations(path, _config(merge={"module_name_filter": ["b"], "filter_dead_threshold": 0}))
    assert made.labels == ["b:1", "b:0"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_labels_in_another_encoding_name_file_and_line(tmp_path: Path, encoding: str) -> None:
    path = _save_npy(tmp_path, _matrix())
    (tmp_path / "m.labels.txt").write_bytes("\n".join([*LABELS[:4], "é:0"]).encode(encoding))
    line = 5 if encoding == "latin-1" else 1
    with pytest.raises(ActivationsError, match=rf"m\.labels\.txt: line {line} is not in UTF-8 \(byte 0x"):
        read_activations(path, _config())


def test_labels_in_the_file_itself_with_a_byte_order_mark(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", activations=_matrix(), labels=np.array(["\ufeffb:1", *LABELS[1:]]))
    assert read_activations(tmp_path / "m.npz", _config()).labels[0] == "b:1"
    np.savez(tmp_path / "m.npz", activations=_matrix(), labels=np.array(["b\n:1", *LABELS[1:]]))
    with pytest.raises(
        ActivationsError, match=r"m\.npz: a label is <module>:<index> in printable characters, got 'b\\n:1' in line 1"
    ):
        read_activations(tmp_path / "m.npz", _config())


def test_a_threshold_above_1_for_values_above_1(tmp_path: Path) -> None:
    matrix = 4 * _matrix()
    made = read_activations(_save_npy(tmp_path, matrix), _config(merge={"activation_threshold": 2}))
    assert np.array_equal(made.to_scipy().toarray(), matrix > 2)
    with pytest.raises(ConfigError, match="a model's importances lie between 0 and 1, none is above 2"):
        ClusteringRunConfig.from_mapping(
            {"model_path": "example:x", "batch_size": 3, "merge_config": {"activation_threshold": 2}}, "test"
        )


def test_an_activation_threshold_above_everything_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("spd"), "propagate", True)
    made = read_activations(_save_npy(tmp_path, _matrix()), _config(merge={"activation_threshold": 1.0}))
    assert made.nnz == 0
    assert "no component is active on any sample: activation_threshold is 1, the greatest value 1" in caplog.text


def test_saved_memberships_are_taken_as_they_are(tmp_path: Path) -> None:
    made = Memberships.from_activations(_matrix(), LABELS, 0.5)
    made.save(tmp_path / "m.npz")
    back = read_activations(tmp_path / "m.npz", _config())
    assert back.labels == LABELS
    assert np.array_equal(back.to_scipy().toarray(), made.to_scipy().toarray())


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_bad_values_name_file_and_component(tmp_path: Path, save: Saver, value: float) -> None:
    matrix = _matrix()
    matrix[250, 2] = value
    path = save(tmp_path, matrix)
    with pytest.raises(ActivationsError, match=rf"{path.name}: .*component 2 of module 'activations' has {value}"):
        read_activations(path, _config())


@pytest.mark.parametrize("save", SAVERS)
def test_no_live_component(tmp_path: Path, save: Saver) -> None:
    with pytest.raises(ActivationsError, match=r"no component is alive.* 5 components .* filter_dead_threshold = 2"):
        read_activations(save(tmp_path, _matrix()), _config(merge={"filter_dead_threshold": 2.0}))


@pytest.mark.parametrize("save", [_save_npy, _save_npz, _save_safetensors])
@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros(4, np.float32), r"samples x components, got shape \(4,\)"),
        (np.zeros((2, 3, 4), np.float32), r"got shape \(2, 3, 4\)"),
        (np.zeros((0, 4), np.float32), "no sample"),
        (np.zeros((4, 0), np.float32), "no component"),
    ],
)
def test_shapes_that_do_not_fit(tmp_path: Path, save: Saver, matrix: np.ndarray, message: str) -> None:
    with pytest.raises(ActivationsError, match=message):
        read_activations(save(tmp_path, matrix), _config())


@pytest.mark.parametrize("save", SAVERS)
def test_truncated_files(tmp_path: Path, save: Saver) -> None:
    path = save(tmp_path, _matrix())
    content = path.read_bytes()
    for length in (0, 5, 60, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedFileError, match=path.name):
            read_activations(path, _config())


def test_files_that_are_something_else(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file of activations"):
        read_activations(tmp_path / "none.npy", _config())
    (tmp_path / "m.csv").write_text("1,2")
    with pytest.raises(ActivationsError, match=r"not '\.csv'"):
        read_activations(tmp_path / "m.csv", _config())
    np.save(tmp_path / "m.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(DamagedFileError, match=r"m\.npy"):
        read_activations(tmp_path / "m.npy", _config())
    np.savez(tmp_path / "m.npz", first=np.zeros((2, 2)), second=np.zeros((2, 2)))
    with pytest.raises(ActivationsError, match=r"one named 'activations', found \['first', 'second'\]"):
        read_activations(tmp_path / "m.npz", _config())
    np.save(tmp_path / "m.npy", np.array([["a"]]))
    with pytest.raises(ActivationsError, match="must be numbers or booleans, got <U1"):
        read_activations(tmp_path / "m.npy", _config())
    with pytest.raises(ActivationsError, match="n_tokens_per_seq is for sequences"):
        read_activations(_save_npy(tmp_path, _matrix()), _config(n_tokens_per_seq=3))


def test_a_sparse_file_that_lies(tmp_path: Path) -> None:
    good = sp.csr_array(_matrix())
    parts = {"format": b"csr", "shape": good.shape, "data": good.data, "indptr": good.indptr, "indices": good.indices}
    for name, value in (("indices", good.indices + 3), ("indptr", good.indptr[::-1]), ("format", b"dia")):
        np.savez(tmp_path / "m.npz", **(parts | {name: np.array(value)}))
        with pytest.raises(DamagedFileError, match="no sparse matrix that can be read"):
            read_activations(tmp_path / "m.npz", _config())


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F32", "shape": [300, 5], "data_offsets": [0, 5999]},
        {"dtype": "F32", "shape": [300, 6], "data_offsets": [0, 7200]},
        {"dtype": "F4", "shape": [300, 5], "data_offsets": [0, 6000]},
        {"dtype": "F32", "shape": [300, -5], "data_offsets": [0, 6000]},
        {"dtype": "F32", "shape": [300, 5]},
        [],
    ],
)
def test_a_safetensors_header_that_lies(tmp_path: Path, tensor: object) -> None:
    header = json.dumps({"m": tensor}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + _matrix().tobytes())
    with pytest.raises(DamagedFileError, match=r"m\.safetensors"):
        read_activations(path, _config())
