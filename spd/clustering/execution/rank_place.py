"""Which of the processes that make one merge together this one is, as torchrun or srun say in its environment."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from spd.errors import ConfigError, SPDError

FIRST_PORT, N_PORTS = 20_000, 12_000
"""Where ranks that srun has started meet, unless MASTER_PORT says: a port of the job's own, below those that the system
gives away."""
SCONTROL_S = 60.0
"""How long to wait for the name of a host."""


@dataclass(frozen=True)
class RankPlace:
    """Which rank this process is, and where they meet.

    Attributes:
        address, port: of rank 0's store.
    """

    rank: int
    size: int
    address: str
    port: int


def place_of(environment: Mapping[str, str]) -> RankPlace:
    """What torchrun or srun say of this process.

    Raises:
        ConfigError: neither has started it, or what they say cannot be.
    """
    if all(environment.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")):
        names = ("RANK", "WORLD_SIZE", "MASTER_PORT")
        rank, size, port = (_number(environment, name) for name in names)
        _check(rank, size, environment)
        return RankPlace(rank, size, environment["MASTER_ADDR"], port)
    size_name = next((name for name in ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS") if environment.get(name)), None)
    if not environment.get("SLURM_PROCID") or size_name is None:
        raise ConfigError(
            "--distributed is for processes that torchrun or srun has started: the environment has neither RANK, "
            "WORLD_SIZE, MASTER_ADDR and MASTER_PORT nor SLURM_PROCID and SLURM_NTASKS"
        )
    rank, size = (_number(environment, name) for name in ("SLURM_PROCID", size_name))
    address = environment.get("MASTER_ADDR") or _first_host(environment)
    if environment.get("MASTER_PORT"):
        return RankPlace(rank, size, address, _number(environment, "MASTER_PORT"))
    ids = [int(environment.get(name) or 0) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID")]
    return RankPlace(rank, size, address, FIRST_PORT + (7 * ids[0] + ids[1]) % N_PORTS)


def _check(rank: int, size: int, environment: Mapping[str, str]) -> None:
    """Variables that a shell still has from something else would make every task of an srun a merge of its own."""
    if rank >= size:
        raise ConfigError(f"RANK and WORLD_SIZE in the environment cannot be: rank {rank} of {size}, counted from 0")
    n_tasks = environment.get("SLURM_STEP_NUM_TASKS") or "1"
    if size == 1 and n_tasks != "1":
        raise ConfigError(
            f"srun has started {n_tasks} tasks, but WORLD_SIZE in the environment is 1: unset RANK and WORLD_SIZE"
        )


def _number(environment: Mapping[str, str], name: str) -> int:
    if not environment[name].isdigit():
        raise ConfigError(f"{name} in the environment must be a number (got {environment[name]!r})")
    return int(environment[name])


def _first_host(environment: Mapping[str, str]) -> str:
    """Where rank 0 of a step runs."""
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST") or ""
    if environment.get("SLURM_STEP_NUM_NODES", environment.get("SLURM_NNODES")) == "1":
        return "127.0.0.1"
    try:
        command = ["scontrol", "show", "hostnames", hosts]
        found = subprocess.run(command, capture_output=True, text=True, timeout=SCONTROL_S, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError) as error:
        raise SPDError(f"scontrol does not say the first host of {hosts!r}: set MASTER_ADDR ({error})") from error
    if not found:
        raise SPDError(f"SLURM names no hosts ({hosts!r}): set MASTER_ADDR")
    return found[0]
