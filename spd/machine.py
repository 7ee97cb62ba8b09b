"""What this process may use: memory and cores, limits of containers and of SLURM included."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
_UNLIMITED = 1 << 60


def available_memory() -> int:
    """Bytes that this process can still take: the least of what the machine, the container and SLURM leave."""
    used = _resident_memory()
    limits = [_machine_memory(), *_cgroup_memory()]
    for limit in (_slurm_memory(), _address_space()):
        if limit is not None:
            limits.append(limit - used)
    return max(0, min(limits))


def available_cores() -> int:
    """Cores that this process may run on; NUMBA_NUM_THREADS or OMP_NUM_THREADS lower it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            cores = min(cores, int(value))
    return max(1, cores)


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
    for limit_file, usage_file, cache_name in _cgroup_files():
        try:
            limit = int(limit_file.read_text())
            usage = int(usage_file.read_text())
        except (OSError, ValueError):
            continue  # "max": no limit
        if limit < _UNLIMITED:
            left.append(limit - usage + _reclaimable(limit_file.parent, cache_name))
    return left


def _cgroup_files() -> list[tuple[Path, Path, str]]:
    files = []
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in ["0::/", "0:memory:/", *lines]:
        _, controllers, path = line.split(":", 2)
        base = _CGROUP if controllers == "" else _CGROUP / "memory"
        names = (
            ("memory.max", "memory.current")
            if controllers == ""
            else (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )
        )
        if controllers not in ("", "memory"):
            continue
        group = base / path.lstrip("/")
        for directory in [group, *group.parents]:
            if not directory.is_relative_to(base):
                break
            cache_name = "inactive_file" if controllers == "" else "total_inactive_file"
            files.append((directory / names[0], directory / names[1], cache_name))
    return files


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
