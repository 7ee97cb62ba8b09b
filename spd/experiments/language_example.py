"""The bundled language model: tokenizer, target, decomposition, report."""

from dataclasses import asdict, replace
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spd.experiments.decompose import DecomposeConfig, Report, decompose
from spd.experiments.decomposition import Decomposition, start_at_neurons
from spd.experiments.evaluate import output_variants, rounded, sparsity, weight_errors
from spd.experiments.language_target import (
    END_OF_TEXT,
    UNKNOWN,
    LanguageTraining,
    draw_windows,
    encode,
    fit_tokenizer,
    next_token_loss,
    read_texts,
    train_language_model,
)
from spd.experiments.losses import kl_divergence
from spd.experiments.run_writer import decomposition_keys, write_run, write_tensors, write_yaml
from spd.files.checked import write_json
from spd.files.run_location import EXAMPLES_DIRECTORY
from spd.models.component_model import ComponentModel
from spd.models.targets.llama_simple import LlamaSimple

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAME = "lm_kjv"
TEXT, TOKENIZER, TARGET_DIRECTORY = "kjv_text", "kjv_tokenizer", "kjv_target"
"""Directories in the run's own: names that hardly stand in a user's working directory, which is looked in first."""

CI_FN_TYPE, CI_FN_HIDDEN_DIMS = "shared_mlp", [64]

TARGET = LanguageTraining()
DECOMPOSITION = DecomposeConfig(
    steps=3000,
    batch_size=8,
    learning_rate=3e-3,
    final_learning_rate_fraction=0.02,
    importance_coeff=1.5e-3,
    p_start=1.0,
    p_end=0.6,
    faithfulness_coeff=1e4,
    layerwise_coeff=0.0,
    warmup_steps=50,
    warmup_learning_rate=1e-3,
    log_every=250,
)
QUICK_STEPS = 3

_READS_BY_NEURON, _WRITES_BY_NEURON = ("mlp.c_fc",), ("mlp.down_proj",)
"""The modules decomposed, of every layer: the MLPs. Attention stays whole."""
_REPORT_SEQUENCES = 400
_THRESHOLD = 0.01


def make_language_example(directory: Path, report: Report, quick: bool = False) -> None:
    """Train, decompose and write the run into `directory`; `quick`: a few steps only, to test the way there.

    A target that is in the directory already, trained with the same config, is used again.
    """
    target_config, config = TARGET, DECOMPOSITION
    if quick:
        target_config = replace(TARGET, steps=QUICK_STEPS)
        config = replace(DECOMPOSITION, steps=QUICK_STEPS, warmup_steps=QUICK_STEPS)
    source = EXAMPLES_DIRECTORY / NAME / TEXT
    if not (directory / TEXT).is_dir():
        copytree(source, directory / TEXT)
    texts = read_texts(directory / TEXT / "train.jsonl")
    tokenizer = fit_tokenizer(texts, target_config.vocab_size)
    tokens = encode(tokenizer, texts)
    target = _target(directory, target_config, tokens, report)
    _write_tokenizer(directory / TOKENIZER, tokenizer)

    model = _start(target, config)

    def draw_batch(generator: torch.Generator) -> Tensor:
        return draw_windows(tokens, config.batch_size, target_config.n_ctx, generator)

    decompose(model, draw_batch, kl_divergence, config, report)
    write_run(directory, _final_config(model, target_config, config), model)
    write_json(directory / "report.json", rounded(measure(directory)))


def measure(directory: Path) -> dict[str, Any]:
    """What report.json holds, measured on text that neither training saw. KL and cross-entropy in nats per token."""
    from spd.data.corpus import load_tokenizer
    from spd.models.run_info import SPDRunInfo

    info = SPDRunInfo.from_path(directory)
    model = ComponentModel.from_run_info(info)
    tokenizer: Any = load_tokenizer(info)
    length = info.config.task_config.max_seq_len
    assert length is not None
    tokens = encode(tokenizer.backend_tokenizer, read_texts(directory / TEXT / "test.jsonl"))
    batch = tokens[: len(tokens) // length * length].reshape(-1, length)[:_REPORT_SEQUENCES]
    outputs = output_variants(model, batch, _THRESHOLD)
    target_output = outputs["target"]
    return {
        "tokens": batch.numel(),
        "cross_entropy": {name: _cross_entropy(output, batch) for name, output in outputs.items()},
        "kl_from_target": {
            name: float(kl_divergence(output, target_output)) for name, output in outputs.items() if name != "target"
        },
        "sparsity": sparsity(model, batch, _THRESHOLD),
        "weight_error_share": weight_errors(model),
        "target": asdict(TARGET),
        "decomposition": asdict(DECOMPOSITION),
    }


def _cross_entropy(logits: Tensor, batch: Tensor) -> float:
    return float(next_token_loss(logits[:, :-1], batch[:, 1:]))


def _start(target: LlamaSimple, config: DecomposeConfig) -> Decomposition:
    """One component for each neuron of a module, at its weights: exact from the first step, and already sparse,
    as the neurons were trained to be."""
    counts, by_output = {}, {}
    for layer in range(len(target.h)):
        for name in (*_READS_BY_NEURON, *_WRITES_BY_NEURON):
            path = f"h.{layer}.{name}"
            weight = target.get_parameter(f"{path}.weight")
            by_output[path] = name in _READS_BY_NEURON
            counts[path] = weight.shape[0] if by_output[path] else weight.shape[1]
    generator = torch.Generator().manual_seed(config.seed)
    model = Decomposition(target, counts, CI_FN_TYPE, list(CI_FN_HIDDEN_DIMS), generator)
    start_at_neurons(model, by_output)
    return model


def _target(directory: Path, config: LanguageTraining, tokens: Tensor, report: Report) -> LlamaSimple:
    """The target, trained or read; in SPD's layout of pretrained models."""
    from spd.files.config import load_mapping
    from spd.models.targets.llama_simple import LlamaSimpleConfig, PlainMLP

    home = directory / TARGET_DIRECTORY
    checkpoint = home / "checkpoints" / f"model_step_{config.steps}.pt"
    training = home / "final_config.yaml"
    if checkpoint.is_file() and training.is_file() and load_mapping(training) == asdict(config):
        report(f"target: {checkpoint} is used again")
        model = LlamaSimple(LlamaSimpleConfig.model_validate(config.model_config()), PlainMLP)
        model.load_state_dict(torch.load(checkpoint, weights_only=True))
        return model.eval().requires_grad_(False)
    model = train_language_model(config, tokens, report)
    write_tensors(checkpoint, model.state_dict())
    write_yaml(home / "model_config.yaml", config.model_config())
    write_yaml(training, asdict(config))
    return model


def _write_tokenizer(directory: Path, tokenizer: "Tokenizer") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    write_json(
        directory / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT, "unk_token": UNKNOWN},
    )


def _final_config(model: Decomposition, target_config: LanguageTraining, config: DecomposeConfig) -> dict[str, Any]:
    patterns = {f"h.*.{name}": model.n_components[f"h.0.{name}"] for name in (*_READS_BY_NEURON, *_WRITES_BY_NEURON)}
    return {
        **decomposition_keys(config, CI_FN_TYPE, list(CI_FN_HIDDEN_DIMS), patterns, "kl"),
        "pretrained_model_class": "spd.pretrain.models.llama_simple_mlp.LlamaSimpleMLP",
        "pretrained_model_path": None,
        "pretrained_model_name": f"{TARGET_DIRECTORY}/checkpoints/model_step_{target_config.steps}.pt",
        "pretrained_model_output_attr": "idx_0",
        "tokenizer_name": TOKENIZER,
        "task_config": {
            "task_name": "lm",
            "max_seq_len": target_config.n_ctx,
            "buffer_size": 1000,
            "dataset_name": TEXT,
            "column_name": "text",
            "train_data_split": "train",
            "eval_data_split": "test",
            "is_tokenized": False,
            "streaming": False,
        },
    }
