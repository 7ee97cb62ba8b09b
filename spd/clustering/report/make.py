"""A report from beginning to end: read the directory, run the model, measure, write report.html and report.json."""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.report.content import Subject, build_content
from spd.clustering.report.directory import Opened, open_directory
from spd.clustering.report.effects import measure_effects
from spd.clustering.report.exports import NeuronpediaNames, groups_csv, mapping, neuronpedia_link
from spd.clustering.report.firing_code import fitted
from spd.clustering.report.labels_file import read_labels, read_sample_texts
from spd.clustering.report.limits import Limits
from spd.clustering.report.model_data import ModelData, model_data
from spd.clustering.report.page import render_page, too_large
from spd.clustering.report.progress import Show
from spd.clustering.report.samples import MAX_ENTRIES, Samples, stopped_early
from spd.clustering.storage import RunPaths
from spd.errors import ConfigError, SPDError
from spd.files.atomic import atomic_write, check_can_write, is_stream
from spd.files.checked import write_json

if TYPE_CHECKING:
    from spd.clustering.report.model_inputs import ModelInputs

logger = logging.getLogger(__name__)

N_SAMPLES = 131_072
N_EFFECTS = 20
_N_FIRST = 1024
"""Rows of a matrix that tell how many of them fit memory."""
SOFT_THRESHOLD = 0.01
"""Active above it, where the clustering had no threshold."""
_SMALLER = (Limits(12, 3, 2), Limits(10, 2, 1), Limits(6, 1, 0), Limits(3, 0, 0))


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows.

    Attributes:
        output: where the page goes; None: report.html in the directory. Its JSON, groups.csv and mapping lie beside it.
        labels: the user's names of groups, see labels_file.
        samples: texts of a matrix's samples.
        mapping: groups that are taken instead of the directory's own.
        n_effects: for how many of the largest groups the effect is measured.
        n_samples: on how many samples (tokens) all is measured; None: N_SAMPLES, or all rows of a matrix.
        within_run: never on more than the clustering run took, so that a report takes no longer than its harvest.
        neuronpedia: names for links; None: no links.
    """

    output: Path | None = None
    labels: Path | None = None
    samples: Path | None = None
    mapping: Path | None = None
    n_effects: int = N_EFFECTS
    n_samples: int | None = None
    within_run: bool = False
    neuronpedia: NeuronpediaNames | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("effects", self.n_effects, 0), ("report-samples", self.n_samples, 1)):
            if value is not None and value < least:
                raise ConfigError(f"--{name}: must be at least {least}, got {value}")
        if self.output is not None and self.output.name.endswith((".json", ".csv")) and not is_stream(self.output):
            raise ConfigError(f"--output: is a page, such as report.html, with data beside it; got {self.output}")


def make_report(directory: Path | str, options: ReportOptions = ReportOptions(), show: Show | None = None) -> Path:
    """Make the report of an ensemble, a run, or a harvest with a mapping.

    Args:
        show: takes lines of progress.

    Returns:
        The page. Beside it lie `<name>.json`, and groups.csv and groups_mapping.json.

    Raises:
        SPDError: the directory cannot be reported on, a file of the user's is damaged, or one cannot be written.
            A model that is gone is none: the page then says what is missing.
    """
    output = checked_output(Path(directory), options)
    return write_report(report_content(directory, options, show), output)


def checked_output(directory: Path, options: ReportOptions) -> Path:
    """Where the page of a directory goes, once it is known, before a model is run, that it can be written.

    Raises:
        SPDError: it cannot.
    """
    directory = directory.expanduser()
    output = options.output or RunPaths.at(directory).report
    if directory.is_dir() and not is_stream(output):
        check_can_write(output.parent)
    return output


def write_report(content: dict[str, Any], page_path: Path) -> Path:
    """Write the page and what lies beside it; places are left out until the page is small enough.

    A page that goes to a stream (/dev/stdout, a FIFO) has nothing beside it.

    Raises:
        SPDError: a file cannot be written.
    """
    page = render_page(content)
    for limits in _SMALLER:
        if not too_large(page):
            break
        content = smaller(content, limits)
        page = render_page(content)
    if not is_stream(page_path):
        json_path, table, mapping_path = files_beside(page_path)
        with atomic_write(json_path) as temporary:
            temporary.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
        with atomic_write(table) as temporary:
            temporary.write_text(groups_csv(content), encoding="utf-8")
        write_json(mapping_path, mapping(content))
    with atomic_write(page_path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return page_path


def files_beside(page_path: Path) -> tuple[Path, Path, Path]:
    """What is written with a page: its JSON, the table of the groups, their mapping."""
    directory = page_path.parent
    return page_path.with_suffix(".json"), directory / "groups.csv", directory / "groups_mapping.json"


def report_content(
    directory: Path | str, options: ReportOptions = ReportOptions(), show: Show | None = None
) -> dict[str, Any]:
    """The content of report.json, nothing written.

    Raises:
        SPDError: see make_report.
    """
    opened = open_directory(directory, options.mapping)
    labels, notes = read_labels(options.labels, opened.grouping) if options.labels else ({}, [])
    missing = [*opened.missing, *notes]
    samples, model = None, None
    if opened.config is not None:
        try:
            samples, model = take_samples(opened, options, show)
            missing += samples.missing
        except SPDError as error:
            if options.samples is not None and str(options.samples) in str(error):
                raise
            missing.append(f"Nothing was measured, so there are no contexts: {error}")
            logger.warning("the report has no contexts: %s", error)
    effects, grouping = {}, fitted(opened.grouping, samples)
    if model is not None and samples is not None and options.n_effects:
        largest = [int(place) for place in grouping.by_size[: options.n_effects]]
        effects = measure_effects(model, samples, grouping, largest, show=show)
    subject = Subject(
        model=_model(opened, model),
        settings=opened.settings | {"directory": opened.directory.name},
        history=opened.history,
        agreement=opened.agreement,
        labels=labels,
        missing=missing,
    )
    content = build_content(grouping, samples, subject, effects=effects)
    if options.neuronpedia is not None:
        for group in content["groups"]:
            names = [member["label"] for member in group["members"]]
            group["neuronpedia"] = neuronpedia_link(
                group["label"] or f"group {group['id']}", names, options.neuronpedia
            )
    return content


def take_samples(
    opened: Opened, options: ReportOptions, show: Show | None = None
) -> "tuple[Samples, ModelInputs | None]":
    """Importances of the directory's components on samples of the model, or of the user's matrix.

    Raises:
        SPDError: the model, its data, or the matrix cannot be used.
    """
    config = opened.config
    assert config is not None
    if config.model_path is None and options.samples is not None:
        return matrix_samples(opened, config, options), None
    data = model_data(config)
    if data is None:
        return matrix_samples(opened, config, options), None
    if options.samples is not None:
        raise ConfigError(f"--samples {options.samples}: texts are for a matrix of one's own, this is of a model")
    try:
        return model_samples(opened, data, options, show)
    except SPDError as error:
        if config.activations_path is None:
            raise
        logger.warning("the model of the harvest cannot be used, so the report is of its samples alone: %s", error)
        samples = matrix_samples(opened, config, options)
        sentence = f"The model of the harvest cannot be used, so there are no contexts: {error}"
        return replace(samples, missing=(sentence,)), None


def model_samples(
    opened: Opened, data: ModelData, options: ReportOptions, show: Show | None = None
) -> "tuple[Samples, ModelInputs]":
    """Importances of the directory's components on samples of the model.

    Raises:
        SPDError: the model or its data cannot be used, or it has other components.
    """
    from spd.clustering.report.model_inputs import ModelInputs

    assert opened.config is not None
    model = ModelInputs.load(data.path)
    threshold = opened.config.merge_config.activation_threshold
    n_samples = options.n_samples or N_SAMPLES
    if options.within_run:
        of_run = data.n_samples if data.n_items is None else data.n_items * model.samples_per_item
        n_samples = min(n_samples, of_run or n_samples)
    labels = opened.grouping.labels
    return model.samples(labels, SOFT_THRESHOLD if threshold is None else threshold, n_samples, data, show), model


def matrix_samples(opened: Opened, config: ClusteringRunConfig, options: ReportOptions) -> Samples:
    """A matrix of the user's own, with the values that it holds.

    Raises:
        SPDError: it cannot be read, or lacks a component of the groups.
    """
    import numpy as np

    from spd.clustering.harvest.from_file import read_activations
    from spd.clustering.memberships import Memberships

    assert config.activations_path is not None
    soft = config.merge_config.model_copy(
        update={"activation_threshold": None, "filter_dead_threshold": 0.0, "module_name_filter": None}
    )
    path, soft_config = Path(config.activations_path), config.replaced(merge_config=soft)
    limit = min(config.batch_size, options.n_samples or config.batch_size)
    found = read_activations(path, soft_config.replaced(batch_size=min(limit, _N_FIRST)))
    fits = limit
    if found.n_samples < limit:
        fits = max(1, MAX_ENTRIES * found.n_samples // max(found.nnz, 1))
        if fits < limit:
            logger.warning("takes %d of %d samples: many components are active at once", fits, limit)
        found = read_activations(path, soft_config.replaced(batch_size=min(limit, fits)))
    place = {label: at for at, label in enumerate(found.labels)}
    labels = opened.grouping.labels
    lacking = [label for label in labels if label not in place]
    if lacking:
        raise SPDError(
            f"{config.activations_path}: lacks {len(lacking)} components of the groups, {lacking[0]!r} first"
        )
    matrix = found.to_scipy()[:, [place[label] for label in labels]].tocsr()
    matrix.sort_indices()
    values = matrix.data.astype(np.float32) if found.is_soft else None
    memberships = Memberships(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), values, list(labels))
    threshold = config.merge_config.activation_threshold
    texts = read_sample_texts(options.samples, memberships.n_samples) if options.samples else []
    about: dict[str, object] = {"dataset": Path(config.activations_path).name}
    missing = stopped_early(memberships.n_samples, limit) if fits < limit else ()
    return Samples(memberships, threshold or 0.0, "matrix", texts=texts, about=about, missing=missing)


def smaller(content: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """The same with fewer places of each group, and a sentence that says so."""
    groups = []
    for group in content["groups"]:
        kept, per_band = [], dict.fromkeys(range(1, 5), 0)
        for at, context in enumerate(group.get("contexts", [])):
            band = context["band"]
            if band == 0 and at < limits.n_top:
                kept.append(context)
            elif band and per_band[band] < limits.n_per_band:
                per_band[band] += 1
                kept.append(context)
        members = [
            member | {name: member[name][: limits.n_member] for name in ("strongest", "while_firing") if name in member}
            for member in group["members"]
        ]
        kept_of = {"contexts": kept, "members": members}
        if "parts" in group:
            kept_of["parts"] = [part | {"strongest": part["strongest"][: limits.n_member]} for part in group["parts"]]
        groups.append(group | kept_of if "contexts" in group else group)
    return content | {"groups": groups, "left_out": limits.left_out()}


def _model(opened: Opened, model: "ModelInputs | None") -> dict[str, Any]:
    config = opened.config
    run = None if config is None else config.spd_run
    return {
        "name": run or opened.directory.name,
        "run": run,
        "task": None if model is None else model.info.config.task_config.task_name,
    }
