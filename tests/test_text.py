"""Durations, byte counts and tables for people; text of others on terminals of every kind."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spd.text import byte_count, duration, printable, table_lines


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


def test_a_row_is_a_line_whatever_its_cells_hold() -> None:
    lines = table_lines([["label"], ["m\r:0"], ["m\nx\x1b[2J:1"]])
    assert lines == ["label", r"m\r:0", r"m\nx\x1b[2J:1"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("blocks.0.mlp:12 naïve 日本語 \u3000é ✓ \\n", None),
        ("\U0001f469\u200d\U0001f467", None),  # one picture of two people, held together by a joiner
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07\x9b2J\x7f\x00", r"\x1b]0;title\x07\x9b2J\x7f\x00"),
        ("a\r\nb\tc\v\f\x85\u2028\u2029", r"a\r\nb\tc\x0b\x0c\x85\u2028\u2029"),
        ("user\u202enimda\u202c \u2066x\u2069 \u200f\u061c", r"user\u202enimda\u202c \u2066x\u2069 \u200f\u061c"),
        ("\ufeffm:0 \u200b \xad \U000e0041", r"\ufeffm:0 \u200b \xad \U000e0041"),
        ("half \ud83d of a character", r"half \ud83d of a character"),
    ],
)
def test_printable(text: str, shown: str | None) -> None:
    assert printable(text) == (text if shown is None else shown)


def test_several_lines() -> None:
    assert printable("a\n\x1bb\r\n", keep="\n") == "a\n\\x1bb\\r\n"


@given(st.text(st.characters()))
def test_printable_steers_nothing_and_changes_nothing_twice(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert shown.splitlines() in ([], [shown])
    shown.encode("utf-8")


SAFE = r"""
import os, sys
from spd.text import make_streams_safe
make_streams_safe()
opened = os.open("file", os.O_CREAT | os.O_WRONLY)
print("\u2713 \u00e9 \ud800")
print("\u2713 \u00e9 \ud800", file=sys.stderr)
os.system("echo from a child")
sys.stdout.flush()
sys.exit(3 if opened > 2 else 4)
"""


def run_safe(tmp_path: Path, redirection: str, encoding: str) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": os.pathsep.join(sys.path), "P": SAFE}
    command = f'exec "{sys.executable}" -c "$P" {redirection}'
    return subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, env=environment, check=False)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", rb"\u2713 \xe9 \ud800"),
        ("latin-1", b"\\u2713 \xe9 \\ud800"),
        ("utf-8", b"\xe2\x9c\x93 \xc3\xa9 \\ud800"),
        ("cp437:strict", b"\\u2713 \x82 \\ud800"),
    ],
)
def test_a_terminal_that_lacks_a_character_ends_nothing(tmp_path: Path, encoding: str, shown: bytes) -> None:
    done = run_safe(tmp_path, "", encoding)
    assert (done.returncode, sorted(done.stdout.splitlines()), done.stderr) == (
        3,
        sorted([shown, b"from a child"]),
        shown + b"\n",
    )


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_lead_nowhere(tmp_path: Path, redirection: str) -> None:
    """Neither an AttributeError of None, nor output in the file that is opened next, by us or a child."""
    done = run_safe(tmp_path, redirection, "utf-8")
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr
    assert b"rror" not in done.stdout + done.stderr
    assert (tmp_path / "file").read_bytes() == b""
