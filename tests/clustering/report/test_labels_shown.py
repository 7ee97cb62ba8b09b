"""Labels of the user's from the file to the page, report.json, the mapping and the table; they outlive another run."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.merge import merge_iteration
from spd.clustering.merge_config import MergeConfig
from spd.clustering.pipeline.sources import open_source
from spd.clustering.report.page import render_page
from spd.clustering.scripts.make_report import main
from tests.clustering.report import browser
from tests.clustering.report.browser import ids, texts, type_filter
from tests.planted import planted

HOSTILE = (
    "<script>alert(1)</script>",
    "quotes \" and ' and `",
    "\u202eturned\u2066",
    "\x00\x1b[31m\n\ttab",
    "\u05e9\u05dc\u05d5\u05dd \U0001f600",
    "=HYPERLINK(1)",
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Six groups of three components of a matrix."""
    rng = np.random.default_rng(0)
    causes = np.repeat(np.arange(6), 3)
    np.save(tmp_path / "mine.npy", planted(rng, 600, causes, [0.1] * 6, 0.95).astype(np.float32))
    merge = MergeConfig(iters=None, merge_pair_sampling_kwargs={"threshold": 0.0})
    config = ClusteringRunConfig(activations_path=str(tmp_path / "mine.npy"), batch_size=600, merge_config=merge)
    return clustered(tmp_path / "c-0000000a", config)


def clustered(directory: Path, config: ClusteringRunConfig) -> Path:
    memberships = open_source(config).memberships(config)
    history = merge_iteration(config.merge_config, memberships, memberships.labels, rng=np.random.default_rng(0))
    directory.mkdir(parents=True)
    history.save(directory / "history.zip")
    config.to_file(directory / "clustering_run_config.json")
    return directory


def content_of(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "report.json").read_text())


def label_by(key: str, groups: list[dict[str, Any]], path: Path) -> Path:
    name = "id" if key == "cluster_id" else key
    lines = [{key: group[name], "explanation": text} for group, text in zip(groups, HOSTILE, strict=True)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.mark.parametrize("key", ["cluster_id", "hash"])
def test_hostile_labels_go_into_every_file_as_they_are(run: Path, tmp_path: Path, key: str) -> None:
    assert main([str(run)]) == 0
    groups = content_of(run)["groups"]
    assert len(groups) == len(HOSTILE)
    assert main([str(run), "--labels", str(label_by(key, groups, tmp_path / "labels.jsonl"))]) == 0
    labelled = content_of(run)
    assert [group["label"] for group in labelled["groups"]] == list(HOSTILE)
    assert labelled["missing"] == []
    notes = json.loads((run / "groups_mapping.json").read_text())["notes"]
    assert all(f"{group['id']}: {text}" in notes for group, text in zip(groups, HOSTILE, strict=True))
    with (run / "groups.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"].removeprefix("'") for row in rows] == list(HOSTILE)
    assert rows[-1]["label"] == "'=HYPERLINK(1)"


def test_labels_by_hash_outlive_another_run(run: Path, tmp_path: Path) -> None:
    assert main([str(run)]) == 0
    groups = content_of(run)["groups"]
    labels = label_by("hash", groups, tmp_path / "labels.jsonl")
    matrix = np.load(tmp_path / "mine.npy")
    np.save(tmp_path / "mine.npy", matrix[::-1])  # other samples; and the numbers of the groups are others
    config = ClusteringRunConfig.from_file(run / "clustering_run_config.json")
    other = clustered(tmp_path / "c-0000000b", config)
    mapping = tmp_path / "renumbered.json"
    clusters = {m["label"]: 90 - group["id"] for group in groups for m in group["members"]}
    mapping.write_text(json.dumps({"clusters": clusters}))
    assert main([str(other), "--labels", str(labels), "--mapping", str(mapping)]) == 0
    expected = {90 - group["id"]: text for group, text in zip(groups, HOSTILE, strict=True)}
    assert {group["id"]: group["label"] for group in content_of(other)["groups"]} == expected


def test_unknown_groups_are_said_and_damaged_lines_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.jsonl"
    known = json.dumps({"cluster_id": 0, "explanation": "zero"})
    labels.write_text(f"{known}\n{json.dumps({'cluster_id': 999, 'explanation': 'none'})}\n\n")
    assert main([str(run), "--labels", str(labels)]) == 0
    content = content_of(run)
    assert content["missing"] == ["1 of 2 labels of labels.jsonl name no group of this report: 999."]
    assert {group["id"]: group["label"] for group in content["groups"]}[0] == "zero"
    page = (run / "report.html").read_bytes()
    labels.write_text(f"{known}\n{{damaged\n")
    assert main([str(run), "--labels", str(labels)]) == 1
    assert "labels.jsonl, line 2: is no JSON" in capsys.readouterr().err
    assert (run / "report.html").read_bytes() == page  # a report that was there stays whole


@pytest.mark.slow
def test_labels_are_shown_and_searched(run: Path, tmp_path: Path, driver: Any) -> None:
    assert main([str(run)]) == 0
    groups = content_of(run)["groups"]
    assert main([str(run), "--labels", str(label_by("cluster_id", groups, tmp_path / "labels.jsonl"))]) == 0
    browser.open_page(driver, run / "report.html")
    shown = texts(driver, "#rows .label")
    assert (shown[0], shown[1], shown[5]) == (HOSTILE[0], HOSTILE[1], HOSTILE[5])
    assert shown[2] == "\u27e8202E\u27e9turned\u27e82066\u27e9"
    is_cut = "return [...document.querySelectorAll('#rows .label')].map((one) => one.scrollWidth > one.clientWidth)"
    assert not driver.execute_script(is_cut)[1]  # a label of some words is legible in the table
    assert not set(shown[3]) & {"\x00", "\x1b", "\n", "\t"}
    for words, place in (("alert(1)", 0), ('"quotes "', 1), ("turned", 2), ("\u05e9\u05dc\u05d5\u05dd", 4)):
        type_filter(driver, words)
        assert ids(driver) == [groups[place]["id"]]


def test_a_page_of_a_copy_is_the_same(run: Path, tmp_path: Path) -> None:
    assert main([str(run)]) == 0
    shutil.copytree(run, tmp_path / "copy")
    assert render_page(content_of(tmp_path / "copy")) == (run / "report.html").read_text()
