"""The real client against the loopback server: what the other tests rely on."""

from pathlib import Path

import pytest
import wandb

from tests.integration.loopback_wandb import LoopbackServer

pytestmark = pytest.mark.slow


def test_a_run_is_written_and_read_back(wandb_server: LoopbackServer, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("kept")
    run = wandb.init(project="proj", id="r1", group="g", tags=["a", "b"], config={"alpha": 1.5}, dir=tmp_path)
    run.log({"loss": 2.0}, step=0)
    run.log({"loss": 1.0}, step=1)
    run.save(str(note), base_path=str(tmp_path), policy="now")
    artifact = wandb.Artifact("history", type="merge_history")
    artifact.add_file(str(note))
    run.log_artifact(artifact).wait()
    run.finish()

    kept = wandb_server.runs["me/proj/r1"]
    assert [line["loss"] for line in kept.history] == [2.0, 1.0]
    assert kept.exit_code == 0
    assert kept.tags == ["a", "b"]
    assert kept.group == "g"
    assert wandb_server.artifacts["history"]["committed"]

    read = wandb.Api(timeout=5).run("me/proj/r1")
    assert read.config["alpha"] == 1.5
    assert read.summary["loss"] == 1.0
    assert "note.txt" in [file.name for file in read.files()]
    with read.file("note.txt").download(root=str(tmp_path / "fetched")) as fetched:
        assert fetched.read() == "kept"


def test_a_seeded_run_is_read_and_a_missing_one_is_not(wandb_server: LoopbackServer, tmp_path: Path) -> None:
    wandb_server.add_run(
        "goodfire/spd/abc", {"sub/model.pth": b"x" * 1000, "final_config.yaml": b"a: 1\n"}, config={"k": 3}
    )
    run = wandb.Api(timeout=5).run("goodfire/spd/abc")
    assert run.config == {"k": 3}
    assert sorted(file.name for file in run.files()) == ["final_config.yaml", "sub/model.pth"]
    with run.file("sub/model.pth").download(root=str(tmp_path / "fetched")) as fetched:
        assert Path(fetched.name).read_bytes() == b"x" * 1000
    with pytest.raises(wandb.errors.CommError, match="Could not find run"):
        _ = wandb.Api(timeout=5).run("goodfire/spd/nothere").config


def test_a_truncated_download_is_refused_by_the_client(wandb_server: LoopbackServer, tmp_path: Path) -> None:
    wandb_server.add_run("goodfire/spd/abc", {"model.pth": b"x" * 100_000})
    wandb_server.faults.truncated.add("model.pth")
    run = wandb.Api(timeout=5).run("goodfire/spd/abc")
    with pytest.raises(wandb.errors.CommError):
        run.file("model.pth").download(root=str(tmp_path / "fetched"))


def test_nothing_outside_the_root_is_served(wandb_server: LoopbackServer, tmp_path: Path) -> None:
    import urllib.error
    import urllib.request

    (tmp_path / "secret").write_text("x")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{wandb_server.url}/storage/..%2Fsecret", timeout=5)


def test_a_workspace_view_is_kept(wandb_server: LoopbackServer) -> None:
    import wandb_workspaces.workspaces as workspaces

    view = workspaces.Workspace(entity="me", project="proj", name="ensemble e-1", sections=[])
    view.save_as_new_view()
    assert len(wandb_server.views) == 1
