"""Numbers for people."""

import pytest

from spd.text import byte_count, duration, table_lines


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "under 1 s"),
        (0.99, "under 1 s"),
        (1, "1 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (12 * 60, "12 min"),
        (90 * 60, "1.5 h"),
        (71 * 3600, "71.0 h"),
        (96 * 3600, "4.0 days"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("n_bytes", "expected"), [(0, "0 MiB"), (12 << 20, "12 MiB"), (0.4 * 2**30, "0.4 GiB"), (300 * 2**30, "300.0 GiB")]
)
def test_byte_counts(n_bytes: float, expected: str) -> None:
    assert byte_count(n_bytes) == expected


def test_numbers_stand_to_the_right_and_text_to_the_left() -> None:
    rows = [["name", "merges", "share"], ["a", "1,000", "7%"], ["long name", "2", ""]]
    assert table_lines(rows) == [
        "name       merges  share",
        "a           1,000     7%",
        "long name       2",
    ]
    assert table_lines(rows, numbers=False)[1] == "a          1,000   7%"


def test_a_column_with_a_word_in_it_is_text() -> None:
    assert table_lines([["n"], ["1"], ["many"]]) == ["n", "1", "many"]


def test_a_header_alone() -> None:
    assert table_lines([["a", "b"]]) == ["a  b"]
