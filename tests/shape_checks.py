"""What jaxtyping's import hook applies to each function: beartype, which knows `Self` on whole classes only."""

from collections.abc import Callable
from typing import Any, Self

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check arguments and results at each call, but for results that are of the class itself."""
    annotations = getattr(function, "__annotations__", {})
    if Self in annotations.values():
        function.__annotations__ = {name: hint for name, hint in annotations.items() if hint is not Self}
    return beartype(function)
