"""Defaults, refusals, files and hashes of merge configs that users of SPD rely on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.merge_config import MergeConfig

DEFAULTS = {
    "activation_threshold": 0.01,
    "alpha": 1.0,
    "iters": 100,
    "merge_pair_sampling_method": "range",
    "merge_pair_sampling_kwargs": {"threshold": 0.05},
    "filter_dead_threshold": 0.001,
    "module_name_filter": None,
}
OTHER_VALUES: dict[str, Any] = {
    "activation_threshold": None,
    "alpha": 0.0,
    "iters": None,
    "merge_pair_sampling_method": "mcmc",
    "merge_pair_sampling_kwargs": {"threshold": 0.001},
    "filter_dead_threshold": -1.0,
    "module_name_filter": "layers.0",
}


def test_merge_config_defaults() -> None:
    assert MergeConfig().model_dump() == DEFAULTS
    assert set(MergeConfig.model_fields) == set(DEFAULTS)
    for given in ({}, None):
        assert MergeConfig.model_validate({"merge_pair_sampling_kwargs": given}) == MergeConfig()
    mcmc = MergeConfig(merge_pair_sampling_method="mcmc")
    assert mcmc.merge_pair_sampling_kwargs == {"temperature": 1.0}
    assert MergeConfig(
        merge_pair_sampling_method="exp_rank", merge_pair_sampling_kwargs={}
    ).merge_pair_sampling_kwargs == {"decay": 0.2}


@pytest.mark.parametrize(
    "values",
    [
        {"activation_threshold": float("inf")},
        {"activation_threshold": "much"},
        {"activation_threshold": -0.1},
        {"alpha": -1},
        {"alpha": float("inf")},
        {"alpha": "1"},
        {"iters": 0},
        {"iters": 1.5},
        {"iters": True},
        {"merge_pair_sampling_method": "best"},
        {"merge_pair_sampling_kwargs": {"temperature": 1.0}},
        {"merge_pair_sampling_kwargs": {"threshold": 0.1, "extra": 1}},
        {"merge_pair_sampling_kwargs": {"threshold": "low"}},
        {"merge_pair_sampling_kwargs": {"threshold": float("nan")}},
        {"merge_pair_sampling_kwargs": [0.1]},
        {"merge_pair_sampling_method": "mcmc", "merge_pair_sampling_kwargs": {"temperature": 0}},
        {"merge_pair_sampling_method": "exp_rank", "merge_pair_sampling_kwargs": {"threshold": 0.1}},
        {"filter_dead_threshold": float("nan")},
        {"filter_dead_threshold": None},
        {"module_name_filter": 3},
        {"module_name_filter": [1]},
        {"unknown_key": 1},
    ],
)
def test_merge_config_refuses(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MergeConfig(**values)


def test_merge_config_is_frozen() -> None:
    config = MergeConfig()
    with pytest.raises(ValidationError):
        config.alpha = 2.0  # type: ignore[misc]


def test_merge_config_iterations() -> None:
    assert MergeConfig(iters=None).get_num_iters(n_components=7) == 6
    assert MergeConfig(iters=3).get_num_iters(7) == 3
    assert MergeConfig(iters=None).get_num_iters(1) == 0


@pytest.mark.parametrize("names", [["b.c", "a"], {"b.c", "a"}, frozenset({"a", "b.c"})])
@pytest.mark.parametrize("ending", ["json", "yaml", "yml"])
def test_merge_config_round_trips(names: Any, ending: str, tmp_path: Path) -> None:
    config = MergeConfig(**{**OTHER_VALUES, "merge_pair_sampling_kwargs": {}, "module_name_filter": names})
    assert set(config.module_name_filter) == {"a", "b.c"}
    path = tmp_path / f"config.{ending}"
    config.to_file(path)
    read = MergeConfig.from_file(path)
    assert read == config
    assert read.stable_hash == config.stable_hash
    assert MergeConfig.model_validate_json(config.model_dump_json()) == config
    plain = json.loads(path.read_text()) if ending == "json" else yaml.safe_load(path.read_text())
    assert MergeConfig.model_validate(plain) == config


def test_merge_config_hash_is_equal_for_equal_configs_only() -> None:
    assert isinstance(MergeConfig().stable_hash, str)
    same = [
        MergeConfig(),
        MergeConfig(alpha=1),
        MergeConfig(merge_pair_sampling_kwargs={"threshold": 0.05}),
        MergeConfig(**DEFAULTS),
    ]
    assert len({config.stable_hash for config in same}) == 1
    zeros = [MergeConfig(alpha=0), MergeConfig(alpha=0.0), MergeConfig(alpha=-0.0)]
    assert zeros[0] == zeros[1] == zeros[2]
    assert len({config.stable_hash for config in zeros}) == 1
    different = [MergeConfig(**{name: value}) for name, value in OTHER_VALUES.items()]
    assert len({config.stable_hash for config in [MergeConfig(), *different]}) == 8
    filters = [{"b", "a", "c"}, {"c", "b", "a"}, frozenset("abc")]
    assert len({MergeConfig(module_name_filter=names).stable_hash for names in filters}) == 1


def test_hashes_do_not_depend_on_the_process() -> None:
    run = ClusteringRunConfig(model_path="example:x", batch_size=8)
    config = MergeConfig(module_name_filter={"a", "bb", "ccc", "d.d"})
    code = (
        "from spd.clustering.merge_config import MergeConfig\n"
        "from spd.clustering.clustering_run_config import ClusteringRunConfig\n"
        "print(MergeConfig(module_name_filter={'a', 'bb', 'ccc', 'd.d'}).stable_hash)\n"
        "print(ClusteringRunConfig(model_path='example:x', batch_size=8).stable_hash_b64())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "12345"}
    )
    assert done.stdout.split() == [config.stable_hash, run.stable_hash_b64()]
