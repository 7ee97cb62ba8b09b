"""An ensemble on W&B: a run of its own with the distance plots and the stable groups, and a view of its members."""

import logging
from pathlib import Path
from typing import Any

from spd.clustering.clustering_run_config import ClusteringRunConfig
from spd.clustering.consts import DISTANCES_METHODS
from spd.clustering.storage import EnsemblePaths
from spd.clustering.tracking.wandb_sender import WandbSender
from spd.errors import SPDError
from spd.files.checked import read_json

logger = logging.getLogger(__name__)

PATIENCE_S = 30.0


def track_ensemble(paths: EnsemblePaths, config: ClusteringRunConfig, *, patience_s: float = PATIENCE_S) -> None:
    """Send what there is of a finished ensemble, if the config names a project; whatever goes wrong is a warning.

    Args:
        patience_s: how long to wait for the server.
    """
    if config.wandb_project is None:
        return
    tag = ensemble_tag(paths.ensemble_id)
    sender = WandbSender(
        {
            "project": config.wandb_project,
            "entity": config.wandb_entity,
            "id": paths.ensemble_id,
            "name": paths.ensemble_id,
            "group": paths.ensemble_id,
            "job_type": "ensemble",
            "tags": ["clustering", "ensemble", tag],
            "config": config.model_dump(mode="json"),
            "dir": str(paths.directory),
        }
    )
    sender.send({"images": _images(paths), "summary": _summary(paths)})
    if paths.stable_groups.is_file():
        artifact = {"name": f"stable_groups.{paths.ensemble_id}", "type": "stable_groups"}
        artifact |= {"path": str(paths.stable_groups), "file_name": paths.stable_groups.name}
        sender.send({"artifact": artifact})
    sender.send({"view": {"name": f"ensemble {paths.ensemble_id}", "tag": tag}})
    sender.finish(patience_s)


def ensemble_tag(ensemble_id: str) -> str:
    """The tag that an ensemble and its members share."""
    return f"ensemble_id:{ensemble_id}"


def _images(paths: EnsemblePaths) -> dict[str, str]:
    found: dict[str, Path] = {f"plots/distances/{name}": paths.distances_figure(name) for name in DISTANCES_METHODS}
    found |= {f"plots/{path.stem}": path for path in sorted(paths.plots.glob("*.png"))}
    return {name: str(path) for name, path in found.items() if path.is_file()}


def _summary(paths: EnsemblePaths) -> dict[str, Any]:
    """Plain numbers about the ensemble, as far as its files hold them."""
    summary: dict[str, Any] = {}
    try:
        meta = read_json(paths.meta, required=["n_ensemble"])
        summary["n_members"] = meta["n_ensemble"]
        groups = read_json(paths.stable_groups, required=["stable_groups"])["stable_groups"]
        summary["n_stable_groups"] = len(groups)
    except (SPDError, TypeError) as error:
        logger.debug("the summary of %s is incomplete: %s", paths.ensemble_id, error)
    return summary
