"""Runs whose importances depend on the whole batch: it comes whole, or not at all."""

from pathlib import Path

import pytest
import torch

from spd.data import iter_batches
from spd.errors import ConfigError
from spd.models.run_info import SPDRunInfo
from tests.models.tiny_global_runs import LLAMA_BLOCKS, RESID_BLOCKS, reverse_config, with_global_function
from tests.models.tiny_runs import llama_run, resid_mlp_run


def info(directory: Path, max_len: int = 12, attends: bool = True) -> SPDRunInfo:
    config = reverse_config(RESID_BLOCKS, attends=attends)
    if attends:
        config["transition_attn_config"]["max_len"] = max_len
    return SPDRunInfo.from_path(with_global_function(resid_mlp_run(), config).write(directory))


def test_the_batch_comes_whole_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = info(tmp_path, max_len=10_000)
    assert [len(batch) for batch in iter_batches(run, 9000, 0)] == [9000]
    assert "attends over the batch: an item's importances hold for this very batch of 9000 items" in caplog.text
    assert [len(batch) for batch in iter_batches(run, 12, 0, micro_batch_size=12)] == [12]
    assert [len(batch) for batch in iter_batches(run, 12, 0, micro_batch_size=50)] == [12]


def test_a_batch_that_would_be_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^micro_batch_size: .*final_config.yaml: .* attends over the batch"):
        iter_batches(info(tmp_path), 12, 0, micro_batch_size=11)


def test_a_batch_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^batch_size: .* at most 12 items \(max_len\), but 13 were asked for"):
        iter_batches(info(tmp_path), 13, 0)


def test_other_runs_are_cut_as_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = info(tmp_path, attends=False)
    assert [len(batch) for batch in iter_batches(run, 13, 0, micro_batch_size=5)] == [5, 5, 3]
    whole = torch.cat(list(iter_batches(run, 9000, 0)))
    assert len(whole) == 9000
    assert not caplog.text


def test_attention_along_sequences_is_no_matter_of_the_batch(tmp_path: Path) -> None:
    run = with_global_function(llama_run(), reverse_config(LLAMA_BLOCKS, attends=True))
    assert not SPDRunInfo.from_path(run.write(tmp_path)).config.attends_over_batch
