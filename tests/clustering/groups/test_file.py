"""groups.json: written and read back, and refused where it is damaged or another run's."""

import json

import numpy as np
import pytest

from spd.clustering.groups import Groups, find_groups
from spd.clustering.memberships import Memberships
from spd.errors import DamagedFileError, MissingFileError, SPDError
from tests.clustering.groups.data import planted


@pytest.fixture(scope="module")
def memberships():
    x, _ = planted(0)
    x[:, 1] = False
    return Memberships.from_activations(x, [f"layer.{i % 3}:{i}" for i in range(x.shape[1])], None)


@pytest.fixture(scope="module")
def found(memberships):
    return find_groups(memberships)


def test_what_is_written_is_read_back(found, memberships, tmp_path):
    found.save(tmp_path / "groups.json")
    again = Groups.read(tmp_path / "groups.json", memberships=memberships)
    for name, value in vars(found).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(again, name))
        elif not name.startswith("_") and name != "sizes":
            assert value == getattr(again, name)


def test_a_file_of_another_run_is_refused_by_name(found, memberships, tmp_path):
    path = tmp_path / "groups.json"
    found.save(path)
    with pytest.raises(SPDError, match=r"groups\.json: belongs to another run: .* other memberships"):
        Groups.read(path, memberships=memberships.resample_rows(np.random.default_rng(0)))
    with pytest.raises(SPDError, match=r"groups\.json: belongs to another run: it has .* components, expected 2"):
        Groups.read(path, labels=["a:0", "a:1"])
    assert Groups.read(path, labels=memberships.labels).labels == memberships.labels


def test_a_missing_file_is_said_so(tmp_path):
    with pytest.raises(MissingFileError, match=r"nothing\.json"):
        Groups.read(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c.update(schema_version=9), "schema version 9"),
        (lambda c: c.pop("joins"), "lacks 'joins'"),
        (lambda c: c["components"][0].__setitem__(1, 10**6), "'components' names groups"),
        (lambda c: c["components"][0].__setitem__(1, 1.5), "whole numbers as groups"),
        (lambda c: c["components"][0].__setitem__(0, c["components"][1][0]), "all different"),
        (lambda c: c["components"][0].__setitem__(2, float("nan")), "p_active"),
        (lambda c: c["components"][0].__setitem__(4, 1.01), "confidence"),
        (lambda c: c["components"][0].pop(), "'components' must be a list"),
        (lambda c: c["components"].pop(), "contradicts 'components'"),
        (lambda c: c["groups"][0].update(size=1), "group 0 of 'groups' contradicts"),
        (lambda c: c["groups"].append({"id": len(c["groups"]), "size": 0, "firing_rate": 0}), "contradicts"),
        (lambda c: c["groups"][0].update(firing_rate="often"), "firing_rate"),
        (lambda c: c.update(secondary=[[0, 10**6, 0.5]]), "'secondary' names"),
        (lambda c: c.update(nested=[[0, 1]]), "'nested' must hold"),
        (lambda c: c.update(joins=5), "'joins' must be a list"),
        (lambda c: c.update(n_samples="many"), "'n_samples'"),
        (lambda c: c.update(control={"n_groups": 1}), "'control'"),
    ],
)
def test_damage_is_refused_by_name(found, tmp_path, damage, message):
    path = tmp_path / "groups.json"
    found.save(path)
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedFileError, match=message) as error:
        Groups.read(path)
    assert str(path) in str(error.value)


def test_a_truncated_file_is_refused(found, tmp_path):
    path = tmp_path / "groups.json"
    found.save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DamagedFileError, match=r"groups\.json: is damaged or truncated"):
        Groups.read(path)


def test_the_partition_nearest_to_a_number_of_groups(found):
    n = found.n_components
    np.testing.assert_array_equal(found.cut(found.n_groups), found.group_of)
    sizes = {k: int(found.cut(k).max()) + 1 for k in range(1, n + 5)}
    assert all(sizes[k] == max(min(k, n), sizes[1]) for k in sizes)
    for k in range(sizes[1], n):  # each is the next one with two groups joined
        coarse, fine = found.cut(k), found.cut(k + 1)
        assert len(set(zip(coarse.tolist(), fine.tolist(), strict=True))) == k + 1
    with pytest.raises(SPDError, match="expected 1 group or more, got 0"):
        found.cut(0)


def test_as_a_table(found):
    table = found.to_dataframe()
    assert table["label"].tolist() == found.labels
    assert (table["size"] == found.sizes[found.group_of]).all()
    assert table["n_secondary"].sum() == len(found.secondary)


def test_members_of_no_group_are_an_error(found):
    with pytest.raises(SPDError, match="there is no group -1"):
        found.members(-1)
