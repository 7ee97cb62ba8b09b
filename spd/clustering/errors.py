"""The errors of the clustering side; all are `spd.errors.SPDError`, so that one `except` catches them."""

from spd.errors import ConfigError, MissingFileError, SPDError

__all__ = [
    "ActivationsError",
    "ConfigError",
    "DamagedFileError",
    "MemberFailedError",
    "MissingFileError",
    "SPDError",
]


class ActivationsError(SPDError):
    """Activations that cannot be clustered: not finite, negative, wrong shape, no live component."""


class DamagedFileError(SPDError):
    """A file of ours that is truncated, manipulated, or of a version not known here."""


class MemberFailedError(SPDError):
    """One or more members of an ensemble failed; the message says which and why."""
