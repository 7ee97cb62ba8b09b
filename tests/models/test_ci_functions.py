"""Causal importance functions and sigmoids against values computed by SPD's own code."""

from pathlib import Path

import numpy as np
import pytest
import torch

from spd.errors import RunFormatError
from spd.models.checkpoint import assign_weights
from spd.models.ci_config import AttentionConfig, TransformerConfig
from spd.models.ci_functions import SIGMOIDS, build_ci_function, importance_sigmoids, layerwise
from spd.models.ci_functions.attention import RotaryAttention, rotate
from spd.models.ci_functions.layers import rms_norm
from spd.models.ci_functions.transformer import TransformerBlock
from tests.oracles import global_ci_functions as oracle


@pytest.mark.parametrize(
    ("name", "kind", "n_components", "d_in", "hidden"),
    [
        ("mlp_h5_3", "mlp", 4, 9, [5, 3]),
        ("vector_mlp_h5_3", "vector_mlp", 4, 6, [5, 3]),
        ("shared_mlp_h5_3", "shared_mlp", 4, 6, [5, 3]),
        ("shared_mlp_h0", "shared_mlp", 4, 6, []),
    ],
)
def test_golden_functions(name: str, kind: str, n_components: int, d_in: int, hidden: list[int], golden: Path) -> None:
    expected = np.load(golden / "expected" / "functions" / "ci_fns.npz")
    function = build_ci_function(kind, n_components, d_in, hidden, is_embedding=False)
    prefix = f"{name}/state/"
    state = {key.removeprefix(prefix): torch.from_numpy(expected[key]) for key in expected if key.startswith(prefix)}
    assign_weights(function, state, name)
    with torch.no_grad():
        rows = function(torch.from_numpy(expected[f"{name}/x"]))
        as_sequences = function(torch.from_numpy(expected[f"{name}/x"])[None, :, None])
    np.testing.assert_allclose(rows.numpy(), expected[f"{name}/y"], atol=1e-5)
    np.testing.assert_allclose(as_sequences[0, :, 0].numpy(), expected[f"{name}/y"], atol=1e-5)


@pytest.mark.parametrize("name", SIGMOIDS)
def test_golden_sigmoids(name: str, golden: Path) -> None:
    expected = np.load(golden / "expected" / "functions" / "sigmoids.npz")
    found = SIGMOIDS[name](torch.from_numpy(expected["x"]))
    np.testing.assert_allclose(found.numpy(), expected[name], atol=1e-6)


def test_every_golden_sigmoid_is_known(golden: Path) -> None:
    assert set(np.load(golden / "expected" / "functions" / "sigmoids.npz")) == {"x", *SIGMOIDS}


def test_only_leaky_hard_has_two_variants() -> None:
    x = torch.tensor([-1.0, 0.25, 3.0])
    lower, upper = importance_sigmoids("leaky_hard")
    np.testing.assert_allclose(lower(x), [0, 0.25, 1])
    np.testing.assert_allclose(upper(x), [0, 0.25, 1.02])
    for name in SIGMOIDS:
        lower, upper = importance_sigmoids(name)
        assert (lower is upper) == (name != "leaky_hard")


@pytest.mark.parametrize("kind", ["vector_mlp", "shared_mlp"])
def test_an_embedding_has_no_input_vector(kind: str) -> None:
    with pytest.raises(RunFormatError, match=f"embedding can only have functions of type mlp, got '{kind}'"):
        build_ci_function(kind, 4, 6, [], is_embedding=True)


@pytest.mark.parametrize("kind", ["mlp", "vector_mlp"])
def test_samples_in_chunks_give_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    function = build_ci_function(kind, 4, 6, [5, 3], is_embedding=False).requires_grad_(False)
    for parameter in function.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(7, 3, 4 if kind == "mlp" else 6)
    whole = function(x)
    assert whole.shape == (7, 3, 4)
    for limit in (1, 20 * 4, 1000):
        monkeypatch.setattr(layerwise, "_CHUNK_NUMBERS_CPU", limit)
        np.testing.assert_allclose(function(x), whole, atol=1e-5)
        np.testing.assert_allclose(function(x[2, 1]), whole[2, 1], atol=1e-5)
        assert function(x[:0]).shape == (0, 3, 4)


def test_a_zero_vector_stays_zero() -> None:
    assert torch.equal(rms_norm(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.fixture(scope="module")
def small(golden: Path) -> dict[str, np.ndarray]:
    """Building blocks on small inputs, computed by SPD's own code."""
    return dict(np.load(golden / "expected" / "functions" / "ci_fns_2026.npz"))


def state(small: dict[str, np.ndarray], prefix: str) -> dict[str, torch.Tensor]:
    found = {name.removeprefix(prefix): torch.from_numpy(value) for name, value in small.items() if "." in name}
    return {name: value for name, value in found.items() if name.partition("/")[1] == "" and "inv_freq" not in name}


def test_golden_norm_and_rotation(small: dict[str, np.ndarray]) -> None:
    x, weight = small["rms_norm/x"], small["rms_norm/weight"]
    for found in (rms_norm(torch.from_numpy(x)).numpy(), oracle.rms(x)):
        np.testing.assert_allclose(found, small["rms_norm/y"], atol=1e-6)
    for found in (rms_norm(torch.from_numpy(x), torch.from_numpy(weight)).numpy(), oracle.rms(x, weight)):
        np.testing.assert_allclose(found, small["rms_norm/y_weighted"], atol=1e-6)
    angles = torch.arange(7.0)[:, None] * torch.from_numpy(small["rope/inv_freq"])
    for name in "qk":
        x = small[f"rope/{name}"]
        rotated = rotate(torch.from_numpy(x), angles.cos(), angles.sin()).numpy()
        np.testing.assert_allclose(rotated, small[f"rope/{name}_rot"], atol=2e-6)
        np.testing.assert_allclose(oracle.turned(x[1, 2], 500.0), small[f"rope/{name}_rot"][1, 2], atol=2e-6)


def test_golden_attention_and_block(small: dict[str, np.ndarray]) -> None:
    config = AttentionConfig(n_heads=3, rope_base=500.0)
    attention = RotaryAttention(12, config, "here")
    attention.load_state_dict(state(small, "attention/"))
    attention.check_frequencies(torch.from_numpy(small["attention/rope.inv_freq"]), "there")
    x = torch.from_numpy(small["attention/x"])
    with torch.no_grad():
        np.testing.assert_allclose(attention(x).numpy(), small["attention/y"], atol=2e-6)
        np.testing.assert_allclose(attention(x[0]).numpy(), small["attention/y_of_2d"], atol=2e-6)
    arrays = {name.removeprefix("attention/"): value for name, value in small.items()}
    np.testing.assert_allclose(oracle.attention(arrays, "", x.numpy(), 3, 500.0), small["attention/y"], atol=2e-6)

    block = TransformerBlock(TransformerConfig(d_model=12, n_blocks=1, mlp_hidden_dim=[10, 14], attn_config=config))
    block.load_state_dict(state(small, "block/"))
    x = torch.from_numpy(small["block/x"])
    with torch.no_grad():
        np.testing.assert_allclose(block(x).numpy(), small["block/y"], atol=5e-6)
    arrays = {name.removeprefix("block/"): value for name, value in small.items()}
    np.testing.assert_allclose(oracle.transformer_block(arrays, "", x.numpy(), 3, 500.0), small["block/y"], atol=5e-6)
