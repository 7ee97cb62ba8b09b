"""Runs whose files are damaged, do not fit each other, or would run code: one clear sentence each."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from spd.errors import MissingFileError, RunFormatError
from spd.models.component_model import ComponentModel
from tests.models.tiny_runs import TinyRun, llama_run, resid_mlp_run, tms_run


def put(name: str, *shape: int) -> Callable[[TinyRun], None]:
    return lambda run: run.tensors.update({name: np.zeros(shape, np.float32)})


def drop(name: str) -> Callable[[TinyRun], None]:
    return lambda run: run.tensors.pop(name)


def modules(*pairs: tuple[str, int]) -> Callable[[TinyRun], None]:
    info = [{"module_pattern": pattern, "C": count} for pattern, count in pairs]
    return lambda run: run.config.update(module_info=info)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            put("target_model.linear1.weight", 3, 6),
            r"target_model: tensor 'linear1.weight': expected shape \(3, 5\) by the config, got \(3, 6\)",
        ),
        (
            put("_components.linear1.V", 5, 8),
            r"components of linear1: tensor 'V': expected shape \(5, 7\) .*got \(5, 8\)",
        ),
        (
            put("_ci_fns.hidden_layers-0.layers.2.W", 4, 4, 2),
            r"ci function of hidden_layers.0: tensor 'layers.2.W': expected shape \(4, 4, 1\) .*got \(4, 4, 2\)",
        ),
        (drop("target_model.linear2.bias"), r"target_model: tensor 'linear2.bias' of shape \(5,\) is missing"),
        (drop("_components.linear2.U"), r"components of linear2: tensor 'U' of shape \(6, 5\) is missing"),
        (drop("_ci_fns.linear1.layers.0.b"), r"ci function of linear1: tensor 'layers.0.b' of shape .* is missing"),
        (put("target_model.linear7.weight", 2, 2), r"'linear7.weight' of shape \(2, 2\) fits nothing in the config"),
        (put("_ci_fns.linear1.layers.4.W", 7, 1, 1), r"'layers.4.W' of shape \(7, 1, 1\) fits nothing"),
        (put("_components.linear7.V", 2, 2), r"holds components of module 'linear7', which the config does not name"),
        (put("_ci_fns.linear7.layers.0.W", 2, 2), r"holds ci functions of module 'linear7', which the config does not"),
        (put("optimizer.step", 1), r"unknown tensor 'optimizer.step': names begin with target_model."),
        (
            modules(("linear1", 7), ("linear2", 6), ("hidden*.1", 4)),
            r"pattern 'hidden\*.1' matches no module of the target, which has linear1, linear2, hidden_layers.0",
        ),
        (
            modules(("linear*", 7), ("linear2", 6)),
            r"module 'linear2' is matched twice, by 'linear\*' and 'linear2'",
        ),
        (modules(("hidden_layers", 7)), r"module 'hidden_layers' is a ModuleList: expected a Linear, an Embedding"),
    ],
)
def test_files_that_do_not_fit_each_other(damage: Callable[[TinyRun], None], message: str, tmp_path: Path) -> None:
    run = tms_run()
    damage(run)
    with pytest.raises(RunFormatError, match=message):
        ComponentModel.from_pretrained(run.write(tmp_path))


def test_an_embedding_takes_mlp_functions_only(tmp_path: Path) -> None:
    run = llama_run()
    run.config["ci_fn_type"] = "shared_mlp"
    run.config["module_info"] = [{"module_pattern": "wte", "C": 5}]
    with pytest.raises(RunFormatError, match="an embedding can only have functions of type mlp, got 'shared_mlp'"):
        ComponentModel.from_pretrained(run.write(tmp_path))


def test_an_identity_before_an_embedding(tmp_path: Path) -> None:
    run = llama_run()
    run.config["identity_module_info"] = [{"module_pattern": "wte", "C": 5}]
    with pytest.raises(RunFormatError, match=r"module 'wte' is a Embedding: expected a Linear"):
        ComponentModel.from_pretrained(run.write(tmp_path))


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.9, 0.999])
def test_a_checkpoint_that_was_cut_short(keep: float, tmp_path: Path) -> None:
    directory = resid_mlp_run().write(tmp_path)
    checkpoint = directory / "model_3.pth"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(RunFormatError, match=r"model_3.pth: .*damaged"):
        ComponentModel.from_pretrained(directory)


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


@pytest.mark.parametrize("as_plain_pickle", [False, True])
def test_a_checkpoint_that_would_run_code_is_refused(as_plain_pickle: bool, tmp_path: Path) -> None:
    directory = tms_run().write(tmp_path / "run")
    content = {"target_model.linear1.weight": Payload(f"touch {tmp_path / 'touched'}")}
    if as_plain_pickle:
        (directory / "model_3.pth").write_bytes(pickle.dumps(content))
    else:
        torch.save(content, directory / "model_3.pth")
    with pytest.raises(RunFormatError, match=r"model_3.pth: refused: expected a checkpoint of plain tensors"):
        ComponentModel.from_pretrained(directory)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "expected a mapping of names to tensors, got list"),
        ({"target_model.linear1.weight": "text"}, "'target_model.linear1.weight': expected a tensor, got str"),
        ({3: torch.zeros(2)}, "3: expected a tensor"),
    ],
)
def test_a_checkpoint_that_is_no_state_dict(content: object, message: str, tmp_path: Path) -> None:
    directory = tms_run().write(tmp_path)
    torch.save(content, directory / "model_3.pth")
    with pytest.raises(RunFormatError, match=message):
        ComponentModel.from_pretrained(directory)


def test_the_targets_config_is_found_beside_its_weights(tmp_path: Path) -> None:
    run = tms_run()
    run.config["pretrained_model_path"] = "../target/tms.pth"
    target_files, run.target_files = run.target_files, {}
    directory = run.write(tmp_path / "run")
    with pytest.raises(
        MissingFileError, match=r"tms_train_config.yaml: the target model's config is missing: looked in"
    ):
        ComponentModel.from_pretrained(directory)
    TinyRun({}, {}, target_files).write(tmp_path / "target")
    (tmp_path / "target" / "tms.pth").touch()
    assert ComponentModel.from_pretrained(directory).module_to_c["linear1"] == 7


def test_a_pretrain_targets_config_is_found_in_its_grandparent(tmp_path: Path) -> None:
    run = llama_run()
    target_files, run.target_files = run.target_files, {}
    directory = run.write(tmp_path)
    with pytest.raises(MissingFileError, match=r"model_config.yaml: the target model's config is missing"):
        ComponentModel.from_pretrained(directory)
    TinyRun({}, {}, target_files).write(tmp_path / "target")
    (tmp_path / "target" / "checkpoints").mkdir()
    (tmp_path / "target" / "checkpoints" / "model_step_9.pt").touch()
    assert ComponentModel.from_pretrained(directory).module_to_c["wte"] == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_head": 3}, r"model_config.yaml: n_embd 16, n_head 3 and n_key_value_heads 2 do not fit"),
        ({"n_head": 16, "n_key_value_heads": 16}, "do not fit"),
        ({"n_layer": "two"}, r"model_config.yaml: n_layer: .*integer.*'two'"),
    ],
)
def test_target_configs_that_cannot_be(change: dict, message: str, tmp_path: Path) -> None:
    run = llama_run()
    run.target_files = {"model_config.yaml": {**run.target_files["model_config.yaml"], **change}}
    with pytest.raises(ValueError, match=message):
        ComponentModel.from_pretrained(run.write(tmp_path))
