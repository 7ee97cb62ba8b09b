"""The report of an ensemble, in its directory: made last, made again when it is of other members or stable groups.

1. An ensemble's report is that of its stable groups; one of a single member has none, and gets the report of its run.
2. Its manifest names the members' histories, the stable groups and, of a single run, its groups, and by which
   DEFINITION it was made. It is written only when the samples could be measured on, so that `--resume` tries again
   once the model is back.
3. Whatever fails is a warning that holds the command to try again: a report never fails its pipeline.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spd.clustering.execution.local import LocalPool, Task
from spd.clustering.pipeline.comparison import (
    ProductState,
    finished_members,
    history_fingerprints,
    product_state,
    record_product,
    registered_members,
)
from spd.clustering.pipeline.found_groups import groups_fingerprints
from spd.clustering.pipeline.provenance import Fingerprints, fingerprints_of, has_manifest, read_manifest
from spd.clustering.pipeline.stable_groups import stable_groups_state
from spd.clustering.pipeline.status_line import StatusLine
from spd.clustering.report.exports import NeuronpediaNames
from spd.clustering.report.make import ReportOptions, checked_output, files_beside, report_content, write_report
from spd.clustering.report.progress import Show
from spd.clustering.storage import EnsemblePaths
from spd.errors import MissingFileError, SPDError, describe_error

logger = logging.getLogger(__name__)

REPORT = "report"
DEFINITION = 2
"""Of what a report shows: raised when the same members and groups give other figures, so that older pages are made
again. 2: a consensus fires by its code; before, where any component is active."""
_FILES = ("labels", "samples", "mapping")
"""Options that name a file of the user's."""


def report_arguments(paths: EnsemblePaths) -> list[str]:
    """What makes the report of an ensemble, as arguments of Python."""
    return ["-m", "spd.clustering.scripts.make_report", str(paths.directory)]


def report_state(paths: EnsemblePaths) -> ProductState:
    """Whether the report is whole, and of today's members and groups; see comparison.product_state.

    Returns:
        `unknown`, too, for one of another DEFINITION.

    Raises:
        SPDError: a history cannot be read.
    """
    if not has_manifest(paths.manifest(REPORT)):
        return "unknown"
    state = product_state(paths, REPORT, sources=_sources(paths))
    return "unknown" if state == "current" and _definition(paths) != DEFINITION else state


def make_report(directory: Path, options: ReportOptions, show: Show | None = None) -> Path:
    """The report of any directory; that of an ensemble, in its usual place, is recorded as one of its products.

    Args:
        show: takes lines of progress.

    Returns:
        The page.

    Raises:
        SPDError: see report.make.make_report; an ensemble's stable groups are of other members than now.
    """
    directory = directory.expanduser().absolute()
    paths = EnsemblePaths.at(directory)
    output = checked_output(directory, options)
    if not _has_members(paths):
        return write_report(report_content(directory, options, show), output)
    single = _single_run(paths)
    if single is None and options.mapping is None and stable_groups_state(paths) == "stale":
        raise SPDError(
            f"{paths.stable_groups}: is of other members than now, or damaged; make it by "
            f"python -m spd.clustering.scripts.calc_consensus --pipeline-run-id {paths.ensemble_id}"
        )
    sources = _sources(paths)
    content = report_content(single or directory, options, show)
    if output == paths.report and content["data"]["kind"] is None and _is_only_older(paths, sources):
        logger.warning("nothing could be measured, so the report stays as an older version made it")
        return output
    page = write_report(content, output)
    if page == paths.report:
        _record(paths, options, content, sources)
    return page


def make_report_again(directory: Path, show: Show | None = None) -> Path:
    """The report of an ensemble as it was made before, or as a pipeline makes it; as it is, where it is current.

    Raises:
        SPDError: see make_report.
    """
    paths = EnsemblePaths.at(directory.expanduser().absolute())
    if _has_members(paths) and report_state(paths) == "current":
        return paths.report
    return make_report(paths.directory, options_as_before(paths), show)


def make_report_locally(paths: EnsemblePaths, status: StatusLine) -> None:
    """Make the report as it was made before, unless it is current, in a process of its own: one that is killed for its
    memory hurts nobody else. Whatever fails is a warning."""
    try:
        if report_state(paths) == "current":
            return
        with LocalPool(1) as pool:
            pool.submit(Task(REPORT, report_task, (paths,)))
            while pool.n_unfinished:
                for outcome in pool.poll(0.5):
                    if outcome.error is not None:
                        logger.debug("%s", outcome.trace)
                        _warn(paths, outcome.error)
                for text in pool.progress().values():
                    status.show(f"{REPORT}: {text}")
    except Exception as error:  # the ensemble is whole without it
        logger.debug("the report", exc_info=True)
        _warn(paths, describe_error(error))


def report_task(paths: EnsemblePaths, report: Show) -> None:
    """The process of make_report_locally."""
    make_report_again(paths.directory, report)


def options_as_before(paths: EnsemblePaths) -> ReportOptions:
    """What the report was made with, where that is known: it is kept when the report is made again."""
    usual = ReportOptions(within_run=True)
    manifest = read_manifest(paths.manifest(REPORT))
    if manifest is None:
        return usual
    settings = manifest.settings
    try:
        files = {name: Path(settings[name]) for name in _FILES if settings[name] is not None}
        names = settings["neuronpedia"]
        options = ReportOptions(
            **{name: path for name, path in files.items() if path.is_file()},
            n_effects=settings["n_effects"],
            n_samples=settings["n_samples"],
            within_run=settings["within_run"],
            neuronpedia=NeuronpediaNames(**names) if names is not None else None,
        )
    except (KeyError, TypeError, SPDError):
        return usual
    for name, path in files.items():
        if not path.is_file():
            logger.warning("%s is gone, so the report is made without --%s", path, name)
    return options


def _as_json(options: ReportOptions) -> dict[str, Any]:
    files = {name: getattr(options, name) for name in _FILES}
    names = options.neuronpedia
    return {
        "definition": DEFINITION,
        **{name: None if path is None else str(path.expanduser().absolute()) for name, path in files.items()},
        "n_effects": options.n_effects,
        "n_samples": options.n_samples,
        "within_run": options.within_run,
        "neuronpedia": None if names is None else {"model_id": names.model_id, "layers": dict(names.layers)},
    }


def _record(paths: EnsemblePaths, options: ReportOptions, content: Mapping[str, Any], sources: Fingerprints) -> None:
    if content["data"]["kind"] is not None:
        record_product(paths, REPORT, _as_json(options), sources, [paths.report, *files_beside(paths.report)])
        return
    paths.manifest(REPORT).unlink(missing_ok=True)
    logger.warning("nothing was measured; to make the report again: python %s", " ".join(report_arguments(paths)))


def _definition(paths: EnsemblePaths) -> object:
    """By which definition the report was made; None where that is not known."""
    manifest = read_manifest(paths.manifest(REPORT))
    return None if manifest is None else manifest.settings.get("definition")


def _is_only_older(paths: EnsemblePaths, sources: Fingerprints) -> bool:
    """Whether a report is there that is whole and of these sources, but by another definition."""
    return product_state(paths, REPORT, sources=sources) == "current" and _definition(paths) != DEFINITION


def _warn(paths: EnsemblePaths, reason: str) -> None:
    command = " ".join(report_arguments(paths))
    logger.warning("no report was made: %s; to try again: python %s", reason, command)


def _has_members(paths: EnsemblePaths) -> bool:
    """Whether it is an ensemble whose members are known."""
    try:
        return bool(registered_members(paths))
    except MissingFileError:
        return False


def _single_run(paths: EnsemblePaths) -> Path | None:
    """The directory of the only member; None where there are several."""
    members = registered_members(paths)
    return paths.run(members[0].run_id).directory if len(members) == 1 else None


def _sources(paths: EnsemblePaths) -> Fingerprints:
    """Of all that says what the groups are."""
    members = finished_members(paths)
    stable = [paths.stable_groups] if paths.stable_groups.is_file() else []
    return {
        **history_fingerprints(paths, members),
        **groups_fingerprints(paths, members),
        **fingerprints_of(stable, paths.directory),
    }
