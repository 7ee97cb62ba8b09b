"""What a user gave wrong is a ValueError of one sentence that says something."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def refused() -> Iterator[None]:
    with pytest.raises(ValueError, match=r"\w+.* \w+.* \w+"):
        yield
