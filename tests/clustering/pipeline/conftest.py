"""One finished ensemble for all tests that look at one, or damage a copy of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clustering.pipeline.place import Place, copied, start, write_inputs


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    directory = tmp_path_factory.mktemp("finished")
    write_inputs(directory)
    with pytest.MonkeyPatch.context() as patch:
        return start(directory, patch)


@pytest.fixture
def place(finished: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A copy that a test may damage; the matrix is put back."""
    monkeypatch.setenv("SPD_OUT_DIR", str(tmp_path / "place" / "out"))
    content = finished.activations.read_bytes()
    yield copied(finished, tmp_path / "place")
    finished.activations.write_bytes(content)
