"""Transformer families on tiny checkpoints: the logits are those of the equivalent transformers model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from spd.errors import ConfigError, RunFormatError
from spd.models.component_model import ComponentModel
from tests.models.tiny_runs import LLAMA_CONFIG, TinyRun, decompose, llama_run, run_config
from tests.oracles.decomposed_model import bounded_importance, component_activations, pre_sigmoid

VOCAB, WIDTH, LAYERS, HEADS, CONTEXT = 13, 16, 2, 4, 12


def randomized(model: torch.nn.Module) -> torch.nn.Module:
    """Weights that leave no bias at zero and no norm at one."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def gpt2() -> Any:
    sizes = {"vocab_size": VOCAB, "n_positions": CONTEXT, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS}
    config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    return randomized(transformers.GPT2LMHeadModel(config))


def llama(**changes: Any) -> Any:
    values = {"attention_bias": False, "mlp_bias": False, "num_key_value_heads": 2, "rms_norm_eps": 1e-6}
    config = transformers.LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        **{**values, **changes},
    )
    return randomized(transformers.LlamaForCausalLM(config))


def tokens() -> torch.Tensor:
    return torch.tensor(np.random.default_rng(3).integers(0, VOCAB, (3, CONTEXT)))


def make_run(
    target: dict[str, torch.Tensor], class_path: str, sizes: dict[str, tuple[int, int, int]], **more: Any
) -> TinyRun:
    """A run whose target has these weights, with the modules in `sizes` decomposed."""
    config = run_config(
        "mlp",
        [4],
        {name: size[2] for name, size in sizes.items()},
        pretrained_model_class=class_path,
        task_config={"task_name": "lm", "dataset_name": "dataset", "max_seq_len": CONTEXT},
        **more,
    )
    tensors = {f"target_model.{name}": value.numpy() for name, value in target.items()}
    biases = {name for name in sizes if f"{name}.bias" in target}
    return TinyRun(config, tensors | decompose(np.random.default_rng(4), "mlp", [4], sizes, biases), {})


def check_logits(run: TinyRun, directory: Path, model: Any) -> ComponentModel:
    loaded = ComponentModel.from_pretrained(run.write(directory))
    with torch.no_grad():
        expected = model(tokens()).logits
    assert expected.std() > 0.1, "logits that are all alike would test nothing"
    np.testing.assert_allclose(loaded(tokens()).numpy(), expected.numpy(), atol=2e-5, rtol=1e-4)
    return loaded


def check_importances(run: TinyRun, model: ComponentModel) -> None:
    """Importances follow from the inputs by the oracle, in the order of the modules in the network."""
    inputs = model(tokens(), cache_type="input").cache
    assert set(inputs) == set(model.module_to_c)
    found = model.calc_causal_importances(inputs).lower_leaky
    activations = model(tokens(), cache_type="component_acts").cache
    for module, module_input in inputs.items():
        expected = pre_sigmoid(run.tensors, "mlp", module, module_input.numpy())
        np.testing.assert_allclose(found[module].numpy(), bounded_importance("leaky_hard", expected), atol=2e-5)
        expected = component_activations(run.tensors, module, module_input.numpy())
        np.testing.assert_allclose(activations[module].numpy(), expected, atol=2e-5)


def check_components_are_the_weight(run: TinyRun, directory: Path) -> None:
    """V U with what it leaves over is the module's own weight, whichever way the layer stores it."""
    for name in list(run.tensors):
        if name.startswith("_components.") and name.endswith(".bias"):
            module = name.split(".")[1].replace("-", ".")
            run.tensors[name] = run.tensors[f"target_model.{module}.bias"]
    model = ComponentModel.from_pretrained(run.write(directory))
    ones = {module: torch.ones(count) for module, count in model.module_to_c.items()}
    whole = model(tokens(), mask_infos=ones, with_weight_delta=True)
    np.testing.assert_allclose(whole.numpy(), model(tokens()).numpy(), atol=1e-4, rtol=1e-3)
    assert (model(tokens(), mask_infos=ones) - whole).abs().max() > 0.01


def simple_llama_weights(model: Any) -> dict[str, torch.Tensor]:
    """A transformers Llama's weights under LlamaSimple's names."""
    weights = {}
    for name, value in model.state_dict().items():
        for old, new in (
            ("model.layers.", "h."),
            ("self_attn.", "attn."),
            ("post_attention_layernorm", "rms_2"),
            ("input_layernorm", "rms_1"),
            ("model.embed_tokens", "wte"),
            ("model.norm", "ln_f"),
        ):
            name = name.replace(old, new)
        weights[name] = value
    return weights


def simple_gpt2_weights(model: Any, fused: bool) -> dict[str, torch.Tensor]:
    """A transformers GPT-2's weights under GPT2Simple's names, with linear layers' layout (d_out, d_in)."""
    weights = {}
    for name, value in model.state_dict().items():
        name = name.removeprefix("transformer.")
        value = value.T.contiguous() if value.ndim == 2 and ("attn." in name or "mlp." in name) else value
        if fused:
            weights[name] = value
        elif "c_attn" in name:
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                weights[name.replace("c_attn", f"{part}_proj")] = piece.clone()
        else:
            weights[name.replace("attn.c_proj", "attn.o_proj").replace("mlp.c_proj", "mlp.down_proj")] = value
    return weights


SIMPLE_LLAMA = {**LLAMA_CONFIG, "model_type": "LlamaSimple", "n_embd": WIDTH, "block_size": CONTEXT}


@pytest.mark.parametrize("bias", [False, True])
def test_llama_simple_has_the_logits_of_llama(bias: bool, tmp_path: Path) -> None:
    model = llama(attention_bias=bias, mlp_bias=bias)
    sizes = {"h.1.mlp.up_proj": (WIDTH, 24, 5), "h.0.attn.k_proj": (WIDTH, 8, 4), "wte": (VOCAB, WIDTH, 6)}
    run = make_run(
        simple_llama_weights(model),
        "spd.pretrain.models.llama_simple.LlamaSimple",
        sizes,
        pretrained_model_output_attr="idx_0",
    )
    run.target_files["model_config.yaml"] = {**SIMPLE_LLAMA, "attn_bias": bias, "mlp_bias": bias}
    loaded = check_logits(run, tmp_path / "run", model)
    assert list(loaded(tokens(), cache_type="input").cache) == ["wte", "h.0.attn.k_proj", "h.1.mlp.up_proj"]
    check_importances(run, loaded)
    check_components_are_the_weight(run, tmp_path / "whole")


def test_llama_simple_with_one_projection_for_queries_keys_and_values(tmp_path: Path) -> None:
    model = llama(num_key_value_heads=HEADS)
    weights = simple_llama_weights(model)
    for layer in range(LAYERS):
        parts = [weights.pop(f"h.{layer}.attn.{part}_proj.weight") for part in "qkv"]
        weights[f"h.{layer}.attn.c_attn.weight"] = torch.cat(parts)
    run = make_run(
        weights,
        "spd.pretrain.models.llama_simple.LlamaSimple",
        {"h.1.attn.c_attn": (WIDTH, 3 * WIDTH, 5)},
        pretrained_model_output_attr="idx_0",
    )
    run.target_files["model_config.yaml"] = {**SIMPLE_LLAMA, "use_grouped_query_attention": False}
    check_importances(run, check_logits(run, tmp_path, model))


def test_adjacent_rotary_pairs_are_a_permutation_of_the_halves(tmp_path: Path) -> None:
    """Entries (2 i, 2 i + 1) turn as (i, i + size / 2) do when queries and keys are reordered to suit."""
    run = llama_run()
    size = WIDTH // HEADS
    order = torch.arange(size).view(2, -1).T.flatten()
    reordered = TinyRun(run.config, dict(run.tensors), {"model_config.yaml": {**LLAMA_CONFIG}})
    reordered.target_files["model_config.yaml"]["rotary_adjacent_pairs"] = True
    for name, value in run.tensors.items():
        if name.startswith("target_model.") and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = value.reshape(-1, size, WIDTH)
            reordered.tensors[name] = heads[:, order].reshape(value.shape)
    outputs = [
        ComponentModel.from_pretrained(version.write(tmp_path / place))(tokens())
        for place, version in (("halves", run), ("pairs", reordered))
    ]
    np.testing.assert_allclose(outputs[1].numpy(), outputs[0].numpy(), atol=1e-5)
    run.target_files = reordered.target_files
    confused = ComponentModel.from_pretrained(run.write(tmp_path / "confused"))(tokens())
    assert (confused - outputs[0]).abs().max() > 0.01


@pytest.mark.parametrize("fused", [False, True])
def test_gpt2_simple_has_the_logits_of_gpt2(fused: bool, tmp_path: Path) -> None:
    model = gpt2()
    last = "c_proj" if fused else "down_proj"
    attention = {"h.*.attn.c_attn": (WIDTH, 3 * WIDTH, 5)} if fused else {"h.*.attn.q_proj": (WIDTH, WIDTH, 5)}
    per_pattern = {**attention, f"h.*.mlp.{last}": (4 * WIDTH, WIDTH, 7)}
    sizes = {name.replace("*", str(layer)): size for layer in range(LAYERS) for name, size in per_pattern.items()}
    run = make_run(
        simple_gpt2_weights(model, fused),
        "spd.pretrain.models.gpt2_simple.GPT2Simple",
        sizes,
        pretrained_model_output_attr="idx_0",
    )
    config = {"vocab_size": VOCAB, "block_size": CONTEXT, "n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH}
    run.target_files["model_config.yaml"] = {**config, "model_type": "GPT2Simple", "flash_attention": False}
    # A constant that some versions of the class store.
    run.tensors["target_model.h.0.attn.bias"] = np.ones((1, 1, CONTEXT, CONTEXT), np.float32)
    loaded = check_logits(run, tmp_path / "run", model)
    assert list(loaded(tokens(), cache_type="input").cache) == list(sizes)
    check_importances(run, loaded)
    check_components_are_the_weight(run, tmp_path / "whole")
    with pytest.raises(ConfigError, match=r"sequences of 13 tokens: the target takes at most 12 \(block_size\)"):
        loaded(torch.zeros((1, CONTEXT + 1), dtype=torch.int64))


def huggingface_run(model: Any, directory: Path, sizes: dict[str, tuple[int, int, int]], **more: Any) -> TinyRun:
    """A run whose target is a saved transformers model, of which only the config is kept."""
    model.config.save_pretrained(directory / "target")
    return make_run(
        model.state_dict(),
        f"transformers.{type(model).__name__}",
        sizes,
        pretrained_model_name="../target",
        pretrained_model_output_attr="logits",
        **more,
    )


def test_huggingface_gpt2_with_its_conv1d_layers(tmp_path: Path) -> None:
    model = gpt2()
    per_pattern = {"attn.c_attn": (WIDTH, 3 * WIDTH, 5), "mlp.c_proj": (4 * WIDTH, WIDTH, 7)}
    sizes = {f"transformer.h.{layer}.{name}": size for layer in range(LAYERS) for name, size in per_pattern.items()}
    sizes["transformer.wte"] = (VOCAB, WIDTH, 6)
    run = huggingface_run(model, tmp_path, sizes)
    assert run.tensors["target_model.transformer.h.0.attn.c_attn.weight"].shape == (WIDTH, 3 * WIDTH)
    loaded = check_logits(run, tmp_path / "run", model)
    assert list(loaded(tokens(), cache_type="input").cache)[:2] == ["transformer.wte", "transformer.h.0.attn.c_attn"]
    check_importances(run, loaded)
    check_components_are_the_weight(run, tmp_path / "whole")


@pytest.mark.parametrize(
    "class_name", ["LlamaForCausalLM", "AutoModelForCausalLM", "models.llama.modeling_llama.LlamaForCausalLM"]
)
def test_huggingface_llama_with_identities(class_name: str, tmp_path: Path) -> None:
    model = llama()
    name = "model.layers.1.mlp.up_proj"
    sizes = {name: (WIDTH, 24, 5)}
    identity = {"identity_module_info": [{"module_pattern": "model.layers.*.mlp.up_proj", "C": 3}]}
    run = huggingface_run(model, tmp_path, sizes, **identity)
    run.config["pretrained_model_class"] = f"transformers.{class_name}"
    inserted = {f"model.layers.{layer}.mlp.up_proj.pre_identity": (WIDTH, WIDTH, 3) for layer in range(LAYERS)}
    run.tensors |= decompose(np.random.default_rng(5), "mlp", [4], inserted, set())
    loaded = check_logits(run, tmp_path / "run", model)
    assert list(loaded(tokens(), cache_type="input").cache) == [*inserted, name]
    check_importances(run, loaded)
    check_components_are_the_weight(run, tmp_path / "whole")


def test_building_a_huggingface_model_leaves_the_random_state_alone(tmp_path: Path) -> None:
    directory = huggingface_run(gpt2(), tmp_path, {"transformer.wte": (VOCAB, WIDTH, 6)}).write(tmp_path / "run")
    state = torch.get_rng_state()
    ComponentModel.from_pretrained(directory)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pretrained_model_class": "transformers.pipeline"}, r"'transformers.pipeline' is no model of transformers"),
        ({"pretrained_model_class": "transformers.GPT2Config"}, r"'transformers.GPT2Config' is no model"),
        ({"pretrained_model_class": "transformers.NoSuchThing"}, r"'transformers.NoSuchThing' is no model"),
        (
            {"pretrained_model_class": "transformers.LlamaForCausalLM"},
            r"takes a LlamaConfig, but '../target' has a GPT2Config",
        ),
        ({"pretrained_model_name": None}, r"pretrained_model_name is missing: a directory or hub name"),
        ({"pretrained_model_name": "../run"}, r"config of '../run' cannot be read from the directory"),
        ({"pretrained_model_name": "no-such/model"}, r"config of 'no-such/model' cannot be read from the hub"),
    ],
)
def test_huggingface_targets_that_cannot_be_had(change: dict, message: str, tmp_path: Path) -> None:
    run = huggingface_run(gpt2(), tmp_path, {"transformer.wte": (VOCAB, WIDTH, 6)})
    run.config.update(change)
    with pytest.raises(ConfigError, match=rf"final_config.yaml: .*{message}"):
        ComponentModel.from_pretrained(run.write(tmp_path / "run"))


def test_a_hub_repositorys_own_code_is_not_run(tmp_path: Path) -> None:
    run = huggingface_run(gpt2(), tmp_path, {"transformer.wte": (VOCAB, WIDTH, 6)})
    target = tmp_path / "target"
    (target / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}')
    (target / "own.py").write_text(f"open({str(tmp_path / 'touched')!r}, 'w')\nclass Own: pass\n")
    with pytest.raises(ConfigError, match="cannot be read from the directory"):
        ComponentModel.from_pretrained(run.write(tmp_path / "run"))
    assert not (tmp_path / "touched").exists()


def test_a_huggingface_checkpoint_of_another_size(tmp_path: Path) -> None:
    run = huggingface_run(gpt2(), tmp_path, {"transformer.wte": (VOCAB, WIDTH, 6)})
    run.tensors["target_model.transformer.wpe.weight"] = np.zeros((CONTEXT + 1, WIDTH), np.float32)
    with pytest.raises(RunFormatError, match=r"'transformer.wpe.weight': expected shape \(12, 16\) .*got \(13, 16\)"):
        ComponentModel.from_pretrained(run.write(tmp_path / "run"))
