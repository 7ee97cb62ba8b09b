"""Errors of ours are what Python's are, too, and every error is one sentence."""

import pytest

from spd.errors import (
    ActivationsError,
    ConfigError,
    DamagedFileError,
    MemberFailedError,
    MissingFileError,
    RunFormatError,
    SPDError,
    Terminated,
    describe_error,
    one_line,
)


@pytest.mark.parametrize(
    "kind", [ActivationsError, ConfigError, DamagedFileError, MemberFailedError, MissingFileError, RunFormatError]
)
def test_a_caller_may_catch_them_all_or_as_python_s(kind: type[SPDError]) -> None:
    with pytest.raises(ValueError, match="x: wrong"):
        raise kind("x: wrong")
    assert issubclass(kind, SPDError)
    assert issubclass(MissingFileError, FileNotFoundError)


def test_white_space_is_folded() -> None:
    assert one_line(ValueError("a\n  b\t c ")) == "a b c"
    assert one_line(ValueError("a\n  b\t c "), 3) == "a b"
    assert one_line(ZeroDivisionError()) == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConfigError("alpha: too\n  large"), "alpha: too large"),
        (MissingFileError("x.json: no such file"), "x.json: no such file"),
        (KeyboardInterrupt(), "interrupted"),
        (Terminated(), "terminated"),
        (MemoryError(), "out of memory"),
        (MemoryError("Unable to allocate\n3 GiB"), "out of memory: Unable to allocate 3 GiB"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
        (OSError(28, "No space left on device"), "a file: No space left on device"),
        (KeyError("lost"), "unexpected KeyError: 'lost' (--debug shows where)"),
        (AssertionError(), "unexpected AssertionError (--debug shows where)"),
    ],
)
def test_sentences(error: BaseException, sentence: str) -> None:
    assert describe_error(error) == sentence
