"""Loading and running decomposed models: against the numpy oracle on tiny runs, and against golden runs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from spd.errors import ConfigError, SPDError
from spd.models.component_model import ComponentModel
from tests.models.tiny_runs import LLAMA_CONFIG, TinyRun, llama_run, resid_mlp_run, tms_run, with_older_names
from tests.oracles.decomposed_model import (
    Target,
    bounded_importance,
    component_activations,
    gelu,
    pre_sigmoid,
)

TOLERANCE = 2e-5


def oracle_output(run: TinyRun, target: Target, batch: np.ndarray) -> np.ndarray:
    family = run.config["pretrained_model_class"].rpartition(".")[2]
    if family == "TMSModel":
        return target.tms(batch, run.target_files["tms_train_config.yaml"]["n_hidden_layers"])
    return target.resid_mlp(batch, 2, gelu) if family == "ResidMLP" else target.llama(batch, LLAMA_CONFIG)


def random_batch(run: TinyRun) -> torch.Tensor:
    rng = np.random.default_rng(5)
    if run.config["task_config"]["task_name"] == "lm":
        return torch.tensor(rng.integers(0, LLAMA_CONFIG["vocab_size"], (3, 9)))
    weights = run.tensors
    n_features = weights["target_model.W_E"].shape[0] if "target_model.W_E" in weights else 5
    return torch.tensor(rng.uniform(-1, 1, (11, n_features)), dtype=torch.float32)


def with_shared_biases(run: TinyRun) -> TinyRun:
    """As real runs have it: the components' bias is the layer's own."""
    tensors = dict(run.tensors)
    for name in tensors:
        if name.startswith("_components.") and name.endswith(".bias"):
            module = name.split(".")[1].replace("-", ".")
            tensors[name] = tensors[f"target_model.{module}.bias"]
    return TinyRun(run.config, tensors, run.target_files)


RUNS = {
    "tms mlp": tms_run(),
    "tms no hidden layer": tms_run(n_hidden_layers=0),
    "tms mlp without hidden width": tms_run(hidden=()),
    "tms vector_mlp": tms_run("vector_mlp"),
    "tms shared_mlp with identity": tms_run("shared_mlp", hidden=(), identity=4),
    "tms mlp with identity": tms_run("mlp", hidden=(4, 3), identity=4),
    "resid_mlp vector_mlp": resid_mlp_run(),
    "resid_mlp mlp": resid_mlp_run("mlp", (5,)),
    "llama with embedding": llama_run(),
}

EXECUTION_ORDER = {
    "tms mlp": ["linear1", "hidden_layers.0", "linear2"],
    "tms shared_mlp with identity": ["linear1", "hidden_layers.0", "linear2.pre_identity", "linear2"],
    "resid_mlp vector_mlp": ["layers.0.mlp_in", "layers.0.mlp_out", "layers.1.mlp_in", "layers.1.mlp_out"],
    "llama with embedding": [
        "wte",
        "h.0.attn.q_proj",
        "h.0.mlp.down_proj",
        "h.1.attn.q_proj",
        "h.1.mlp.down_proj",
    ],
}


@pytest.mark.parametrize("name", RUNS)
def test_importances_equal_the_oracle(name: str, tmp_path: Path) -> None:
    run, batch = RUNS[name], random_batch(RUNS[name])
    model = ComponentModel.from_pretrained(run.write(tmp_path))
    output, inputs = model(batch, cache_type="input")
    importances = model.calc_causal_importances(inputs)

    oracle = Target(run.tensors, list(model.module_to_c))
    expected_output = oracle_output(run, oracle, batch.numpy())
    np.testing.assert_allclose(output.numpy(), expected_output, atol=TOLERANCE, rtol=1e-5)
    assert list(inputs) == list(oracle.inputs) == list(importances.lower_leaky)
    assert list(inputs) == EXECUTION_ORDER.get(name, list(inputs))
    for module, module_input in oracle.inputs.items():
        np.testing.assert_allclose(inputs[module].numpy(), module_input, atol=TOLERANCE)
        value = pre_sigmoid(oracle.tensors, run.config["ci_fn_type"], module, module_input)
        assert np.ptp(value) > 0.01, "a constant function would test nothing"
        np.testing.assert_allclose(importances.pre_sigmoid[module].numpy(), value, atol=TOLERANCE)
        bounded = bounded_importance("leaky_hard", value)
        np.testing.assert_allclose(importances.lower_leaky[module].numpy(), bounded, atol=TOLERANCE)
        upper = np.where(value > 1, 1 + 0.01 * (value - 1), bounded)
        np.testing.assert_allclose(importances.upper_leaky[module].numpy(), upper, atol=TOLERANCE)


@pytest.mark.parametrize("name", RUNS)
def test_component_activations_equal_the_oracle(name: str, tmp_path: Path) -> None:
    run, batch = RUNS[name], random_batch(RUNS[name])
    model = ComponentModel.from_pretrained(run.write(tmp_path))
    oracle = Target(run.tensors, list(model.module_to_c))
    oracle_output(run, oracle, batch.numpy())
    for module, found in model(batch, cache_type="component_acts").cache.items():
        expected = component_activations(oracle.tensors, module, oracle.inputs[module])
        np.testing.assert_allclose(found.numpy(), expected, atol=TOLERANCE)


@pytest.mark.parametrize("name", RUNS)
def test_masked_forward_equals_the_oracle(name: str, tmp_path: Path) -> None:
    run, batch = RUNS[name], random_batch(RUNS[name])
    model = ComponentModel.from_pretrained(run.write(tmp_path))
    rng = np.random.default_rng(7)
    lead = batch.shape if run.config["task_config"]["task_name"] == "lm" else batch.shape[:1]
    masks = {module: rng.uniform(0, 1, (*lead, count)) for module, count in model.module_to_c.items()}
    oracle = Target(run.tensors, list(model.module_to_c), masks)
    expected = oracle_output(run, oracle, batch.numpy())
    as_tensors = {module: torch.tensor(mask, dtype=torch.float32) for module, mask in masks.items()}
    found, inputs = model(batch, cache_type="input", mask_infos=as_tensors)
    np.testing.assert_allclose(found.numpy(), expected, atol=5e-5, rtol=1e-4)
    np.testing.assert_allclose(model(batch, mask_infos=as_tensors).numpy(), found.numpy())
    for module, module_input in oracle.inputs.items():
        np.testing.assert_allclose(inputs[module].numpy(), module_input, atol=5e-5)
    first = next(iter(inputs))
    partly = model(batch, mask_infos={first: as_tensors[first]})
    oracle = Target(run.tensors, [], {first: masks[first]})
    np.testing.assert_allclose(partly.numpy(), oracle_output(run, oracle, batch.numpy()), atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("name", RUNS)
def test_all_components_and_the_rest_of_the_weight_are_the_target(name: str, tmp_path: Path) -> None:
    run, batch = with_shared_biases(RUNS[name]), random_batch(RUNS[name])
    model = ComponentModel.from_pretrained(run.write(tmp_path))
    ones = {module: torch.ones(count) for module, count in model.module_to_c.items()}
    whole = model(batch, mask_infos=ones, with_weight_delta=True)
    np.testing.assert_allclose(whole.numpy(), model(batch).numpy(), atol=5e-5, rtol=1e-4)
    assert np.abs((model(batch, mask_infos=ones) - whole).numpy()).max() > 0.01


def test_older_names_give_the_same_importances(tmp_path: Path) -> None:
    run = tms_run("vector_mlp", identity=4, n_hidden_layers=0)
    for name in ("module_info", "identity_module_info"):
        run.config[name] = [{**info, "C": 4} for info in run.config[name]]
    run.tensors = {
        name: value[:, :4] if name.endswith(".V") else value[:4] if name.endswith(".U") or "_ci_fns" in name else value
        for name, value in run.tensors.items()
    }
    run = with_shared_biases(run)
    older = with_older_names(run)
    assert "patched_model.linear2.original.bias" in older.tensors
    assert "patched_model.linear2.pre_identity.components.V" in older.tensors
    batch = random_batch(run)
    results = []
    for place, version in (("new", run), ("old", older)):
        model = ComponentModel.from_pretrained(version.write(tmp_path / place))
        output, inputs = model(batch, cache_type="input")
        masks = {module: torch.full((count,), 0.5) for module, count in model.module_to_c.items()}
        importances = model.calc_causal_importances(inputs).lower_leaky
        results.append([*importances.values(), output, model(batch, mask_infos=masks)])
    for new, old in zip(*results, strict=True):
        assert torch.equal(new, old)


def test_a_loaded_model_is_for_evaluation_on_float32(tmp_path: Path) -> None:
    run = tms_run()
    run.tensors = {name: value.astype(np.float16) for name, value in run.tensors.items()}
    model = ComponentModel.from_pretrained(run.write(tmp_path))
    assert not model.training
    assert all(not p.requires_grad and p.dtype == torch.float32 and p.device.type == "cpu" for p in model.parameters())
    assert not model(random_batch(run)).requires_grad


def test_loading_leaves_the_random_state_alone(tmp_path: Path) -> None:
    directory = llama_run().write(tmp_path)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    ComponentModel.from_pretrained(directory)
    assert torch.equal(torch.get_rng_state(), state)


def test_tied_and_transposed_weights_load(tmp_path: Path) -> None:
    run = tms_run(n_hidden_layers=0)
    directory = run.write(tmp_path)
    tensors = {name: torch.tensor(value) for name, value in run.tensors.items()}
    tensors["target_model.linear2.weight"] = tensors["target_model.linear1.weight"].T
    torch.save(tensors, directory / "model_3.pth")
    model = ComponentModel.from_pretrained(directory)
    linear1, linear2 = model.target_model.linear1.weight, model.target_model.linear2.weight
    assert torch.equal(linear2, linear1.T)


def test_questions_that_have_no_answer(tmp_path: Path) -> None:
    run = tms_run()
    model = ComponentModel.from_pretrained(run.write(tmp_path))
    batch = random_batch(run)
    with pytest.raises(ConfigError, match=r"cache_type: expected .* got 'inputs'"):
        model(batch, cache_type="inputs")
    with pytest.raises(ConfigError, match="'linear9' is no decomposed module; there are linear1"):
        model(batch, mask_infos={"linear9": torch.ones(7)})
    with pytest.raises(ConfigError, match=r"mask of 'linear1': expected shape \(..., 7\), got \(3,\)"):
        model(batch, mask_infos={"linear1": torch.ones(3)})
    with pytest.raises(ConfigError, match="no decomposed module"):
        model.calc_causal_importances({"linear9": batch})
    with pytest.raises(ConfigError, match="sampling: expected"):
        model.calc_causal_importances({"linear1": batch}, sampling="other")
    with pytest.raises(SPDError):
        ComponentModel.from_pretrained(tmp_path / "gone")


@pytest.mark.parametrize("attribute", ["idx_7", "logits"])
def test_an_output_part_that_is_not_there(attribute: str, tmp_path: Path) -> None:
    run = llama_run()
    run.config["pretrained_model_output_attr"] = attribute
    model = ComponentModel.from_pretrained(run.write(tmp_path))
    with pytest.raises(ConfigError, match=f"a tuple, has no '{attribute}'"):
        model(random_batch(run))


@pytest.mark.parametrize("token", [-1, LLAMA_CONFIG["vocab_size"]])
def test_a_token_beyond_the_vocabulary(token: int, tmp_path: Path) -> None:
    model = ComponentModel.from_pretrained(llama_run().write(tmp_path))
    with pytest.raises(ConfigError, match=rf"the batch holds the token {token}, but the target's vocabulary has 13"):
        model(torch.tensor([[0, token, 12]]))


def test_an_older_resid_mlp_target(tmp_path: Path) -> None:
    run = resid_mlp_run()
    expected = ComponentModel.from_pretrained(run.write(tmp_path / "new"))(random_batch(run))
    run.config["pretrained_model_class"] = "spd.experiments.resid_mlp.models.ResidualMLP"
    (content,) = run.target_files.values()
    run.target_files = {"resid_mlp_train_config.yaml": {"resid_mlp_config": content["resid_mlp_model_config"]}}
    older = ComponentModel.from_pretrained(run.write(tmp_path / "old"))
    assert torch.equal(older(random_batch(run)), expected)


GOLDEN_RUNS = ["tms_5-2", "tms_5-2_preid", "resid_mlp1", "lm_kjv"]


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN_RUNS)
def test_golden_importances(name: str, golden: Path) -> None:
    model = ComponentModel.from_pretrained(golden / "runs" / name / "spd_run")
    batch = torch.from_numpy(np.load(golden / "expected" / name / "batch.npz")["batch"])
    importances = model.calc_causal_importances(model(batch, cache_type="input").cache)
    expected = np.load(golden / "expected" / name / "ci.npz")
    for variant in ("lower_leaky", "upper_leaky"):
        found = getattr(importances, variant)
        assert [f"{variant}/{module}" for module in found] == [key for key in expected if key.startswith(variant)]
        for module, value in found.items():
            np.testing.assert_allclose(value.numpy(), expected[f"{variant}/{module}"], atol=TOLERANCE, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN_RUNS)
def test_golden_intermediate_values(name: str, golden: Path) -> None:
    model = ComponentModel.from_pretrained(golden / "runs" / name / "spd_run")
    expected = np.load(golden / "expected" / name / "debug_subbatch.npz")
    batch = torch.from_numpy(expected["batch"])
    output, inputs = model(batch, cache_type="input")
    importances = model.calc_causal_importances(inputs)
    activations = model(batch, cache_type="component_acts").cache
    ones = {module: torch.ones(count) for module, count in model.module_to_c.items()}
    found = {
        "target_out": output,
        "out_all_components": model(batch, mask_infos=ones),
        "out_ci_masked": model(batch, mask_infos=importances.lower_leaky),
    }
    for module in inputs:
        found[f"module_input/{module}"] = inputs[module]
        found[f"component_acts/{module}"] = activations[module]
        found[f"pre_sigmoid/{module}"] = importances.pre_sigmoid[module]
        found[f"lower_leaky/{module}"] = importances.lower_leaky[module]
        found[f"upper_leaky/{module}"] = importances.upper_leaky[module]
    assert set(found) == set(expected) - {"batch"}
    for key, value in found.items():
        np.testing.assert_allclose(value.numpy(), expected[key], atol=5e-5, rtol=0, err_msg=key)
