from types import SimpleNamespace

import torch
from hypothesis import given
from hypothesis import strategies as st

from spd.data.micro_batches import automatic_micro_batch_size, regroup
from spd.models.ci_config import read_ci_config


@given(st.lists(st.integers(0, 7), max_size=8), st.integers(1, 10))
def test_regroup_keeps_rows_and_order(lengths: list[int], size: int) -> None:
    rows = torch.arange(sum(lengths))
    pieces = list(regroup(rows.split(lengths) if lengths else [], size))
    assert [len(piece) for piece in pieces[:-1]] == [size] * (len(pieces) - 1)
    assert all(0 < len(piece) <= size for piece in pieces)
    assert torch.equal(torch.cat(pieces) if pieces else rows, rows)


def _info(kind: str, n_components: int, hidden: list[int], task: str, length: int | None) -> SimpleNamespace:
    config = SimpleNamespace(
        module_info=[SimpleNamespace(C=n_components)],
        identity_module_info=None,
        ci_config=read_ci_config({"ci_fn_type": kind, "ci_fn_hidden_dims": hidden}, "a file"),
        task_config=SimpleNamespace(task_name=task, max_seq_len=length),
    )
    return SimpleNamespace(config=config)


def test_the_automatic_size_bounds_the_largest_array() -> None:
    samples = automatic_micro_batch_size(_info("mlp", 5000, [100], "tms", None))
    assert samples * 5000 * 100 * 4 <= 1 << 28 < (samples + 1) * 5000 * 100 * 4
    sequences = automatic_micro_batch_size(_info("vector_mlp", 1000, [16], "lm", 512))
    assert sequences == 8
    assert automatic_micro_batch_size(_info("mlp", 100_000, [1000], "lm", 4096)) == 1
    assert automatic_micro_batch_size(_info("shared_mlp", 20, [], "tms", None)) == 8192
    assert automatic_micro_batch_size(_info("global_shared_mlp", 1000, [9000], "lm", 512)) == 8
    samples = automatic_micro_batch_size(_info("global_shared_mlp", 1000, [99_000], "tms", None))
    assert samples * 100_000 * 4 <= 1 << 28 < (samples + 1) * 100_000 * 4
