from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

from spd.data import iter_batches
from spd.data.language import encode_texts, loader_order
from spd.errors import ConfigError
from spd.models.run_info import SPDRunInfo

MakeRun = Callable[..., SPDRunInfo]
WriteRows = Callable[..., str]


def _batch(info: SPDRunInfo, size: int, seed: int = 0, **kwargs: object) -> torch.Tensor:
    return torch.cat(list(iter_batches(info, size, seed, **kwargs)))


@pytest.fixture
def kjv(golden: Path) -> SPDRunInfo:
    return SPDRunInfo.from_path(golden / "runs" / "lm_kjv" / "spd_run")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_tokens_of_the_reference_loader(kjv: SPDRunInfo, golden: Path, seed: int) -> None:
    expected = np.load(golden / "expected" / "lm_kjv" / "tokenization.npz")[f"batch16_seed{seed}"]
    batch = _batch(kjv, 16, seed, micro_batch_size=5)
    assert batch.dtype == torch.int64
    assert np.array_equal(batch.numpy(), expected)


def test_all_sequences_of_the_reference_loader(kjv: SPDRunInfo, golden: Path) -> None:
    expected = np.load(golden / "expected" / "lm_kjv" / "tokenization.npz")["tokenized_rows_seed0"]
    batch = _batch(kjv, len(expected))
    assert np.array_equal(batch.numpy(), expected[loader_order(len(expected), 0)])


@pytest.mark.parametrize("streaming", [False, True])
def test_a_batch_larger_than_the_dataset_names_both_numbers(kjv: SPDRunInfo, streaming: bool) -> None:
    with pytest.raises(ConfigError, match=r"batch_size: 6000 sequences .* gives only 548\d of 64 tokens"):
        _batch(kjv, 6000, streaming=streaming)


@pytest.mark.slow
def test_streaming_is_reproducible_and_differs_by_seed(kjv: SPDRunInfo) -> None:
    first = _batch(kjv, 40, streaming=True)
    assert first.shape == (40, 64)
    assert torch.equal(first, _batch(kjv, 40, streaming=True, micro_batch_size=3))
    assert not torch.equal(first, _batch(kjv, 40, seed=1, streaming=True))


def test_loader_order_is_that_of_a_torch_loader() -> None:
    generator = torch.Generator().manual_seed(3)
    loader = torch.utils.data.DataLoader(torch.arange(50), batch_size=10, shuffle=True, generator=generator)
    assert torch.cat(list(loader)).tolist() == loader_order(50, 3).tolist()


class _Letters:
    """A tokenizer of one token a character, that marks the end-of-sequence token as 0."""

    eos_token = "[EOS]"

    def __call__(self, pieces: list[str], **_: object) -> dict[str, list[list[int]]]:
        return {"input_ids": [[ord(c) for c in piece.replace("[EOS]", "\0")] for piece in pieces]}


def test_encoding_by_hand() -> None:
    # 45 characters are cut into 20 pieces of 3; no piece holds the whole separator, so it is spelt out.
    tokens = encode_texts(["a" * 20, "b" * 20], _Letters(), 7, restore_eos=False)  # type: ignore[arg-type]
    text = "a" * 20 + "[EOS]" + "b" * 20
    assert "".join(map(chr, tokens.ravel())) == text[:42]
    # 205 characters are cut into pieces of 11: the separator at 100 lies in the tenth, from 99 to 110.
    whole = encode_texts(["a" * 100, "b" * 100], _Letters(), 201, restore_eos=False)  # type: ignore[arg-type]
    assert whole.tolist() == [[ord("a")] * 100 + [0] + [ord("b")] * 100]
    kept = encode_texts(["[eos]" + "a" * 100], _Letters(), 101, restore_eos=True)  # type: ignore[arg-type]
    assert kept[0, 0] == 0


def test_token_ids_are_cut_and_taken_in_the_same_order(make_run: MakeRun, write_rows: WriteRows) -> None:
    ids = np.arange(90).reshape(15, 6)
    task = {"task_name": "lm", "dataset_name": write_rows([{"ids": row.tolist()} for row in ids])}
    info = make_run(task | {"column_name": "ids", "max_seq_len": 4})
    expected = ids[np.random.default_rng(2).permutation(15)][loader_order(15, 2)][:9, :4]
    assert _batch(info, 9, seed=2, micro_batch_size=2).tolist() == expected.tolist()
    streamed = _batch(info, 9, seed=2, streaming=True)
    assert {tuple(row) for row in streamed.tolist()} <= {tuple(row) for row in ids[:, :4].tolist()}
    with pytest.raises(ConfigError, match=r"16 sequences were asked for, .* gives only 15 of 4 tokens"):
        _batch(info, 16)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", ["torch", "arrow", "pandas", "numpy", "torch, text only"])
def test_datasets_saved_to_give_tensors_or_tables(
    make_run: MakeRun, kjv: SPDRunInfo, tmp_path: Path, kind: str, streaming: bool
) -> None:
    ids = np.arange(90).reshape(15, 6)
    rows = datasets.Dataset.from_dict({"ids": ids.tolist(), "text": ["In the beginning God created"] * 15})
    columns = ["text"] if "only" in kind else None
    found = []
    for name, saved in (("plain", rows), ("formatted", rows.with_format(kind.partition(",")[0], columns=columns))):
        saved.save_to_disk(tmp_path / name)
        task = {"task_name": "lm", "dataset_name": f"../{name}", "max_seq_len": 4}
        tokens = make_run(task | {"column_name": "ids"})
        text = make_run(task | {"column_name": "text"}, tokenizer_name=str(kjv.resolve("../tokenizer")))
        found.append([_batch(info, 9, seed=2, streaming=streaming).tolist() for info in (tokens, text)])
    assert found[0] == found[1]
    assert {tuple(row) for row in found[1][0]} <= {tuple(row) for row in ids[:, :4].tolist()}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("rows", "task", "message"),
    [
        ([{"text": "a"}], {"column_name": "story"}, r"has no column 'story', it has \['text'\]"),
        ([{"text": 3}], {}, "must hold text or token ids, found int"),
        ([{"text": [1, 2]}], {"max_seq_len": 3}, r"at least 3 token ids in each row, found a row of shape \(2,\)"),
        ([{"text": "a"}], {"is_tokenized": True}, "must hold token ids, found str"),
        ([{"text": "a"}], {"train_data_split": "dev"}, "split 'dev'.*cannot be loaded"),
        ([{"text": "a"}], {}, "tokenizer_name is missing"),
        ([{"text": "a"}], {"dataset_name": None}, "dataset_name is missing"),
        ([{"text": "a"}], {"dataset_name": "./nowhere"}, "no file or directory from .*cannot be loaded"),
    ],
)
def test_data_that_does_not_fit(
    make_run: MakeRun, write_rows: WriteRows, rows: list, task: dict, message: str, streaming: bool
) -> None:
    base = {"task_name": "lm", "dataset_name": write_rows(rows), "column_name": "text", "max_seq_len": 2}
    with pytest.raises(ConfigError, match=message) as raised:
        _batch(make_run(base | task), 1, streaming=streaming)
    assert "\n" not in str(raised.value)


def test_missing_tokenizer(make_run: MakeRun, write_rows: WriteRows) -> None:
    task = {"task_name": "lm", "dataset_name": write_rows([{"text": "a"}]), "max_seq_len": 2}
    with pytest.raises(ConfigError, match=r"tokenizer_name: './none' cannot be loaded"):
        _batch(make_run(task, tokenizer_name="./none"), 1)
    with pytest.raises(ConfigError, match="max_seq_len is missing"):
        _batch(make_run(task | {"max_seq_len": None, "column_name": "text"}, tokenizer_name="./none"), 1)


def test_a_row_without_text(kjv: SPDRunInfo, make_run: MakeRun, write_rows: WriteRows) -> None:
    rows = [{"text": "In the beginning"}] * 30 + [{"text": None}]
    task = {"task_name": "lm", "dataset_name": write_rows(rows), "max_seq_len": 4}
    info = make_run(task, tokenizer_name=str(kjv.resolve("../tokenizer")))
    with pytest.raises(ConfigError, match="must hold text in every row, found NoneType"):
        _batch(info, 4)
