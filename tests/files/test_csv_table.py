"""A table is the same after it was written and read, by pandas and by Python's own reader."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from spd.files.csv_table import write_csv


@pytest.mark.parametrize(
    "labels",
    [
        ["m:0", "n:1"],
        ["m\r:0", "\r\r:1"],
        ["m\n:0", "m\r\n:1"],
        ['m,"q"\r:0', '"'],
        [" m:0 ", "日本:1\r"],
        ["m\x00:0", "\ufeffm\u2028:1"],
    ],
)
def test_rows_survive(tmp_path: Path, labels: list[str]) -> None:
    frame = pd.DataFrame(
        {"label": labels, "core": pd.array([3, None], dtype="Int64"), "share": [0.1, 1 / 3], "firm": [True, False]}
    )
    write_csv(tmp_path / "a.csv", frame)
    found = pd.read_csv(tmp_path / "a.csv", dtype={"core": "Int64"})
    pd.testing.assert_frame_equal(found, frame)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["label", *labels]
    assert {len(row) for row in rows} == {4}


def test_plain_labels_are_not_quoted(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", pd.DataFrame({"label": ["m:0"], "n": [1]}))
    assert (tmp_path / "a.csv").read_bytes() == b"label,n\nm:0,1\n"
    write_csv(tmp_path / "empty.csv", pd.DataFrame({"label": [], "n": []}))
    assert pd.read_csv(io.BytesIO((tmp_path / "empty.csv").read_bytes())).columns.tolist() == ["label", "n"]
