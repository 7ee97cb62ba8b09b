"""What configs say about causal importance functions, in the forms of all versions."""

import json
from pathlib import Path
from typing import Any

import pytest

from spd.errors import ConfigError
from spd.models.ci_config import GlobalCiConfig, read_ci_config
from spd.models.run_info import RunConfig, read_run_config
from tests.models.tiny_global_runs import RESID_BLOCKS, SHARED_MLP, earlier, reverse_config, transformer_config
from tests.models.tiny_runs import tms_run

GATES = "gate_names"
"""Given to the reference these are refused; they are translated here, as older versions did."""


def read(given: dict[str, Any], directory: Path) -> RunConfig:
    run = tms_run()
    drop = ("ci_fn_type", "ci_fn_hidden_dims", *(["module_info"] if "target_module_patterns" in given else []))
    run.config = {key: value for key, value in run.config.items() if key not in drop} | given
    return read_run_config(run.write(directory) / "final_config.yaml")


def test_golden_configs_are_accepted_or_refused_alike(golden: Path, tmp_path: Path) -> None:
    cases = json.loads((golden / "expected" / "functions" / "ci_config_2026.json").read_text())
    assert len(cases) == 25
    for name, case in cases.items():
        if not case["accepted"] and name != GATES:
            with pytest.raises(ConfigError, match=r"final_config.yaml: .*ci_config"):
                read(case["given"], tmp_path / name)
            continue
        config = read(case["given"], tmp_path / name)
        wanted = case.get("ci_config") or {"mode": "layerwise", "fn_type": "mlp", "hidden_dims": [4]}
        assert config.ci_config.model_dump() == wanted, name
        for key in ("module_info", "identity_module_info"):
            if key in case:
                found = getattr(config, key)
                assert [info.model_dump() for info in found] == case[key], name


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"ci_fn_type": "mlp"}, ("layerwise", "mlp", [8])),
        ({"ci_fn_hidden_dims": []}, ("layerwise", "vector_mlp", [])),
        ({"use_global_ci": False}, ("layerwise", "vector_mlp", [8])),
        ({"use_global_ci": True, "ci_fn_type": "mlp", "ci_fn_hidden_dims": [3]}, ("global", "global_shared_mlp", [3])),
        ({"ci_fn_type": "global_shared_mlp", "use_global_ci": False}, ("global", "global_shared_mlp", [8])),
        ({"ci_fn_type": None, "ci_config": SHARED_MLP}, ("global", "global_shared_mlp", [7, 5])),
        ({"use_global_ci": False, "ci_config": SHARED_MLP}, ("layerwise", "vector_mlp", [8])),
    ],
)
def test_older_keys_make_the_config(given: dict[str, Any], expected: tuple[str, str, list[int]]) -> None:
    config = read_ci_config(given, "a file")
    assert (config.mode, config.fn_type, config.hidden_dims) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "'ci_config' is missing, and so are the older ci_fn_type and ci_fn_hidden_dims"),
        ({"ci_fn_type": "conv"}, "ci_fn_type: .*'global_shared_mlp'.*'conv'"),
        ({"ci_fn_hidden_dims": [-1]}, r"ci_fn_hidden_dims.0: .*greater than or equal to 0"),
        ({"ci_config": "mlp"}, "ci_config: expected a mapping of keys to values, got str"),
        ({"ci_config": {"mode": ["global"]}}, r"ci_config: mode: expected 'layerwise' or 'global', got \['global'\]"),
        (
            {"ci_config": {"mode": "layerwise", "fn_type": "global_shared_mlp", "hidden_dims": [2]}},
            "ci_config: fn_type: .*'mlp', 'vector_mlp' or 'shared_mlp'",
        ),
        ({"ci_config": {**SHARED_MLP, "normalise": True}}, "ci_config: unknown key 'normalise'"),
        (
            {"ci_config": {**SHARED_MLP, "transition_attn_config": {"n_heads": 2}}},
            "ci_config: transition_attn_config is for global_reverse_residual, not for global_shared_mlp",
        ),
        (
            {"ci_config": transformer_config(n_heads=8)},
            "ci_config: .*n_heads: 8 heads do not divide d_model 8 into even",
        ),
        (
            {"ci_config": reverse_config({"a.b": ["*_in"], "a-b": ["*_out"]})},
            "ci_config: block_groups: more than one block is named 'a-b'",
        ),
        ({"ci_config": reverse_config({"a": []})}, r"ci_config: block_groups.0.patterns: .*at least 1 item"),
    ],
)
def test_refusals_name_the_key(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^a file: {message}") as raised:
        read_ci_config(given, "a file")
    assert "\n" not in str(raised.value)


def test_keys_of_other_kinds_may_be_there_with_null() -> None:
    layerwise = {"mode": "layerwise", "fn_type": "mlp", "hidden_dims": [2]}
    others = {"block_groups": None, "simple_transformer_ci_cfg": None}
    assert read_ci_config({"ci_config": layerwise | others}, "a file").model_dump() == layerwise


def test_the_earlier_order_is_known_by_a_key_that_is_not_there() -> None:
    config = reverse_config(RESID_BLOCKS, hidden=None)
    found = [read_ci_config({"ci_config": given}, "a file") for given in (config, earlier(config))]
    assert [isinstance(item, GlobalCiConfig) and item.reads_before_transition for item in found] == [False, True]
