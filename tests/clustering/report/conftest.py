"""One Chromium for all tests of the page."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clustering.report import browser


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from browser.start(tmp_path_factory.mktemp("profile"))


@pytest.fixture
def driver(chromium: Any) -> Iterator[Any]:
    """Whatever a test does, the page logs no error and asks the network for nothing."""
    browser.resize(chromium, 1280, 900)
    browser.complaints(chromium), browser.requests(chromium)
    yield chromium
    assert browser.complaints(chromium) == []
    assert browser.requests(chromium) == []
