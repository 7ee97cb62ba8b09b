"""Where everything is: every directory and file name once (spd.files.checked writes and reads them).

    SPD_OUT_DIR/clustering/runs/<c-...>/  ensembles/<e-...>/  harvests/<h-...>/  sweeps/<s-...>/  ensemble_registry.db
    SPD_OUT_DIR/sbatch_scripts/  slurm_logs/

Ids are a letter, a dash and eight hexadecimal digits, and are checked before they become a path, so that no id leads
out of these directories.
"""

import re
import secrets
from pathlib import Path
from typing import ClassVar, Self

from spd.clustering.consts import checked_method
from spd.errors import ConfigError
from spd.settings import spd_out_dir


def clustering_dir() -> Path:
    """SPD_OUT_DIR/clustering."""
    return spd_out_dir() / "clustering"


REGISTRY = "ensemble_registry.db"


def registry_path() -> Path:
    """The database of ensembles and their members."""
    return clustering_dir() / REGISTRY


def sbatch_scripts_dir() -> Path:
    """Submitted scripts, named by job."""
    return spd_out_dir() / "sbatch_scripts"


def slurm_logs_dir() -> Path:
    """What submitted jobs print."""
    return spd_out_dir() / "slurm_logs"


class _Directory:
    """A directory named by an id; `directory` is given where the files lie elsewhere than in SPD_OUT_DIR."""

    prefix: ClassVar[str]
    other_prefixes: ClassVar[tuple[str, ...]] = ()
    """Of the same kind of directory, made by other tools."""
    folder: ClassVar[str]
    kind: ClassVar[str]

    def __init__(self, identifier: str, directory: Path | None = None) -> None:
        self.id = checked_id(identifier, self.prefix, self.kind, self.other_prefixes)
        self.directory = directory or clustering_dir() / self.folder / identifier

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, {str(self.directory)!r})"

    @classmethod
    def new_id(cls) -> str:
        return f"{cls.prefix}-{secrets.token_hex(4)}"

    @classmethod
    def new(cls) -> Self:
        """A new id, and where its directory will be."""
        return cls(cls.new_id())

    @classmethod
    def is_id(cls, name: str) -> bool:
        """Whether it is of the form of such an id."""
        return _is_id(name, (cls.prefix, *cls.other_prefixes))

    @classmethod
    def at(cls, directory: Path) -> Self:
        """An existing directory, whatever it is called: a copy keeps its files' names, not its own."""
        paths = cls.__new__(cls)
        paths.id, paths.directory = directory.name, directory
        return paths

    @property
    def root(self) -> Path:
        """The directory that holds runs/, ensembles/, harvests/ and the registry."""
        return self.directory.parent.parent

    @property
    def lock(self) -> Path:
        """Held while a process works on it."""
        return self.root / "locks" / f"{self.id}.lock"


class _ClusteringDirectory(_Directory):
    """A directory that holds one clustering, or several."""

    @property
    def plots(self) -> Path:
        return self.directory / "plots"

    @property
    def stamp(self) -> Path:
        return self.directory / "execution_stamp.json"

    @property
    def report(self) -> Path:
        """The page that shows what each group does."""
        return self.directory / "report.html"


class RunPaths(_ClusteringDirectory):
    """runs/<run_id>/: one clustering run."""

    prefix, folder, kind = "c", "runs", "a clustering run"

    @property
    def run_id(self) -> str:
        return self.id

    @property
    def config(self) -> Path:
        return self.directory / "clustering_run_config.json"

    @property
    def history(self) -> Path:
        """There only when the merge is complete."""
        return self.directory / "history.zip"

    @property
    def groups(self) -> Path:
        """The groups found in the run's memberships; runs of older versions have none."""
        return self.directory / "groups.json"

    @property
    def metrics(self) -> Path:
        return self.directory / "metrics.jsonl"

    @property
    def log(self) -> Path:
        return self.directory / "run.log"

    @property
    def manifest(self) -> Path:
        """What the run was made from, and what it made."""
        return self.directory / "made_from.json"

    @property
    def checkpoint(self) -> Path:
        """What a run that is cut off needs to go on; there only while it runs."""
        return self.directory / "checkpoint"

    @property
    def checkpoint_memberships(self) -> Path:
        return _memberships_in(self.checkpoint)

    @property
    def checkpoint_merge(self) -> Path:
        return self.checkpoint / "merge.npz"


class _StableGroupsDirectory(_ClusteringDirectory):
    """A directory that holds what several clusterings agree on."""

    @property
    def stable_groups(self) -> Path:
        return self.directory / "stable_groups.json"

    @property
    def stable_groups_table(self) -> Path:
        return self.directory / "stable_groups.csv"

    @property
    def consensus_mapping(self) -> Path:
        return self.directory / "consensus_mapping.json"


class EnsemblePaths(_StableGroupsDirectory):
    """ensembles/<ensemble_id>/: several clustering runs and what they agree on."""

    prefix, folder, kind = "e", "ensembles", "an ensemble"

    @property
    def ensemble_id(self) -> str:
        return self.id

    @property
    def pipeline_config(self) -> Path:
        return self.directory / "pipeline_config.yaml"

    @property
    def clustering_run_config(self) -> Path:
        return self.directory / "clustering_run_config.json"

    @property
    def meta(self) -> Path:
        return self.directory / "ensemble_meta.json"

    def manifest(self, product: str) -> Path:
        """What a product (merge_array, distances_<method>, stable_groups, report) was made from, and its files."""
        return self.directory / "made_from" / f"{product}.json"

    @property
    def merge_array(self) -> Path:
        return self.directory / "ensemble_merge_array.npz"

    @property
    def registry(self) -> Path:
        """The registry that lies beside it."""
        return self.root / REGISTRY

    @property
    def log(self) -> Path:
        return self.directory / "pipeline.log"

    @property
    def slurm_jobs(self) -> Path:
        """The jobs that were submitted for it; there only when it went to SLURM."""
        return self.directory / "slurm_jobs.json"

    @property
    def code(self) -> Path:
        """A work tree of the snapshot that its SLURM jobs run."""
        return self.directory / "code"

    def distances(self, method: str) -> Path:
        return self.directory / f"distances_{checked_method(method)}.npz"

    def distances_figure(self, method: str) -> Path:
        return self.directory / f"distances_{checked_method(method)}.png"

    def run(self, run_id: str) -> RunPaths:
        """A member: its directory lies beside this one's."""
        return RunPaths(run_id, self.root / RunPaths.folder / run_id)


class HarvestPaths(_Directory):
    """harvests/<harvest_id>/: memberships that several merges can start from; `ch-...` are those of other tools."""

    prefix, folder, kind = "h", "harvests", "a harvest"
    other_prefixes = ("ch",)

    @property
    def harvest_id(self) -> str:
        return self.id

    @property
    def config(self) -> Path:
        return self.directory / "harvest_config.json"

    @property
    def memberships(self) -> Path:
        return _memberships_in(self.directory)

    @property
    def plan(self) -> Path:
        """What the tasks of a harvest in parts have in common."""
        return self.directory / "harvest_plan.json"

    @property
    def metadata(self) -> Path:
        return self.directory / "metadata.json"


class SweepPaths(_StableGroupsDirectory):
    """sweeps/<sweep_id>/: which alpha, and the stable groups at the recommended one."""

    prefix, folder, kind = "s", "sweeps", "a sweep"

    @property
    def results(self) -> Path:
        return self.directory / "sweep.json"

    @property
    def table(self) -> Path:
        return self.directory / "sweep.csv"

    @property
    def figure(self) -> Path:
        return self.plots / "sweep.png"


def _memberships_in(directory: Path) -> Path:
    """A directory; of older versions and of other tools a file."""
    file = directory / "memberships.npz"
    return file if file.is_file() else directory / "memberships"


def checked_id(identifier: str, prefix: str, kind: str, other_prefixes: tuple[str, ...] = ()) -> str:
    """The id, once it is sure that it names a directory of its kind and no other place.

    Raises:
        ConfigError: it is not of the form `<prefix>-<8 hexadecimal digits>`.
    """
    allowed = (prefix, *other_prefixes)
    if not _is_id(identifier, allowed):
        expected = " or ".join(f"{prefix}-<8 hexadecimal digits>" for prefix in allowed)
        raise ConfigError(f"{identifier!r} is no id of {kind}: expected {expected}")
    return identifier


def _is_id(name: str, prefixes: tuple[str, ...]) -> bool:
    return re.fullmatch(rf"(?:{'|'.join(prefixes)})-[0-9a-f]{{8}}", name) is not None
