"""What this process may use, and has used: memory and cores, limits of containers and of SLURM included."""

import functools
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
_UNLIMITED = 1 << 60
_LITTLE_MEMORY = 1 << 30

logger = logging.getLogger(__name__)


def available_memory() -> int:
    """Bytes that this process can still take: the least of what the machine, the container and SLURM leave.

    What SLURM's variables claim is logged once where it leaves little, and not believed where this process holds more
    already: then they are of another job, from whose shell this one was started.
    """
    used = _resident_memory()
    left = min([_machine_memory(), *_cgroup_memory()])
    address_space, slurm = _address_space(), _slurm_memory()
    if address_space is not None:
        left = min(left, address_space - used)
    if slurm is not None and slurm <= used:
        _warn_once(f"SLURM's memory limit of {slurm >> 20:,} MiB is less than this process holds: it is ignored")
    elif slurm is not None and slurm - used < left:
        if slurm - used < _LITTLE_MEMORY:
            _warn_once(f"SLURM's memory limit of {slurm >> 20:,} MiB leaves less than 1 GiB: some steps take longer")
        left = slurm - used
    return max(0, left)


def available_cores(n_sharing: int = 1) -> int:
    """Cores that this process may use: the least of its affinity, the container's quota, SLURM's share, and what
    NUMBA_NUM_THREADS or OMP_NUM_THREADS allow.

    Args:
        n_sharing: processes that share affinity and quota; the others are each process's own.
    """
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    limits += _cgroup_cores()
    limits = [limit // n_sharing for limit in limits]
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            limits.append(int(value))
    return max(1, min(limits))


def peak_bytes() -> int:
    """The most memory that this process has held so far; getrusage would count what its parent held when it was
    started."""
    try:
        for line in (_PROC / "self" / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cpu_seconds() -> float:
    """CPU time of this process so far."""
    used = os.times()
    return used.user + used.system


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning(message)


def _cgroup_cores() -> list[int]:
    """How many whole cores the quota of each control group around this process (version 2 or 1) comes to."""
    found = []
    for directory, version in _cgroup_directories("cpu"):
        try:
            if version == 2:
                quota, period = (directory / "cpu.max").read_text().split()
            else:
                quota, period = ((directory / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if int(quota) > 0:
                found.append(max(1, -(-int(quota) // int(period))))
        except (OSError, ValueError):
            continue  # "max": no limit
    return found


def _machine_memory() -> int:
    try:
        for line in (_PROC / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 4 << 30


def _cgroup_memory() -> list[int]:
    """What each control group around this process (version 2 or 1) leaves."""
    left = []
    for directory, version in _cgroup_directories("memory"):
        names = ("max", "current") if version == 2 else ("limit_in_bytes", "usage_in_bytes")
        try:
            limit, usage = (int((directory / f"memory.{name}").read_text()) for name in names)
        except (OSError, ValueError):
            continue  # "max": no limit
        if limit < _UNLIMITED:
            cache_name = "inactive_file" if version == 2 else "total_inactive_file"
            left.append(limit - usage + _reclaimable(directory, cache_name))
    return left


def _cgroup_directories(controller: str) -> Iterator[tuple[Path, int]]:
    """Directories of the control groups around this process, and the version (2 or 1) of their files."""
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in ["0::/", f"0:{controller}:/", *lines]:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = _CGROUP / controller if controllers else _CGROUP
        group = base / path.lstrip("/")
        for directory in [group, *group.parents]:
            if not directory.is_relative_to(base):
                break
            yield directory, 1 if controllers else 2


def _reclaimable(directory: Path, cache_name: str) -> int:
    """File cache that the kernel gives back when memory is asked for."""
    try:
        for line in (directory / "memory.stat").read_text().splitlines():
            key, value = line.split()
            if key == cache_name:
                return int(value)
    except (OSError, ValueError):
        pass
    return 0


def _slurm_memory() -> int | None:
    """The job's memory on this node, in bytes; SLURM gives megabytes."""
    per_node = os.environ.get("SLURM_MEM_PER_NODE", "")
    if per_node.isdigit() and int(per_node) > 0:
        return int(per_node) << 20
    per_cpu = os.environ.get("SLURM_MEM_PER_CPU", "")
    if per_cpu.isdigit() and int(per_cpu) > 0:
        cpus = os.environ.get("SLURM_CPUS_ON_NODE", "")
        return (int(per_cpu) << 20) * (int(cpus) if cpus.isdigit() else 1)
    return None


def _address_space() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else int(soft)


def _resident_memory() -> int:
    try:
        pages = int((_PROC / "self" / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
