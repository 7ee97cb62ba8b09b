"""What jaxtyping's import hook applies to each function: beartype, which knows `Self` on whole classes only."""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from beartype import BeartypeConf, BeartypeHintOverrides, beartype

_CONF = BeartypeConf(is_pep484_tower=True, hint_overrides=BeartypeHintOverrides({int: int | np.integer}))
"""An integer is a float to a type checker, and one of numpy's is an integer to everybody."""


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check arguments and results at each call, but for results that are of the class itself."""
    annotations = getattr(function, "__annotations__", {})
    if Self in annotations.values():
        function.__annotations__ = {name: hint for name, hint in annotations.items() if hint is not Self}
    return beartype(function, conf=_CONF)
