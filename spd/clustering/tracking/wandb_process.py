"""The process that talks to W&B, so that neither a slow nor a dead server can hold up a run.

    python -m spd.clustering.tracking.wandb_process <journal>

1. The journal is a file of JSON lines that the run appends to; the first holds the arguments of wandb.init.
2. Each line after it is logged with the real client, in order: values, histograms, images, artifacts.
3. The line `finish`, or the end of the run's process, ends the W&B run; then `<journal>.done` lists what failed.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from spd.errors import with_class

_SECONDS_BETWEEN_LOOKS = 0.05
_MAX_ERROR_CHARS = 500
_PATIENT = {"init_timeout": 20.0, "finish_timeout": 600.0}
"""The run that waits for us decides how long that is; these are for the case that nobody waits any more."""


def main(journal: Path) -> None:
    """Log what the journal holds."""
    signal.signal(signal.SIGTERM, _give_up)
    errors: list[str] = []
    try:
        _log_all(_lines(journal, os.getppid()), errors)
    except Exception as error:
        errors.append(with_class(error, _MAX_ERROR_CHARS))
    journal.with_suffix(".done").write_text(json.dumps(errors))


def _log_all(lines: Iterator[dict[str, Any]], errors: list[str]) -> None:
    import wandb

    start = next(lines, None)
    if start is None:
        return
    known = wandb.Settings.model_fields
    settings = wandb.Settings(**{name: value for name, value in _PATIENT.items() if name in known})
    run = wandb.init(**start, settings=settings, resume="allow", save_code=False)
    for line in lines:
        try:
            _log(wandb, run, line)
        except Exception as error:  # one plot that cannot be sent is not worth the rest
            errors.append(with_class(error, _MAX_ERROR_CHARS))
    run.finish()


def _log(wandb: Any, run: Any, line: dict[str, Any]) -> None:
    values = dict(line.get("values", {}))
    for name, (counts, edges) in line.get("histograms", {}).items():
        values[name] = wandb.Histogram(np_histogram=(counts, edges))
    for name, path in line.get("images", {}).items():
        values[name] = wandb.Image(path)
    if values:
        run.log(values, step=line.get("step"))
    if "summary" in line:
        run.summary.update(line["summary"])
    if "artifact" in line:
        given = line["artifact"]
        artifact = wandb.Artifact(given["name"], type=given["type"], metadata=given.get("metadata"))
        artifact.add_file(given["path"], name=given["file_name"])
        run.log_artifact(artifact)
    if "view" in line:
        _save_view(run, line["view"])


def _save_view(run: Any, view: dict[str, str]) -> None:
    """A saved view of the project that shows only the runs with a tag, where the server knows views."""
    if run.offline:
        return
    import wandb_workspaces.workspaces as workspaces

    workspace = workspaces.Workspace(entity=run.entity, project=run.project, name=view["name"], sections=[])
    workspace.runset_settings = workspaces.RunsetSettings(filters=[workspaces.Tags().isin([view["tag"]])])
    workspace.save_as_new_view()


def _lines(journal: Path, parent: int) -> Iterator[dict[str, Any]]:
    """What is appended to the journal, up to the line `finish`, or the process that writes it is gone."""
    with journal.open(encoding="utf-8") as file:
        text = ""
        while True:
            text += file.readline()
            if text.endswith("\n"):
                line = json.loads(text)
                text = ""
                if line == "finish":
                    return
                yield line
            elif os.getppid() != parent:
                return
            else:
                time.sleep(_SECONDS_BETWEEN_LOOKS)


def _give_up(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
