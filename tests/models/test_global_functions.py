"""One causal importance function for all modules: against the numpy oracle on tiny runs, and against golden runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spd.clustering.activations import component_activations
from spd.errors import ConfigError, RunFormatError
from spd.models.component_model import ComponentModel
from tests.models.tiny_global_runs import (
    LLAMA_BLOCKS,
    PREFIX,
    RESID_BLOCKS,
    SHARED_MLP,
    earlier,
    global_runs,
    module_counts,
    reverse_config,
    transformer_config,
    with_global_function,
)
from tests.models.tiny_runs import TinyRun, llama_run, resid_mlp_run, tms_run
from tests.oracles import global_ci_functions as oracle

TOLERANCE = 2e-5
RUNS = global_runs()


def random_batch(run: TinyRun, n_items: int = 9) -> torch.Tensor:
    rng = np.random.default_rng(5)
    if run.config["task_config"]["task_name"] == "lm":
        return torch.tensor(rng.integers(0, 13, (n_items, 10)))
    n_features = 6 if run.config["task_config"]["task_name"] == "resid_mlp" else 5
    return torch.tensor(rng.uniform(-1, 1, (n_items, n_features)), dtype=torch.float32)


def function_tensors(run: TinyRun) -> oracle.Arrays:
    return {
        name.removeprefix(PREFIX): value.astype(np.float64)
        for name, value in run.tensors.items()
        if name.startswith(PREFIX)
    }


@pytest.mark.parametrize("name", RUNS)
def test_importances_equal_the_oracle(name: str, tmp_path: Path) -> None:
    run, batch = RUNS[name], random_batch(RUNS[name])
    model = ComponentModel.from_pretrained(run.write(tmp_path))
    counts = module_counts(run)
    assert list(model.module_to_c.items()) == list(counts.items())
    inputs = model(batch, cache_type="input").cache
    found = model.calc_causal_importances(inputs)
    assert list(found.pre_sigmoid) == list(inputs) == list(found.lower_leaky)

    arrays = {module: value.numpy().astype(np.float64) for module, value in inputs.items()}
    if "wte" in counts:
        arrays["wte"] = run.tensors["_components.wte.V"][inputs["wte"].numpy()].astype(np.float64)
    expected = oracle.pre_sigmoid(function_tensors(run), run.config["ci_config"], counts, arrays)
    for module, value in expected.items():
        assert np.ptp(value) > 0.01, "a constant function would test nothing"
        np.testing.assert_allclose(found.pre_sigmoid[module].numpy(), value, atol=TOLERANCE, rtol=1e-5)
        bounded = np.clip(value, 0, 1)
        np.testing.assert_allclose(found.lower_leaky[module].numpy(), bounded, atol=TOLERANCE)
        assert found.lower_leaky[module].dtype == torch.float32
        assert not found.lower_leaky[module].requires_grad


@pytest.mark.parametrize("name", RUNS)
def test_items_depend_on_their_batch_only_where_the_model_says_so(name: str, tmp_path: Path) -> None:
    run, batch = RUNS[name], random_batch(RUNS[name])
    model = ComponentModel.from_pretrained(run.write(tmp_path))
    assert model.attends_over_batch == (name == "reverse with attention, resid_mlp")
    whole = component_activations(model, "cpu", batch)
    parts = [component_activations(model, "cpu", part) for part in batch.split(2)]
    differences = [(torch.cat([part[m] for part in parts]) - value).abs().max() for m, value in whole.items()]
    assert (max(differences) > 1e-3) == model.attends_over_batch


def test_the_order_of_the_transition_matters(tmp_path: Path) -> None:
    config = reverse_config(RESID_BLOCKS, hidden=None)
    values = []
    for version in (config, earlier(config)):
        run = with_global_function(resid_mlp_run(), version)
        model = ComponentModel.from_pretrained(run.write(tmp_path / str(len(values))))
        values.append(component_activations(model, "cpu", random_batch(run)))
    late, early = values
    assert not torch.allclose(late["layers.1.mlp_in"], early["layers.1.mlp_in"], atol=1e-3)
    assert torch.equal(late["layers.0.mlp_in"], early["layers.0.mlp_in"]), "the last block has no transition"


def test_a_run_of_the_earlier_order_is_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = with_global_function(resid_mlp_run(), earlier(reverse_config(RESID_BLOCKS, hidden=None)))
    ComponentModel.from_pretrained(run.write(tmp_path))
    assert "no key transition_hidden_dim: taken for a run made before 4 February 2026" in caplog.text


def drop(start: str) -> Callable[[TinyRun], None]:
    def damage(run: TinyRun) -> None:
        run.tensors = {name: value for name, value in run.tensors.items() if not name.startswith(PREFIX + start)}

    return damage


def blocks(content: dict[str, list[str]]) -> Callable[[TinyRun], None]:
    groups = [{"name": name, "patterns": patterns} for name, patterns in content.items()]
    return lambda run: run.config.update(ci_config={**run.config["ci_config"], "block_groups": groups})


def put(name: str, *shape: int) -> Callable[[TinyRun], None]:
    return lambda run: run.tensors.update({PREFIX + name: np.zeros(shape, np.float32)})


def set_ci_config(content: dict[str, Any]) -> Callable[[TinyRun], None]:
    return lambda run: run.config.update(ci_config=content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop("_reader_norms."), "without _reader_norms is of a development version of January 2026"),
        (drop(""), r"ci_fn._global_ci_fn: tensor '_inp_projectors.layers-1.W' of shape \(13, 8\) is missing"),
        (drop("_transitions.layers-1.2.b"), r"tensor '_transitions.layers-1.2.b' of shape \(8,\) is missing"),
        (put("_readers.first.2.W", 5, 14), r"'_readers.first.2.W': expected shape \(5, 13\) .*got \(5, 14\)"),
        (put("_transition_norms.first.weight", 8), r"'_transition_norms.first.weight' .*fits nothing in the config"),
        (put("_attn_transitions.layers-1.rope.inv_freq", 2), "holds other rotary frequencies than ci_config"),
        (put("_attn_transitions.layers-1.rope.inv_freq", 4), "holds other rotary frequencies than ci_config"),
        (
            blocks({"a": ["layers.0.*"], "b": ["layers.2.*"]}),
            r"pattern 'layers.2.\*' of block 'b' matches no deco",
        ),
        (blocks({"a": ["layers.0.*"]}), "module 'layers.1.mlp_out' is in no block"),
        (blocks({"a": ["*"], "b": ["*mlp_in"]}), r"'layers.0.mlp_in' is matched twice, by '\*' of block 'a' and by"),
        (blocks({"a": ["*_in", "*.0.*"]}), r"'layers.0.mlp_in' is matched twice, by '\*_in' of block 'a' and by"),
        (blocks({"keys": ["*"]}), "a block cannot be named 'keys'"),
        (blocks({"training": ["*"]}), "a block cannot be named 'training'"),
        (
            set_ci_config({"mode": "layerwise", "fn_type": "vector_mlp", "hidden_dims": [4]}),
            r"one causal importance function for all modules, but .* each has its own \(mode: layerwise\)",
        ),
    ],
)
def test_files_that_do_not_fit_each_other(damage: Callable[[TinyRun], None], message: str, tmp_path: Path) -> None:
    run = with_global_function(resid_mlp_run(), reverse_config(RESID_BLOCKS, attends=True))
    damage(run)
    with pytest.raises(RunFormatError, match=message) as raised:
        ComponentModel.from_pretrained(run.write(tmp_path))
    assert str(tmp_path) in str(raised.value)


def test_a_global_config_with_layerwise_functions(tmp_path: Path) -> None:
    run = resid_mlp_run()
    run.config["ci_config"] = SHARED_MLP
    run.config = {key: value for key, value in run.config.items() if not key.startswith("ci_fn_")}
    with pytest.raises(RunFormatError, match=r"function for each module, but .* one for all \(mode: global\)"):
        ComponentModel.from_pretrained(run.write(tmp_path))


def test_a_tensor_under_two_names(tmp_path: Path) -> None:
    run = tms_run()
    name = "_ci_fns.linear1.layers.0.W"
    run.tensors[f"ci_fn.{name}"] = run.tensors[name]
    with pytest.raises(RunFormatError, match="is there twice, under a name of today and an older one"):
        ComponentModel.from_pretrained(run.write(tmp_path))


@pytest.mark.parametrize("rounded", [False, True])
def test_stored_rotary_frequencies_are_accepted(rounded: bool, tmp_path: Path) -> None:
    run = with_global_function(resid_mlp_run(), reverse_config(RESID_BLOCKS, attends=True))
    batch = random_batch(run)
    expected = component_activations(ComponentModel.from_pretrained(run.write(tmp_path / "without")), "cpu", batch)
    frequencies = torch.tensor([1.0, 10000.0**-0.5])
    frequencies = frequencies.bfloat16().float() if rounded else frequencies
    run.tensors[f"{PREFIX}_attn_transitions.layers-1.rope.inv_freq"] = frequencies.numpy()
    found = component_activations(ComponentModel.from_pretrained(run.write(tmp_path / "with")), "cpu", batch)
    assert all(torch.equal(found[module], value) for module, value in expected.items())


def test_what_is_too_long(tmp_path: Path) -> None:
    run = with_global_function(resid_mlp_run(), reverse_config(RESID_BLOCKS, attends=True))
    model = ComponentModel.from_pretrained(run.write(tmp_path / "batch"))
    component_activations(model, "cpu", random_batch(run, 12))
    message = r"13 items, over which it attends: .* at most 12 \(ci_config.transition_attn_config.max_len\)"
    with pytest.raises(ConfigError, match=message):
        component_activations(model, "cpu", random_batch(run, 13))
    for name, ci_config in (("a", transformer_config()), ("b", reverse_config(LLAMA_BLOCKS, attends=True))):
        model = ComponentModel.from_pretrained(with_global_function(llama_run(), ci_config).write(tmp_path / name))
        component_activations(model, "cpu", torch.zeros(40, 12, dtype=torch.int64))
        with pytest.raises(ConfigError, match=r"sequences of 13 tokens: .* at most 12 \(ci_config\..*max_len\)"):
            component_activations(model, "cpu", torch.zeros(1, 13, dtype=torch.int64))


def test_all_modules_are_needed(tmp_path: Path) -> None:
    run = with_global_function(resid_mlp_run(), SHARED_MLP)
    model = ComponentModel.from_pretrained(run.write(tmp_path))
    inputs = model(random_batch(run), cache_type="input").cache
    del inputs["layers.0.mlp_out"]
    with pytest.raises(ConfigError, match=r"the inputs of layers.0.mlp_out are missing: this run has one causal"):
        model.calc_causal_importances(inputs)


GOLDEN_RUNS = [
    "resid_mlp1_layerwise",
    "tms_layerwise_shared",
    "resid_mlp2_global_mlp",
    "resid_mlp2_global_reverse",
    "resid_mlp2_global_reverse_attn",
    "lm_global_transformer",
    "lm_global_reverse_attn",
]


@pytest.mark.parametrize("name", GOLDEN_RUNS)
def test_golden_importances(name: str, golden: Path) -> None:
    model = ComponentModel.from_pretrained(golden / "runs" / name / "spd_run")
    directory = golden / "expected" / name
    batch = torch.from_numpy(np.load(directory / "batch.npz")["batch"])
    inputs = model(batch, cache_type="input").cache
    importances = model.calc_causal_importances(inputs)
    expected = np.load(directory / "ci.npz")
    meta = json.loads((directory / "meta.json").read_text())
    assert list(importances.lower_leaky) == meta["module_order_execution"]
    assert list(model.module_to_c) == meta["module_order_config"]
    assert len(expected) == 3 * len(model.module_to_c)
    for variant in ("lower_leaky", "upper_leaky", "pre_sigmoid"):
        for module, value in getattr(importances, variant).items():
            np.testing.assert_allclose(value.numpy(), expected[f"{variant}/{module}"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", GOLDEN_RUNS)
def test_golden_modules_and_outputs(name: str, golden: Path) -> None:
    model = ComponentModel.from_pretrained(golden / "runs" / name / "spd_run")
    expected = np.load(golden / "expected" / name / "debug_subbatch.npz")
    batch = torch.from_numpy(expected["batch"])
    output, inputs = model(batch, cache_type="input")
    wanted = expected["target_out"]
    np.testing.assert_allclose(output[:, : wanted.shape[1]].numpy(), wanted, atol=1e-4, rtol=1e-4)
    activations = model(batch, cache_type="component_acts").cache
    for module, value in inputs.items():
        np.testing.assert_allclose(value.numpy(), expected[f"module_input/{module}"], atol=TOLERANCE, rtol=1e-5)
        if f"component_acts/{module}" in expected:
            acts = activations[module].numpy()
            np.testing.assert_allclose(acts, expected[f"component_acts/{module}"], atol=5e-5, rtol=1e-4)
