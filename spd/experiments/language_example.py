"""The bundled language model: text, tokenizer, target, decomposition, report."""

from dataclasses import asdict, replace
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spd.experiments.decompose import DecomposeConfig, Report, decompose
from spd.experiments.decomposition import Decomposition, absorb_rest, start_exactly
from spd.experiments.evaluate import rounded
from spd.experiments.language_target import (
    END_OF_TEXT,
    UNKNOWN,
    LanguageTraining,
    draw_windows,
    encode,
    fit_tokenizer,
    train_language_model,
)
from spd.experiments.losses import kl_divergence
from spd.experiments.measure_language import measure
from spd.experiments.mixed_text import read_texts
from spd.experiments.run_writer import decomposition_keys, write_run, write_tensors, write_yaml
from spd.files.checked import write_json
from spd.files.run_location import EXAMPLES_DIRECTORY
from spd.models.ci_config import AttentionConfig, GlobalCiConfig, TransformerConfig
from spd.models.targets.llama_simple import LlamaSimple

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAME = "lm_words"
TEXT, TOKENIZER, TARGET_DIRECTORY = "words_text", "words_tokenizer", "words_target"
"""Directories in the run's own: names that hardly stand in a user's working directory, which is looked in first."""

N_COMPONENTS = {
    "attn.q_proj": 80,
    "attn.k_proj": 80,
    "attn.v_proj": 80,
    "attn.o_proj": 80,
    "mlp.c_fc": 192,
    "mlp.down_proj": 192,
}
"""Of each module, in every layer: more than the rank of its weight."""

CI_CONFIG = GlobalCiConfig(
    mode="global",
    fn_type="global_shared_transformer",
    simple_transformer_ci_cfg=TransformerConfig(
        d_model=96, n_blocks=1, mlp_hidden_dim=[192], attn_config=AttentionConfig(n_heads=4)
    ),
)

TARGET = LanguageTraining()
DECOMPOSITION = DecomposeConfig(
    steps=3600,
    batch_size=8,
    learning_rate=3e-3,
    final_learning_rate_fraction=0.02,
    importance_coeff=1.5e-3,
    p_start=1.0,
    p_end=0.5,
    faithfulness_coeff=1e4,
    layerwise_coeff=0.0,
    subset_share=0.5,
    bare_share=0.5,
    frequency_coeff=0.5,
    warmup_steps=0,
    log_every=200,
)
QUICK_STEPS = 3


def make_language_example(directory: Path, report: Report, quick: bool = False, seed: int = 0) -> None:
    """Train, decompose and write the run into `directory`.

    The text is that of the bundled example. A target that is in the directory already, trained with
    the same config, is used again.

    Args:
        quick: a few steps only, to test the way there.
        seed: of both trainings.
    """
    target_config, config = replace(TARGET, seed=seed), replace(DECOMPOSITION, seed=seed)
    if quick:
        target_config = replace(target_config, steps=QUICK_STEPS)
        config = replace(config, steps=QUICK_STEPS)
    if not (directory / TEXT).is_dir():
        copytree(EXAMPLES_DIRECTORY / NAME / TEXT, directory / TEXT)
    texts = read_texts(directory / TEXT / "train.jsonl")
    tokenizer = fit_tokenizer(texts, target_config.vocab_size)
    tokens = encode(tokenizer, texts)
    target = _target(directory, target_config, tokens, report)
    _write_tokenizer(directory / TOKENIZER, tokenizer)

    generator = torch.Generator().manual_seed(config.seed)
    counts = {f"h.{layer}.{name}": count for layer in range(len(target.h)) for name, count in N_COMPONENTS.items()}
    model = Decomposition(target, counts, CI_CONFIG, generator)
    start_exactly(model, generator)

    def draw_batch(source: torch.Generator) -> Tensor:
        return draw_windows(tokens, config.batch_size, target_config.n_ctx, source)

    decompose(model, draw_batch, kl_divergence, config, report)
    absorb_rest(model)
    write_run(directory, _final_config(target_config, config), model)
    trained = {"target": asdict(target_config), "decomposition": asdict(config)}
    write_json(directory / "report.json", rounded(measure(directory)) | trained)


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


def _final_config(target_config: LanguageTraining, config: DecomposeConfig) -> dict[str, Any]:
    patterns = {f"h.*.{name}": count for name, count in N_COMPONENTS.items()}
    return {
        **decomposition_keys(config, CI_CONFIG, patterns, "kl"),
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
