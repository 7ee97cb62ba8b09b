"""Which rank a process is, by what torchrun, srun, or an older shell leave in its environment."""

import pytest

from spd.clustering.execution.rank_place import FIRST_PORT, N_PORTS, RankPlace, place_of
from spd.errors import ConfigError

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "node7", "MASTER_PORT": "29500"}
BATCH = {"SLURM_JOB_ID": "41", "SLURM_PROCID": "0", "SLURM_NTASKS": "3", "SLURM_NNODES": "1"}
STEP = {**BATCH, "SLURM_PROCID": "2", "SLURM_STEP_ID": "1", "SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_NUM_NODES": "1"}


def test_torchrun_and_srun() -> None:
    assert place_of(TORCHRUN) == RankPlace(1, 2, "node7", 29500)
    assert place_of({**STEP, **TORCHRUN}) == place_of(TORCHRUN), "torchrun in a step of srun"
    found = place_of(STEP)
    assert found == RankPlace(2, 3, "127.0.0.1", FIRST_PORT + (7 * 41 + 1) % N_PORTS)
    assert place_of({**STEP, "SLURM_STEP_ID": "2"}).port != found.port
    without_rank = {name: value for name, value in TORCHRUN.items() if name != "RANK"}
    assert place_of({**STEP, **without_rank}) == RankPlace(2, 3, "node7", 29500)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "neither RANK"),
        ({"SLURM_JOB_ID": "41", "SLURM_NTASKS": "3"}, "neither RANK"),
        ({**TORCHRUN, "RANK": "x"}, "RANK in the environment must be a number"),
        ({**TORCHRUN, "RANK": "2"}, "rank 2 of 2"),
        ({**STEP, **TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}, "srun has started 3 tasks.*unset RANK and WORLD_SIZE"),
    ],
)
def test_what_cannot_be(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        place_of(environment)
