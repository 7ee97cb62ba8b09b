"""The errors of the clustering side; all are `spd.errors.SPDError`, so that one `except` catches them."""

from spd.errors import ConfigError, DamagedFileError, MissingFileError, SPDError

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


class MemberFailedError(SPDError):
    """One or more members of an ensemble failed; the message says which and why."""
