"""What every command does alike: errors as one sentence, exit statuses, flags that override a config, logging.

Exit status 0: done; 1: an error of the user's or of a member's; 2: wrong flags (argparse); 130 and 143: interrupted,
terminated. Nothing expensive is imported here: `--help` must answer at once.
"""

import argparse
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spd.clustering.execution.messages import plain_message
from spd.errors import Terminated, describe_error
from spd.interrupts import interrupts_kept, terminate
from spd.settings import other_spd
from spd.text import make_streams_safe, printable

logger = logging.getLogger("spd")
"""All loggers of the package are below it."""


def make_parser(description: str, prog: str | None = None) -> argparse.ArgumentParser:
    """A parser that takes flags by their full names only and knows `--debug`."""
    parser = argparse.ArgumentParser(
        prog=prog, description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error, and debug messages")
    return parser


def run_command(
    parser: argparse.ArgumentParser, body: Callable[[argparse.Namespace], None], argv: list[str] | None = None
) -> int:
    """Parse the flags, run the body, and turn its errors into one sentence and an exit status."""
    make_streams_safe()
    arguments = parser.parse_args(argv)
    set_up_logging(debug=arguments.debug)
    other = other_spd()
    if other is not None:
        logger.warning("%s", other)
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, terminate)
    try:
        with interrupts_kept():
            body(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        if arguments.debug:
            traceback.print_exc()
        sys.stderr.write(f"error: {printable(describe_error(error))}\n")
        if isinstance(error, Terminated):
            return 143
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def set_up_logging(*, debug: bool = False) -> None:
    """Messages go to stderr, warnings of libraries included; results go to stdout by print."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_TerminalFormatter())
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    logger.propagate = False
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").handlers[:] = [handler]


class _TerminalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = printable(plain_message(record), keep="\n")
        return message if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {message}"


def add_comparison_flags(parser: argparse.ArgumentParser) -> None:
    """Of what compares the members of an ensemble: which of them it needs, and where it writes."""
    parser.add_argument(
        "--require-all", action="store_true", help="fail unless all members are finished; default: two are enough"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="write into this directory; not given: into the ensemble's own, which is refused where that is another "
        "program's",
    )


def add_override_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that replace a value of a config. One that is not given is absent from the parsed arguments."""
    parser.add_argument(
        "--wandb-project",
        type=none_or_text,
        default=argparse.SUPPRESS,
        metavar="X|None",
        help="log to this W&B project; None: do not log",
    )
    parser.add_argument(
        "--wandb-entity", type=none_or_text, default=argparse.SUPPRESS, metavar="E", help="the W&B entity"
    )
    parser.add_argument(
        "--dataset-streaming",
        action="store_true",
        default=argparse.SUPPRESS,
        help="stream the dataset instead of loading it",
    )


def given_flags(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Of these names, those that the user gave, with their values."""
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def none_or_text(value: str) -> str | None:
    """`None` and `null` mean null."""
    return None if value in ("None", "none", "null", "") else value


def late_names(module: str, **homes: str) -> Callable[[str], Any]:
    """The `__getattr__` of a command's module for public names (name -> module that has it) that are imported when
    they are first asked for, since `--help` needs none of them."""

    def getattribute(name: str) -> Any:
        if name in homes:
            return getattr(importlib.import_module(homes[name]), name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return getattribute
