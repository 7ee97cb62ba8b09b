"""Errors that a user can mend: commands print them as one sentence, without a traceback."""


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


class ActivationsError(SPDError):
    """Activations that cannot be clustered: not finite, negative, wrong shape, no live component."""


class MemberFailedError(SPDError):
    """One or more members of an ensemble failed; the message says which and why."""
