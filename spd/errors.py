"""All error classes, and how an error is put in one line.

An SPDError is one that a user can mend: commands print it as one sentence, without a traceback.
"""


class SPDError(ValueError):
    """Something the user gave (a config, a file, a flag) cannot be used. The message is one clear sentence:
    what was expected, what was got, and where."""


class MissingFileError(SPDError, FileNotFoundError):
    """A file or directory that was named does not exist."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ConfigError(SPDError):
    """A config file or flag with an unknown key, a wrong type, or values that do not fit together."""


class RunFormatError(SPDError):
    """A decomposed run whose files are damaged, or do not fit each other, or are of a kind not known here."""


class DamagedFileError(SPDError):
    """A file of ours that is truncated, manipulated, or of a version not known here."""


class DamagedCheckpointError(DamagedFileError):
    """The checkpoint of a merge, damaged as above: without it the merge starts again."""


class ActivationsError(SPDError):
    """Activations that cannot be clustered: not finite, negative, wrong shape, no live component."""


class MemberFailedError(SPDError):
    """One or more members of an ensemble failed; the message says which and why."""


class LostRankError(SPDError):
    """Another of the processes that make one merge together has ended, or cannot be reached."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a command or a task the way Ctrl-C does, so that what is in progress is left in order."""


def one_line(error: BaseException, max_chars: int | None = None) -> str:
    """The text of an error with all white space folded, at most `max_chars` of it; its class where it has no text."""
    return (" ".join(str(error).split()) or type(error).__name__)[:max_chars]


def with_class(error: BaseException, max_chars: int | None = None) -> str:
    """`KeyError: 'entity'`: for errors of other people's code, whose text alone may say little."""
    name = type(error).__name__
    return (f"{name}: {one_line(error)}" if str(error).strip() else name)[:max_chars]


def describe_error(error: BaseException) -> str:
    """One sentence for people, the same wherever an error ends up: on a terminal, in a log, in the registry.

    What is not a user's error names its class, and how to see more.
    """
    if isinstance(error, KeyboardInterrupt):
        return "terminated" if isinstance(error, Terminated) else "interrupted"
    if isinstance(error, SPDError):
        return one_line(error)
    if isinstance(error, MemoryError):
        return f"out of memory: {one_line(error)}" if str(error) else "out of memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}"
    return f"unexpected {with_class(error)} (--debug shows where)"
