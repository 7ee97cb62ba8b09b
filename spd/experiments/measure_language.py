"""What the report.json of the bundled language model holds, measured on text that no training saw."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from spd.experiments.evaluate import output_variants, sparsity, weight_errors
from spd.experiments.language_target import END_OF_TEXT, encode, next_token_loss
from spd.experiments.losses import kl_divergence
from spd.experiments.mixed_text import NATURAL, PLANTED, read_texts
from spd.experiments.planted_rules import accuracy_by_rule, ruled_tokens
from spd.models.component_model import ComponentModel

_SEQUENCES = 400
_RULE_DOCUMENTS = 300
_RULE_SEED = "report"
_THRESHOLD = 0.01


def measure(directory: Path) -> dict[str, Any]:
    """KL and cross-entropy in nats a token, active components a token, and how often the planted rules are followed.

    A rule is followed where the likeliest next token is the one that it decides; measured of the target, and with only
    the active components.
    """
    from spd.data.corpus import load_tokenizer
    from spd.models.run_info import SPDRunInfo

    info = SPDRunInfo.from_path(directory)
    model = ComponentModel.from_run_info(info)
    tokenizer: Any = load_tokenizer(info)
    backend = tokenizer.backend_tokenizer
    length, name = info.config.task_config.max_seq_len, info.config.task_config.dataset_name
    assert length is not None
    assert name is not None
    text = directory / name / "test.jsonl"
    batches = {
        part: _sequences(encode(backend, read_texts(text, source)), length)
        for part, source in (("all", None), ("natural", NATURAL), ("planted", PLANTED))
    }
    measured = {name: _of_batch(model, batch) for name, batch in batches.items()}
    ruled = ruled_tokens(backend, backend.token_to_id(END_OF_TEXT), _RULE_DOCUMENTS, length, _RULE_SEED)
    outputs = output_variants(model, ruled.tokens, _THRESHOLD, ("active_only",))
    return {
        "tokens": batches["all"].numel(),
        **measured["all"],
        "by_source": {name: measured[name] for name in ("natural", "planted")},
        "follows_the_rule": {name: accuracy_by_rule(outputs[name], ruled) for name in ("target", "active_only")},
        "weight_error_share": weight_errors(model),
    }


def _sequences(tokens: Tensor, length: int) -> Tensor:
    """(n, length), what is left over dropped."""
    return tokens[: len(tokens) // length * length].reshape(-1, length)[:_SEQUENCES]


def _of_batch(model: ComponentModel, batch: Tensor) -> dict[str, Any]:
    outputs = output_variants(model, batch, _THRESHOLD)
    return {
        "cross_entropy": _by_variant(outputs, lambda output: next_token_loss(output[:, :-1], batch[:, 1:])),
        "kl_from_target": _by_variant(
            {name: output for name, output in outputs.items() if name != "target"},
            lambda output: kl_divergence(output, outputs["target"]),
        ),
        "sparsity": sparsity(model, batch, _THRESHOLD),
    }


def _by_variant(outputs: Mapping[str, Tensor], value: Any) -> dict[str, float]:
    return {name: float(value(output)) for name, output in outputs.items()}
