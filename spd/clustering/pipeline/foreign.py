"""Runs and ensembles of other tools, which no registry knows, and where what we make of them goes.

    runs/<c-...>/       history.zip, and merge_config.json, whose snapshot_path is the harvest that was merged
    harvests/<ch-...>/  harvest_config.json, whose model_path is the decomposed model
    ensembles/<e-...>/  ensemble_meta.json, which names the members' histories (see merge_history.foreign_ensemble)

Paths in these files are those of the machine that wrote them: each is looked for as it is given, then beside the
directory. Nothing of ours is written into such an ensemble unless it is named as the output or lies in our own
SPD_OUT_DIR, and no file of another program is ever replaced.
"""

import functools
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.ensemble_registry import RegisteredMember, get_members
from spd.clustering.merge_history import MergeHistoryEnsemble, origin_histories, read_foreign_ensemble
from spd.clustering.pipeline.ensemble import stored_run_config
from spd.clustering.pipeline.provenance import read_manifest
from spd.clustering.storage import EnsemblePaths, HarvestPaths, RunPaths, clustering_dir
from spd.errors import ConfigError, DamagedFileError, MissingFileError, SPDError
from spd.files.checked import read_json
from spd.files.wandb_run import PREFIX, WandbPath

logger = logging.getLogger(__name__)

_MERGE_CONFIG = "merge_config.json"


class ForeignEnsemble(EnsemblePaths):
    """An ensemble that no registry knows; its metadata names the members' histories."""

    @functools.cached_property
    def members(self) -> list[RegisteredMember]:
        """By their place in the ensemble, all finished.

        Raises:
            MissingFileError: they are not named, or a history is not at hand.
            DamagedFileError: the metadata is not whole, or names a run twice.
        """
        told = read_json(self.meta).get("members")  # of ours, whose indices may have gaps
        entries = told if isinstance(told, list) else []
        indices = [entry["idx"] for entry in entries if isinstance(entry, dict) and type(entry.get("idx")) is int]
        runs = list(self._runs)
        if len(indices) != len(runs):
            indices = list(range(len(runs)))
        return [RegisteredMember(idx, run_id, "done") for idx, run_id in zip(indices, runs, strict=True)]

    @functools.cached_property
    def _runs(self) -> dict[str, RunPaths]:
        histories = origin_histories(self.directory)
        if histories is None:
            raise MissingFileError(f"{self.meta}: names no histories, so the ensemble's members are unknown")
        runs = {history.parent.name: RunPaths.at(history.parent) for history in histories}
        if len(runs) < len(histories):
            raise DamagedFileError(f"{self.meta}: names a run twice among the origins of its histories")
        return runs

    def run(self, run_id: str) -> RunPaths:
        """A member, wherever its history was found."""
        return self._runs[run_id]

    def read(self) -> MergeHistoryEnsemble:
        """The members' histories; see read_foreign_ensemble."""
        return read_foreign_ensemble(self.directory)

    def checked_runs(self) -> dict[int, RunPaths]:
        """The members by index, once their histories are those that the ensemble was made from; {} where they are not
        at hand.

        Raises:
            DamagedFileError: a file is not whole, or a history is another one.
        """
        try:
            self.read()
            return {member.idx: self.run(member.run_id) for member in self.members}
        except MissingFileError as error:
            logger.warning("%s", error)
            return {}


def ensemble_at(directory: Path) -> EnsemblePaths:
    """The ensemble in a directory; a ForeignEnsemble where the registry beside it does not know it."""
    paths = EnsemblePaths.at(directory)
    return ForeignEnsemble.at(directory) if paths.meta.is_file() and not is_registered(paths) else paths


def open_ensemble(name: str) -> EnsemblePaths:
    """The ensemble that a user names by its id or its directory.

    Raises:
        ConfigError: it is neither. MissingFileError: the directory is no ensemble's.
    """
    directory = Path(name).expanduser()
    if not directory.is_dir():
        try:
            return ensemble_at(EnsemblePaths(name).directory)
        except ConfigError as error:
            raise ConfigError(f"{error}, or the directory of an ensemble") from error
    paths = ensemble_at(directory.resolve())
    if not isinstance(paths, ForeignEnsemble) and not is_registered(paths):
        raise MissingFileError(f"{directory}: is no ensemble: it holds no {paths.meta.name}, and no registry knows it")
    return paths


def output_of(paths: EnsemblePaths, output: Path | None) -> EnsemblePaths:
    """Where what is made of an ensemble goes: a directory that the user names, else the ensemble's own.

    Raises:
        SPDError: the ensemble is another program's, lies elsewhere than in SPD_OUT_DIR, and no directory is named; or
            nothing can be written there.
    """
    if output is None:
        if paths.root.resolve() != clustering_dir().resolve() and _is_of_others(paths):
            raise SPDError(
                f"{paths.directory}: is an ensemble of another program, and nothing is written into it: give --output "
                "and a directory"
            )
        return paths
    output = output.expanduser().absolute()
    existing = next(place for place in (output, *output.parents) if place.exists())
    if not existing.is_dir():
        raise SPDError(f"{output}: cannot be written: {existing} is not a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise SPDError(f"{output}: cannot be written: no permission to write to {existing}")
    return EnsemblePaths.at(output)


def check_replaceable(target: EnsemblePaths, product: str, files: Iterable[Path]) -> None:
    """Where files of other programs may be, only a product of ours may be replaced, as its manifest tells.

    Raises:
        SPDError: a file of another origin is there; names it.
    """
    manifest = read_manifest(target.manifest(product))
    ours = manifest.files if manifest else {}
    for file in files:
        if os.path.lexists(file) and str(file.relative_to(target.directory)) not in ours:
            raise SPDError(
                f"{file}: is there already and is not known to be of this program, so it is not replaced: give "
                "--output and another directory"
            )


def ensemble_model(paths: EnsemblePaths) -> str | None:
    """What mapping files name an ensemble's model by; None where it is not known."""
    if isinstance(paths, ForeignEnsemble):
        return model_of([paths.directory, *(paths.run(member.run_id).directory for member in paths.members)])
    config = stored_run_config(paths)
    return config.spd_run if config else None


def model_of(directories: Sequence[Path]) -> str | None:
    """What mapping files name the model by: of a run (its directory), or of an ensemble (its own and its members').

    A config of ours says it. Otherwise harvests say it, of which some may tell no more than a directory on another
    machine: `<entity>/<project>/<run id>` from those that tell it, if all are of the same run id.

    Returns:
        None, with a warning, where it is not known.
    """
    told: list[object] = []
    problems: list[str] = []
    for directory in directories:
        config = RunPaths.at(directory).config
        try:
            return ClusteringRunConfig.from_file(config).spd_run
        except MissingFileError:
            told.append(_told_by_harvest(directory, problems))
        except ConfigError as error:  # of another tool, with keys of its own
            found = _model_path(config, problems)
            told.append(found)
            if not found:
                problems.append(str(error))
    name, problem = _common_name([path for path in told if isinstance(path, str) and path])
    if problem:
        reason = "; ".join(dict.fromkeys([problem, *problems]))
        logger.warning("%s: %s, so the mapping's model is null", directories[0], reason)
    return name


def _told_by_harvest(directory: Path, problems: list[str]) -> object:
    """The model's path in the harvest_config.json of the harvest that a run merged, or of the ensemble itself."""
    places = [directory]
    if (directory / _MERGE_CONFIG).is_file():
        snapshot = _value(directory / _MERGE_CONFIG, "snapshot_path", problems)
        if isinstance(snapshot, str) and snapshot:
            beside = directory.resolve().parent.parent / HarvestPaths.folder
            places = [Path(snapshot), beside / Path(snapshot).name]
    for place in places:
        config = HarvestPaths.at(place).config
        if config.is_file():
            return _model_path(config, problems)
    return None


def _model_path(config: Path, problems: list[str]) -> object:
    """Of a harvest or a run, ours or another tool's."""
    return _value(config, "model_path", problems) or _value(config, "harvest_model_path", problems)


def _value(path: Path, key: str, problems: list[str]) -> object:
    """None where there is none; a file that cannot be read is no reason not to write a mapping, and is told."""
    try:
        return read_json(path).get(key)
    except SPDError as error:
        problems.append(str(error))
        return None


def _common_name(paths: Sequence[str]) -> tuple[str | None, str]:
    """(`<entity>/<project>/<run id>`, ""), or (None, why it is not known)."""
    if not paths:
        return None, "no config at hand names its model"
    ids = sorted({Path(path).name for path in paths})
    if len(ids) > 1:
        return None, f"its harvests are of several models, {', '.join(ids)}"
    names = set()
    for path in paths:
        try:
            names.add(str(WandbPath.parse(path)))
        except SPDError:
            continue
    if len(names) == 1:
        return names.pop(), ""
    if names:
        return None, f"its harvests are of several models, {', '.join(sorted(names))}"
    return None, f"its model is known as {paths[0]} only, not as {PREFIX}<entity>/<project>/<run id>"


def is_registered(paths: EnsemblePaths) -> bool:
    """Whether the registry beside it can be read and knows it."""
    try:
        return bool(get_members(paths.ensemble_id, path=paths.registry))
    except SPDError:
        return False


def _is_of_others(paths: EnsemblePaths) -> bool:
    """Whether files in its directory are another program's."""
    if isinstance(paths, ForeignEnsemble):
        return True
    return paths.meta.is_file() and "members" not in read_json(paths.meta)
