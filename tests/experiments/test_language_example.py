"""The language model's trainer end to end, a few steps of it; its parts by hand."""

import json
from pathlib import Path

import pytest
import torch

from spd.data import iter_batches
from spd.data.corpus import load_tokenizer
from spd.experiments.evaluate import output_variants, sparsity
from spd.experiments.language_target import (
    END_OF_TEXT,
    LanguageTraining,
    draw_windows,
    encode,
    fit_tokenizer,
    train_language_model,
)
from spd.experiments.losses import kl_divergence
from spd.experiments.make_examples import main
from spd.experiments.measure_language import measure
from spd.experiments.mixed_text import NATURAL, PLANTED, planted_texts, read_texts
from spd.experiments.planted_rules import accuracy_by_rule, ruled_tokens
from spd.files.run_location import EXAMPLES_DIRECTORY
from spd.models.component_model import ComponentModel, SPDRunInfo


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("examples")
    assert main(["lm_words", "--output", str(directory), "--quick"]) == 0
    return directory / "lm_words"


@pytest.mark.slow
def test_a_quick_run_is_a_run_whose_data_can_be_drawn(quick_run: Path) -> None:
    info = SPDRunInfo.from_path(quick_run)
    model = ComponentModel.from_run_info(info)
    batch = next(iter_batches(info, 2, 0))
    logits, inputs = model(batch, cache_type="input")
    assert logits.shape == (2, 64, 2000)
    parts = ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.o_proj", "mlp.c_fc", "mlp.down_proj")
    assert list(inputs) == [f"h.{layer}.{part}" for layer in range(2) for part in parts]
    assert json.loads((quick_run / "report.json").read_text())["kl_from_target"]["all_components"] < 0.1


@pytest.mark.slow
def test_a_target_that_is_there_is_used_again(quick_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm_words", "--output", str(quick_run.parent), "--quick"]) == 0
    assert "is used again" in capsys.readouterr().out


def test_tokens_are_the_text_and_its_end() -> None:
    texts = ["In the beginning God created", "the heaven and the earth."] * 5
    tokenizer = fit_tokenizer(texts, 60)
    tokens = encode(tokenizer, texts[:2])
    pieces = tokenizer.decode(tokens.tolist(), skip_special_tokens=False).split(END_OF_TEXT)
    assert pieces == [*texts[:2], ""]


def test_windows_are_stretches_of_the_text() -> None:
    windows = draw_windows(torch.arange(10), 200, 4, torch.Generator().manual_seed(0))
    assert torch.equal(windows - windows[:, :1], torch.arange(4).expand(200, 4))
    assert windows.min() == 0
    assert windows.max() == 9


def test_training_learns_a_text_that_repeats() -> None:
    config = LanguageTraining(
        vocab_size=8, n_ctx=8, n_embd=16, n_intermediate=16, n_head=2, n_key_value_heads=1, steps=150, batch_size=16
    )
    tokens = torch.arange(400) % 8
    model = train_language_model(config, tokens, lambda _line: None)
    predicted = model(tokens[None, :8])[0].argmax(-1)[0]
    assert torch.equal(predicted[:7], tokens[1:8])


def test_the_bundled_text_is_natural_chapters_and_what_the_generator_gives() -> None:
    bundled = EXAMPLES_DIRECTORY / "lm_words" / "words_text" / "test.jsonl"
    natural = read_texts(bundled, NATURAL)
    assert sum("LORD" in text or "Jesus" in text for text in natural) > len(natural) / 2
    assert sorted(read_texts(bundled)) == sorted(natural + planted_texts("test"))
    assert not set(planted_texts("test")) & set(planted_texts("train"))
    assert sorted(read_texts(bundled, PLANTED)) == sorted(planted_texts("test"))


def test_a_missing_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.jsonl"):
        read_texts(tmp_path / "train.jsonl")


@pytest.mark.slow
def test_the_bundled_run_is_faithful_and_sparse_as_reported() -> None:
    directory = EXAMPLES_DIRECTORY / "lm_words"
    measured, reported = measure(directory), json.loads((directory / "report.json").read_text())
    kl, active = measured["kl_from_target"], measured["sparsity"]["mean_active"]
    assert kl["all_components"] < 1e-4
    assert kl["active_only"] < 0.15 < 0.05 * kl["no_components"]
    assert active < measured["sparsity"]["components"] / 40
    for part in ("kl_from_target", "cross_entropy"):
        assert measured[part]["active_only"] == pytest.approx(reported[part]["active_only"], rel=0.01)
    assert active == pytest.approx(reported["sparsity"]["mean_active"], rel=0.01)


@pytest.mark.slow
def test_the_report_holds_on_other_tokens() -> None:
    """On planted documents that are in no file: what the report says of planted text and of the rules."""
    directory = EXAMPLES_DIRECTORY / "lm_words"
    info = SPDRunInfo.from_path(directory)
    model, tokenizer = ComponentModel.from_run_info(info), load_tokenizer(info)
    ruled = ruled_tokens(tokenizer.backend_tokenizer, tokenizer.eos_token_id, 250, 64, "other tokens")
    outputs = output_variants(model, ruled.tokens, 0.01, ("active_only",))
    report = json.loads((directory / "report.json").read_text())
    reported = report["by_source"]["planted"]
    kl = float(kl_divergence(outputs["active_only"], outputs["target"]))
    assert kl == pytest.approx(reported["kl_from_target"]["active_only"], rel=0.25)
    active = sparsity(model, ruled.tokens, 0.01)["mean_active"]
    assert active == pytest.approx(reported["sparsity"]["mean_active"], rel=0.05)
    for who, shares in report["follows_the_rule"].items():
        found = accuracy_by_rule(outputs[who], ruled)
        for rule, share in shares.items():
            assert found[rule] == pytest.approx(share, abs=0.12), (who, rule)
