"""The report as the last step of a pipeline: made, recorded, made again when it must be, and never in the way."""

import json
import sys
from pathlib import Path

import pytest

from spd.clustering.pipeline.config import ClusteringPipelineConfig
from spd.clustering.pipeline.report_step import (
    REPORT,
    make_report,
    make_report_again,
    options_as_before,
    report_state,
)
from spd.clustering.pipeline.slurm_renderer import Renderer
from spd.clustering.report.make import ReportOptions
from spd.clustering.scripts import calc_consensus
from spd.clustering.scripts import make_report as command
from spd.clustering.storage import EnsemblePaths
from spd.errors import SPDError
from tests.clustering.pipeline.place import METHOD, Place

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:the MDL is least at the last iteration"),
]


def content_of(place: Place) -> dict:
    return json.loads(place.ensemble.report.with_suffix(".json").read_text())


def test_a_pipeline_makes_it_of_its_stable_groups(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    content = content_of(place)
    stable = json.loads(place.ensemble.stable_groups.read_text())
    assert content["settings"]["ensemble"] == place.ensemble.ensemble_id
    assert (content["data"]["kind"], content["data"]["n_samples"]) == ("matrix", 300)
    assert [group["verdict"] for group in content["groups"]] == [group["verdict"] for group in stable["groups"]]
    assert report_state(place.ensemble) == "current"
    assert place.status() == 0
    assert f"report         {place.ensemble.report}  (open it in a browser" in capsys.readouterr().out


def test_made_of_other_members_or_groups_is_told(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    paths = place.ensemble
    first, second = (run.history for run in place.runs())
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert report_state(paths) == "stale"
    with pytest.raises(SPDError, match=r"is of other members than now, or damaged; make it by .*calc_consensus"):
        make_report(paths.directory, ReportOptions())
    first.write_bytes(content)
    assert report_state(paths) == "current"
    assert calc_consensus.main(["--pipeline-run-id", paths.ensemble_id, "--iteration", "3"]) == 0
    assert report_state(paths) == "stale"
    capsys.readouterr()
    assert place.status() == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .endswith("(of other members than now, or damaged: --resume makes it again)")
    )


def test_a_page_by_an_older_definition_is_made_again(
    place: Place, finished: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, kept = place.ensemble, finished.activations.read_bytes()
    manifest = json.loads(paths.manifest(REPORT).read_text())
    del manifest["settings"]["definition"]
    paths.manifest(REPORT).write_text(json.dumps(manifest))
    assert report_state(paths) == "unknown"
    assert place.status() == 0
    assert "(by an older version, or nothing was measured: --resume makes it again)" in capsys.readouterr().out
    written = paths.report.stat().st_mtime_ns
    finished.activations.unlink()
    assert command.main([str(paths.directory), "--again"]) == 0
    finished.activations.write_bytes(kept)
    assert "so the report stays as an older version made it" in capsys.readouterr().err
    assert paths.report.stat().st_mtime_ns == written
    assert command.main([str(paths.directory), "--again"]) == 0
    assert paths.report.stat().st_mtime_ns > written
    assert report_state(paths) == "current"


@pytest.mark.slow
def test_a_failure_is_a_warning_and_resume_makes_it(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    page = place.ensemble.report
    page.unlink()
    page.mkdir()
    assert place.resume() == 0
    errors = capsys.readouterr().err
    assert "no report was made: " in errors
    assert f"to try again: python -m spd.clustering.scripts.make_report {place.ensemble.directory}" in errors
    page.rmdir()
    assert report_state(place.ensemble) != "current"
    assert place.resume() == 0
    assert report_state(place.ensemble) == "current"
    written = page.stat().st_mtime_ns
    assert place.resume() == 0
    assert page.stat().st_mtime_ns == written


def test_data_that_is_gone(place: Place, finished: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The page has the groups; it is no whole report, so that it is made again when the data is back."""
    paths, kept = place.ensemble, finished.activations.read_bytes()
    paths.report.unlink()
    finished.activations.unlink()
    assert command.main([str(paths.directory), "--again"]) == 0
    finished.activations.write_bytes(kept)
    assert f"make_report {paths.directory}" in capsys.readouterr().err
    assert content_of(place)["data"]["kind"] is None
    assert report_state(paths) == "unknown"
    make_report_again(paths.directory)
    assert content_of(place)["data"]["kind"] == "matrix"
    assert report_state(paths) == "current"


def test_flags_given_by_hand_are_kept(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths, labels = place.ensemble, tmp_path / "labels.jsonl"
    labels.write_text('{"cluster_id": 0, "explanation": "mine"}\n')
    directory = str(paths.directory)
    assert command.main([directory, "--labels", str(labels), "--report-samples", "200", "--effects", "0"]) == 0
    assert report_state(paths) == "current"
    assert command.main([directory, "--output", str(tmp_path / "elsewhere.html")]) == 0
    assert options_as_before(paths) == ReportOptions(labels=labels, n_samples=200, n_effects=0)
    paths.report.unlink()
    assert command.main([directory, "--again"]) == 0
    found = content_of(place)
    assert (found["groups"][0]["label"], found["data"]["n_samples"]) == ("mine", 200)
    labels.unlink()
    paths.report.unlink()
    assert command.main([directory, "--again"]) == 0
    assert f"{labels} is gone, so the report is made without --labels" in capsys.readouterr().err
    assert options_as_before(paths) == ReportOptions(n_samples=200, n_effects=0)
    assert command.main([directory, "--again", "--effects", "3"]) == 1


def test_the_slurm_job_has_the_members_gpus(place: Place) -> None:
    values = {"clustering_run_config_path": place.directory / "run.json", "n_runs": 2, "distances_methods": [METHOD]}
    config = ClusteringPipelineConfig(**values, slurm_gpus=2)
    paths = EnsemblePaths("e-0123abcd", Path("/out/e-0123abcd"))
    script = Renderer(paths, config, Path("/code")).report()
    assert script.name == "spd-report-e-0123abcd"
    assert "#SBATCH --gres=gpu:2\n" in script.text
    command = f"{sys.executable} -m spd.clustering.scripts.make_report /out/e-0123abcd --again"
    assert f"command=({command})\n" in script.text
