"""Real services for the integration tests: the W&B client against a server on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.loopback_wandb import LoopbackServer, serve


@pytest.fixture
def wandb_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    """A W&B server that the real client of this process and of its children talks to."""
    import wandb

    with serve(tmp_path / "wandb_server") as server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("WANDB_DIR", str(tmp_path / "wandb_files"))
        (tmp_path / "wandb_files").mkdir()
        yield server
        wandb.teardown()  # the client's own process would try to reach the server for ever
