"""Files of the user's (labels, texts, mappings), and files for other programs."""

import csv
import io
import json
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from spd.clustering.report.directory import read_mapping
from spd.clustering.report.exports import (
    NeuronpediaNames,
    groups_csv,
    mapping,
    neuronpedia_link,
    read_neuronpedia_names,
)
from spd.clustering.report.grouping import members_hash
from spd.clustering.report.labels_file import read_labels, read_sample_texts
from spd.errors import ConfigError, DamagedFileError, MissingFileError, SPDError
from tests.clustering.report.fixtures import LABELS, grouping_of, small_content

GROUPING = grouping_of([0, 0, 1, 1, 2])


def _lines(path: Path, *entries: Any) -> Path:
    path.write_text("\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries), "utf-8")
    return path


def test_labels_by_number_and_by_members(tmp_path: Path) -> None:
    path = _lines(
        tmp_path / "labels.jsonl",
        {"cluster_id": 0, "explanation": "first"},
        "",
        {"hash": members_hash([LABELS[3], LABELS[2]]), "explanation": "by \u202e members", "cluster_id": 77},
        {"cluster_id": "2", "explanation": "a number as text", "other": [1]},
        {"cluster_id": 0, "explanation": "later"},
    )
    assert read_labels(path, GROUPING) == ({0: "later", 1: "by \u202e members", 2: "a number as text"}, [])


def test_labels_of_unknown_groups_are_reported(tmp_path: Path) -> None:
    path = _lines(tmp_path / "labels.jsonl", {"cluster_id": 9, "explanation": "x"}, {"hash": "ff", "explanation": "y"})
    found, notes = read_labels(path, GROUPING)
    assert found == {}
    assert notes == ["2 of 2 labels of labels.jsonl name no group of this report: 9, ff."]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        '{"cluster_id": 1}',
        '{"cluster_id": true, "explanation": "x"}',
        '{"explanation": "x"}',
        "[" * 100_000,
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = _lines(tmp_path / "labels.jsonl", {"cluster_id": 0, "explanation": "fine"}, line)
    with pytest.raises(ConfigError, match=r"labels\.jsonl, line 2: "):
        read_labels(path, GROUPING)


def test_labels_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="no UTF-8 text"):
        read_labels(tmp_path / "labels.jsonl", GROUPING)
    with pytest.raises(MissingFileError, match="no such file"):
        read_labels(tmp_path / "none.jsonl", GROUPING)


def test_texts_of_samples(tmp_path: Path) -> None:
    _lines(tmp_path / "texts.txt", "one", "two", "")
    assert read_sample_texts(tmp_path / "texts.txt", 2) == ["one", "two"]
    (tmp_path / "texts.json").write_text('["a\\nb", "c"]')
    assert read_sample_texts(tmp_path / "texts.json", 2) == ["a\nb", "c"]
    with pytest.raises(ConfigError, match="2 texts, but there are 3 samples"):
        read_sample_texts(tmp_path / "texts.json", 3)
    (tmp_path / "texts.json").write_text('{"a": 1}')
    with pytest.raises(ConfigError, match="a list of texts"):
        read_sample_texts(tmp_path / "texts.json", 1)


def test_the_mapping_is_that_of_get_cluster_mapping(tmp_path: Path) -> None:
    content = small_content()
    found = mapping(content)
    assert list(found) == ["clustering_run_id", "notes", "spd_run", "iteration", "clusters"]
    assert (found["spd_run"], found["iteration"], found["clustering_run_id"]) == ("a/b/c", 7, "c-00000000")
    assert "0: <script>alert(1)</script>" in found["notes"]
    assert mapping(content, "pd")["pd_run"] == "a/b/c"
    path = tmp_path / "mapping.json"
    path.write_text(json.dumps(found))
    grouping = read_mapping(path)
    assert {int(i) for i in grouping.ids} == {group["id"] for group in content["groups"]}
    ensemble = content | {"settings": {"groups": "consensus", "ensemble": "e-00000000"}}
    assert list(mapping(ensemble)) == ["ensemble_id", "notes", "spd_run", "n_iterations", "run_idx", "clusters"]


def test_mappings_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "mapping.json"
    for text, error in (("[1]", DamagedFileError), ('{"clusters": [1]}', SPDError), ('{"a:0": "x"}', SPDError)):
        path.write_text(text)
        with pytest.raises(error, match=r"mapping\.json"):
            read_mapping(path)


def test_the_table_survives_a_spreadsheet() -> None:
    content = small_content()
    rows = list(csv.DictReader(io.StringIO(groups_csv(content))))
    assert [int(row["id"]) for row in rows] == [group["id"] for group in content["groups"]]
    by_id = {int(row["id"]): row for row in rows}
    assert by_id[3]["label"] == "'=1+1"
    assert by_id[0]["label"] == "<script>alert(1)</script>"
    assert by_id[0]["components"].split() == [m["label"] for m in content["groups"][0]["members"]]
    assert float(by_id[0]["effect"]) == 0.5


def test_a_return_in_a_label_breaks_no_row() -> None:
    content = small_content()
    content["groups"][0]["members"][0]["label"] = "a\rb:1"
    rows = list(csv.DictReader(io.StringIO(groups_csv(content), newline="")))
    assert len(rows) == len(content["groups"])
    assert rows[0]["components"].startswith("a\rb:1 ")


def test_neuronpedia(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_text('{"model_id": "gpt2-small", "layers": {"blocks.6.hook_resid_pre": "6-res-jb"}}')
    names = read_neuronpedia_names(path)
    labels = ["blocks.6.hook_resid_pre:650", "blocks.7.hook_resid_pre:1"]
    link = neuronpedia_link("a & b", labels, names)
    assert link is not None
    parts = urllib.parse.urlsplit(link)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "neuronpedia.org", "/quick-list/")
    query = urllib.parse.parse_qs(parts.query)
    assert query["name"] == ["a & b"]
    assert json.loads(query["features"][0]) == [{"modelId": "gpt2-small", "layer": "6-res-jb", "index": "650"}]
    assert neuronpedia_link("none", labels[1:], names) is None
    assert names == NeuronpediaNames("gpt2-small", {"blocks.6.hook_resid_pre": "6-res-jb"})
    path.write_text('{"model_id": 1, "layers": {}}')
    with pytest.raises(ConfigError, match="model_id"):
        read_neuronpedia_names(path)
