"""How commands end: statuses, one sentence, messages on stderr and in the log, results on stdout."""

import argparse
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from spd.clustering.pipeline.log_file import log_to_file
from spd.clustering.scripts._command import (
    add_override_flags,
    given_flags,
    make_parser,
    none_or_text,
    run_command,
)
from spd.errors import ConfigError, MissingFileError, SPDError, Terminated


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> None:
    names = ("spd", "py.warnings")
    before = [(logging.getLogger(name).handlers[:], logging.getLogger(name).propagate) for name in names]
    yield
    logging.captureWarnings(False)
    for name, (handlers, propagate) in zip(names, before, strict=True):
        logging.getLogger(name).handlers[:] = handlers
        logging.getLogger(name).propagate = propagate


def _raise(error: BaseException) -> Callable[[argparse.Namespace], None]:
    def body(arguments: argparse.Namespace) -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (ConfigError("alpha: too\n  large"), 1, "alpha: too large"),
        (MissingFileError("x.json: no such file"), 1, "x.json: no such file"),
        (SPDError("that"), 1, "that"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Terminated(), 143, "terminated"),
        (MemoryError(), 1, "out of memory"),
        (PermissionError(13, "Permission denied", "/x"), 1, "/x: Permission denied"),
        (KeyError("lost"), 1, "unexpected KeyError: 'lost' (--debug shows where)"),
    ],
)
def test_errors_are_one_sentence(
    error: BaseException, status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(make_parser("test"), _raise(error), []) == status
    assert capsys.readouterr().err == f"error: {sentence}\n"
    assert run_command(make_parser("test"), _raise(error), ["--debug"]) == status
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_results_and_messages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "deep" / "a.log"

    def body(arguments: argparse.Namespace) -> None:
        log_to_file(log)
        logging.getLogger("spd").info("harvested %d", 3)
        logging.getLogger("spd.clustering").debug("unseen")
        warnings.warn("mind this", UserWarning, stacklevel=1)
        print("result")

    assert run_command(make_parser("test"), body, []) == 0
    printed = capsys.readouterr()
    assert printed.out == "result\n"
    assert printed.err == "harvested 3\nwarning: UserWarning: mind this\n"
    assert "INFO harvested 3" in log.read_text()
    assert "mind this" in log.read_text()
    assert "unseen" not in log.read_text()


def test_a_flag_that_is_not_given_is_absent() -> None:
    parser = make_parser("test")
    add_override_flags(parser)
    names = ("wandb_project", "wandb_entity", "dataset_streaming")
    assert given_flags(parser.parse_args([]), *names) == {}
    given = parser.parse_args(["--wandb-project", "None", "--dataset-streaming"])
    assert given_flags(given, *names) == {"wandb_project": None, "dataset_streaming": True}
    assert given_flags(parser.parse_args(["--wandb-project", "p"]), *names) == {"wandb_project": "p"}
    assert [none_or_text(text) for text in ("None", "null", "Nonesuch")] == [None, None, "Nonesuch"]


def test_wrong_flags_are_argparse_s(capsys: pytest.CaptureFixture[str]) -> None:
    parser = make_parser("test", "tool")
    add_override_flags(parser)
    with pytest.raises(SystemExit) as left:
        run_command(parser, _raise(SPDError("never")), ["--wandb-proj", "abbreviated"])
    assert left.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err
