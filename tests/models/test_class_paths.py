"""The names of target models, and what builds them."""

import pytest

from spd.errors import ConfigError
from spd.models.class_paths import CLASS_PATHS, check_family, current_class_path
from spd.models.targets.registry import FAMILIES


def test_every_name_has_a_builder() -> None:
    assert list(FAMILIES) == list(CLASS_PATHS)


@pytest.mark.parametrize(
    "class_path", [*CLASS_PATHS, "transformers.GPT2LMHeadModel", "transformers.models.gpt2.modeling_gpt2.GPT2Model"]
)
def test_known_names(class_path: str) -> None:
    check_family(class_path, "a file")
    assert current_class_path(class_path) == class_path


@pytest.mark.parametrize("class_path", ["", "os.system", "transformers.os.system", "spd.pretrain.models.other.Other"])
def test_a_name_that_is_not_known(class_path: str) -> None:
    with pytest.raises(ConfigError, match=r"^a file: pretrained_model_class: unknown model family .*TMSModel"):
        check_family(class_path, "a file")


@pytest.mark.parametrize(
    ("older", "current"),
    [
        ("spd.experiments.resid_mlp.models.ResidualMLP", "spd.experiments.resid_mlp.models.ResidMLP"),
        ("simple_stories_train.models.gpt2_simple.GPT2Simple", "spd.pretrain.models.gpt2_simple.GPT2Simple"),
    ],
)
def test_older_names(older: str, current: str) -> None:
    assert current_class_path(older) == current
    assert current in CLASS_PATHS
