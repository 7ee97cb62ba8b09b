"""Real services for the integration tests: the W&B client against a server on loopback, a SLURM of one node."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.loopback_wandb import LoopbackServer, serve
from tests.integration.slurm_service import CannotStart, SlurmService

MAX_ARRAY_SIZE = 4


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


@pytest.fixture(scope="session")
def slurm_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmService]:
    """Where SPD_CI is set, a SLURM that does not start is a failure; elsewhere the tests that need it are skipped."""
    try:
        service = SlurmService(tmp_path_factory.mktemp("slurm"), MAX_ARRAY_SIZE)
    except CannotStart as error:
        if os.environ.get("SPD_CI"):
            raise
        pytest.skip(f"NO SLURM, so nothing of it is tested: {error}")
    yield service
    service.stop()


@pytest.fixture
def slurm(slurm_service: SlurmService, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmService]:
    """SLURM without jobs, that commands of the test submit to."""
    monkeypatch.setenv("SLURM_CONF", slurm_service.conf)
    yield slurm_service
    if slurm_service.unfinished():
        slurm_service.tool("scancel", "--user=root")
        slurm_service.wait_until_idle(30)
    slurm_service.open_partition(True)


@pytest.fixture
def only_in_ci() -> None:
    """For tests that take a minute."""
    if not os.environ.get("SPD_CI"):
        pytest.skip("takes a minute: runs where SPD_CI is set, as .ci/run does")
