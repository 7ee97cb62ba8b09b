"""On the bundled residual MLP, whose features are known: a group's ablation destroys its own feature and no other."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from spd.clustering.labels import component_labels
from spd.clustering.report.effects import (
    N_CONTROLS,
    MaskedRows,
    component_set,
    control_sets,
    judge,
    measure_effects,
    with_beaten,
)
from spd.clustering.report.grouping import Grouping, from_mapping
from spd.clustering.report.model_data import ModelData
from spd.clustering.report.model_inputs import ModelInputs
from spd.clustering.report.samples import Samples
from spd.experiments.ground_truth import component_features
from spd.models.masked import MaskSets, masked_output, whole_output
from tests.clustering.report.fixtures import LABELS, grouping_of, language_samples

RUN = "example:resid_mlp2"


@pytest.fixture(scope="module")
def by_feature() -> Grouping:
    """The right groups, by the weights."""
    features = component_features(RUN)
    return from_mapping({label: feature for label, feature in features.items() if feature is not None}, "features")


@pytest.fixture(scope="module")
def model() -> ModelInputs:
    return ModelInputs.load(RUN)


@pytest.fixture(scope="module")
def samples(model: ModelInputs, by_feature: Grouping) -> Samples:
    return model.samples(by_feature.labels, 0.01, 4000, ModelData("example:resid_mlp2", seed=3))


@pytest.fixture(scope="module")
def effects(model: ModelInputs, samples: Samples, by_feature: Grouping) -> dict[int, dict[str, Any]]:
    return measure_effects(model, samples, by_feature, range(by_feature.n_groups), n_items=64)


def test_an_ablated_group_destroys_its_own_feature_and_no_other(
    effects: dict[int, dict[str, Any]], by_feature: Grouping
) -> None:
    assert len(effects) == by_feature.n_groups
    for place, effect in effects.items():
        (own, most), (_, second) = effect["outputs"][:2]
        assert own == by_feature.ids[place]
        assert most > 20 * second
        assert effect["verdict"] == "specific"
        assert effect["ablate"]["firing"] > 10 * effect["ablate"]["elsewhere"]
        assert len(effect["ablate"]["controls"]) == N_CONTROLS
        assert effect["ablate"]["beats"] == N_CONTROLS
        assert "there more than 5 of 5 random sets like it; kept alone" in effect["why"]


def test_what_a_group_loses_is_the_relu_of_its_feature(
    effects: dict[int, dict[str, Any]], model: ModelInputs, samples: Samples, by_feature: Grouping
) -> None:
    """The target gives x + relu(x) and the stream x itself, so the loss is relu(x) squared."""
    place = 0
    feature = int(by_feature.ids[place])
    assert samples.features is not None
    items = np.arange(400)
    rows = MaskedRows(items, np.zeros(400, np.int64), np.zeros(400, np.int64), np.ones((400, 1), bool))
    sets = [component_set(by_feature.labels, by_feature.members[place])]
    found, changed = model.changes(samples, sets, rows, keep=False)
    lost = np.maximum(samples.features[items, feature], 0) ** 2
    assert changed[0, feature] == pytest.approx(lost.sum(), rel=0.1)
    assert np.corrcoef(found[:, 0], lost)[0, 1] > 0.99


def test_controls_match_modules_and_sizes() -> None:
    samples, grouping = language_samples(), grouping_of([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    members = grouping.members[0]
    controls = control_sets(samples, grouping, members, np.random.default_rng(0))
    assert len(controls) == N_CONTROLS
    own = Counter({"h.0.attn": 2})
    for control in controls:
        # The module has three components, two of them the group's own: only one is left to draw.
        assert Counter({module: len(indices) for module, indices in control.items()}) == own - Counter(["h.0.attn"])
        assert not set(control["h.0.attn"]) & {0, 1}
    whole = control_sets(samples, grouping_of([0] * len(LABELS)), np.arange(len(LABELS)), np.random.default_rng(0))
    assert whole == []


@pytest.mark.parametrize(
    ("firing", "elsewhere", "control", "verdict"),
    [
        (1.0, 0.01, 0.1, "specific"),
        (1.0, 0.0, 0.1, "specific"),
        (1.0, 0.5, 0.1, "everywhere"),
        (1.0, None, 0.1, "everywhere"),
        (1.0, 0.01, 2.0, "like the controls"),
        (1e-6, 0.0, 0.0, "weak"),
    ],
)
def test_verdicts(firing: float, elsewhere: float | None, control: float, verdict: str) -> None:
    ablate = {"firing": firing, "elsewhere": elsewhere, "controls": [{"firing": control, "elsewhere": 0.0}]}
    keep = {"firing": 1.0, "elsewhere": 0.1, "controls": [{"firing": 2.0, "elsewhere": 0.1}]}
    assert judge(with_beaten(ablate, more=True), with_beaten(keep, more=False), 1e-3)[0] == verdict


def test_a_reason_tells_how_many_controls_are_beaten_both_ways() -> None:
    def means(firing: float, *controls: float) -> dict[str, Any]:
        return {"firing": firing, "elsewhere": 0.1, "controls": [{"firing": one, "elsewhere": 0.1} for one in controls]}

    ablate = with_beaten(means(1.0, 0.2, 0.3, 0.4), more=True)
    keep = with_beaten(means(1.0, 0.5, 1.0, 2.0), more=False)
    assert (ablate["beats"], keep["beats"]) == (3, 1)
    verdict, why = judge(ablate, keep, 1e-3)
    assert verdict == "specific"
    assert "10 times as much where it fires as elsewhere, and there more than 3 of 3 random sets like it" in why
    assert "kept alone in its modules, it recovers more of the output than 1 of 3 of them" in why
    alone = with_beaten(means(1.0), more=True)
    assert judge(alone, alone, 1e-3) == (
        "specific",
        "ablated, it changes the output 10 times as much where it fires as elsewhere; "
        "there was no random set like it to compare with",
    )


def test_tokens_lose_probability_where_the_group_fires() -> None:
    """Against plain forward passes: means over the samples on which it fires, of the items looked at, and no others."""
    model = ModelInputs.load("example:lm_words")
    labels = component_labels(dict.fromkeys(model.model.module_to_c, 4))
    grouping = from_mapping(dict.fromkeys(labels, 0), "one group")
    samples = model.samples(labels, 0.01, 512, ModelData("example:lm_words"))
    assert samples.tokens is not None
    n_items, length = samples.tokens.shape
    effect = measure_effects(model, samples, grouping, [0], n_items=n_items)[0]
    fires = (samples.memberships.to_scipy().toarray() > samples.threshold).any(axis=1)
    batch = torch.from_numpy(samples.tokens).to(model.device)
    sets = MaskSets.ablated(model.model, [component_set(labels, range(len(labels)))])
    masked = masked_output(model.model, batch, sets, torch.zeros(n_items, dtype=torch.int64, device=model.device))
    change = (whole_output(model.model, batch).softmax(-1) - masked.softmax(-1)).cpu().numpy()
    lost = change.reshape(n_items * length, -1)[fires].mean(axis=0)
    assert 0 < fires.sum() < len(fires) == n_items * length
    for token, value in effect["loses"]:
        assert value == pytest.approx(lost[token], rel=1e-3)
    for token, value in effect["gains"]:
        assert value == pytest.approx(-lost[token], rel=1e-3)
    assert effect["loses"][0][0] == lost.argmax()


def test_a_group_that_never_fires_has_no_effect(model: ModelInputs, by_feature: Grouping) -> None:
    few = model.samples(by_feature.labels, 0.01, 3, ModelData("example:resid_mlp2", seed=3))
    found = measure_effects(model, few, by_feature, range(by_feature.n_groups))
    assert len(found) < by_feature.n_groups
