"""Runs on W&B as a source, through the real client and a server on loopback: cache, lock, and every way to fail."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import wandb

from spd.errors import ConfigError, MissingFileError, SPDError
from spd.files import wandb_run
from spd.files.run_location import locate_run
from spd.models.component_model import ComponentModel
from spd.models.run_info import SPDRunInfo
from tests.integration.loopback_wandb import LoopbackServer, serve
from tests.models.tiny_runs import TinyRun, llama_run, tms_run

pytestmark = pytest.mark.slow

PATH = "wandb:me/spd/runs/s-abc12345"


@pytest.fixture(scope="module", autouse=True)
def _end_of_client() -> Iterator[None]:
    """The client leaves a service process behind: end it with these tests."""
    yield
    wandb.teardown()


@pytest.fixture
def server(tmp_path: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    """A server that the client in this process talks to."""
    monkeypatch.setattr(wandb_run, "_SECONDS_BETWEEN_ATTEMPTS", 0.0)
    monkeypatch.setattr(wandb_run, "_ANSWER_TIMEOUT_SECONDS", 5)
    with serve(tmp_path / "wandb") as running:
        for name, value in running.variables.items():
            monkeypatch.setenv(name, value)
        yield running


def upload(server: LoopbackServer, run: TinyRun, tmp_path: Path, key: str = "me/spd/s-abc12345") -> Path:
    directory = run.write(tmp_path / "written")
    files = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    server.add_run(key, files)
    return directory


def downloads(server: LoopbackServer) -> list[str]:
    return [url.rpartition("/")[2] for kind, url in server.requests if kind == "GET"]


class ForTimes(set[str]):
    """Holds its members for the first few questions only: a fault that passes."""

    def __init__(self, members: set[str], times: int) -> None:
        super().__init__(members)
        self.times = times

    def __contains__(self, item: object) -> bool:
        if not super().__contains__(item):
            return False
        self.times -= 1
        return self.times >= 0


def test_a_run_is_downloaded_once(server: LoopbackServer, tmp_path: Path, out_dir: Path) -> None:
    run = tms_run()
    written = upload(server, run, tmp_path)
    folder = server.root / "me/spd/s-abc12345"
    (folder / "model_2.pth").write_bytes(b"an earlier checkpoint")
    (folder / "tms.pth").write_bytes(b"weights that are in the checkpoint too")
    (folder / "wandb-metadata.json").write_bytes(b"{}")
    files = locate_run(PATH)
    assert files.directory == out_dir / "runs" / "spd-s-abc12345"
    assert files.checkpoint.read_bytes() == (written / "model_3.pth").read_bytes()
    assert downloads(server) == ["tms_train_config.yaml", "model_3.pth", "final_config.yaml"]
    left = {path.name for path in files.directory.iterdir()}
    assert left == {"final_config.yaml", "model_3.pth", "tms_train_config.yaml", ".wandb_run"}
    batch = torch.rand(4, 5)
    expected = ComponentModel.from_pretrained(written)(batch)
    n_requests = len(server.requests)
    for path in (PATH, "wandb:me/spd/s-abc12345"):
        assert torch.equal(ComponentModel.from_pretrained(path)(batch), expected)
    assert len(server.requests) == n_requests, "a second load asks nothing"
    assert not list((out_dir / "runs").glob("*.download"))


def test_a_second_load_does_not_import_wandb(server: LoopbackServer, tmp_path: Path) -> None:
    upload(server, tms_run(), tmp_path)
    locate_run(PATH)
    call = f"from spd.files.run_location import locate_run; locate_run({PATH!r})"
    code = f"import sys; {call}; print('wandb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_cache_that_another_program_filled_is_used(server: LoopbackServer, tmp_path: Path, out_dir: Path) -> None:
    tms_run().write(out_dir / "runs" / "spd-s-abc12345")
    assert SPDRunInfo.from_path(PATH).checkpoint_path.name == "model_3.pth"
    assert server.requests == []


def test_concurrent_loads_download_once(server: LoopbackServer, tmp_path: Path) -> None:
    upload(server, tms_run(), tmp_path)
    code = f"from spd.files.run_location import locate_run; print(locate_run({PATH!r}).checkpoint)"
    loads = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = [load.communicate(timeout=60)[0] for load in loads]
    assert [load.returncode for load in loads] == [0, 0, 0]
    assert len(set(found)) == 1
    assert sorted(downloads(server)) == ["final_config.yaml", "model_3.pth", "tms_train_config.yaml"]
    ComponentModel.from_pretrained(PATH)


def test_a_download_that_breaks_off_is_tried_again(server: LoopbackServer, tmp_path: Path) -> None:
    upload(server, tms_run(), tmp_path)
    server.faults.truncated = ForTimes({"model_3.pth"}, times=2)
    ComponentModel.from_pretrained(PATH)
    assert downloads(server).count("model_3.pth") == 3


def test_a_download_that_keeps_breaking_leaves_no_half_file(
    server: LoopbackServer, tmp_path: Path, out_dir: Path
) -> None:
    upload(server, tms_run(), tmp_path)
    server.faults.truncated = {"model_3.pth"}
    with pytest.raises(
        SPDError, match=r"model_3.pth of the W&B run me/spd/s-abc12345: the download failed 3 times: .+"
    ):
        locate_run(PATH)
    assert [path.name for path in (out_dir / "runs" / "spd-s-abc12345").iterdir()] == ["tms_train_config.yaml"]
    assert not list((out_dir / "runs").glob("*.download"))
    server.faults.truncated = set()
    ComponentModel.from_pretrained(PATH)
    assert downloads(server).count("tms_train_config.yaml") == 1, "what came whole is kept"


def test_what_a_killed_download_left_is_no_obstacle(server: LoopbackServer, tmp_path: Path, out_dir: Path) -> None:
    upload(server, tms_run(), tmp_path)
    stale = out_dir / "runs" / ".spd-s-abc12345.download"
    stale.mkdir(parents=True)
    (stale / "model_3.pth").write_bytes(b"half a file")
    ComponentModel.from_pretrained(PATH)
    assert not stale.exists()


def test_a_failing_server_is_given_up_soon(
    server: LoopbackServer, tmp_path: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_run, "_CLIENT_RETRIES", 1)
    monkeypatch.setattr(wandb_run, "_ATTEMPTS", 1)
    upload(server, tms_run(), tmp_path)
    server.faults.failing = {"download"}
    start = time.monotonic()
    with pytest.raises(SPDError, match=r"the download failed 1 times: .*500"):
        locate_run(PATH)
    assert time.monotonic() - start < 60, "left alone the client repeats it for more than five minutes"
    assert wandb.setup().settings.x_file_transfer_retry_max is None, "runs logged from here keep the client's patience"


def test_a_missing_run(server: LoopbackServer, out_dir: Path) -> None:
    with pytest.raises(
        MissingFileError, match=r"wandb:me/spd/gone1234: W&B has no such run, or the API key .* not see"
    ):
        SPDRunInfo.from_path("wandb:me/spd/gone1234")
    assert not (out_dir / "runs" / "spd-gone1234").exists()


def test_a_run_that_is_no_decomposition(server: LoopbackServer, out_dir: Path) -> None:
    server.add_run("me/spd/other123", {"config.yaml": b"a: 1\n"})
    with pytest.raises(MissingFileError, match=r"wandb:me/spd/other123: is no decomposed run: .* it has config.yaml"):
        SPDRunInfo.from_path("wandb:me/spd/other123")
    assert not (out_dir / "runs" / "spd-other123").exists()


def test_no_credentials(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    with pytest.raises(SPDError, match=r"no W&B credentials: run `wandb login` or set WANDB_API_KEY"):
        SPDRunInfo.from_path(PATH)
    assert server.requests == []


def test_refused_credentials(server: LoopbackServer, tmp_path: Path) -> None:
    upload(server, tms_run(), tmp_path)
    server.faults.refused_tokens = True
    with pytest.raises(SPDError, match=r"wandb:me/spd/s-abc12345: W&B refused the API key in use"):
        SPDRunInfo.from_path(PATH)


def test_a_server_that_does_not_answer(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_run, "_ANSWER_TIMEOUT_SECONDS", 2)
    server.faults.failing = {"Run"}
    with pytest.raises(SPDError, match=r"wandb:me/spd/s-abc12345: W&B gives no answer \(.+\)"):
        SPDRunInfo.from_path(PATH)


@pytest.mark.parametrize("path", ["wandb:", "wandb:me/spd", "wandb:me/spd/runs/", "wandb:me/spd/../x", "wandb:a/b/c/d"])
def test_a_malformed_path(path: str) -> None:
    with pytest.raises(ConfigError, match=r"a W&B run is named wandb:<entity>/<project>/\[runs/\]<run_id>"):
        locate_run(path)


def test_the_cache_of_another_entitys_run_is_not_taken(server: LoopbackServer, tmp_path: Path) -> None:
    upload(server, tms_run(), tmp_path)
    locate_run(PATH)
    with pytest.raises(SPDError, match=r"holds the files of the W&B run me/spd/s-abc12345, not of you/spd/s-abc12345"):
        locate_run("wandb:you/spd/s-abc12345")


def test_an_output_directory_that_cannot_be_written(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SPD_OUT_DIR", str(tmp_path / "file"))
    with pytest.raises(SPDError, match=r"spd-s-abc12345\.lock: cannot be written: Not a directory"):
        locate_run(PATH)


def test_a_targets_config_on_wandb(server: LoopbackServer, tmp_path: Path, out_dir: Path) -> None:
    run = llama_run()
    target_files, run.target_files = run.target_files, {}
    run.config["pretrained_model_name"] = "wandb:me/pretrain/runs/t-1234"
    directory = run.write(tmp_path / "run")
    with pytest.raises(MissingFileError, match="wandb:me/pretrain/t-1234: W&B has no such run"):
        ComponentModel.from_pretrained(directory)
    server.add_run("me/pretrain/t-1234", {"final_config.yaml": b"a: 1\n", "model_step_9.pt": b"large"})
    with pytest.raises(MissingFileError, match=r"W&B run of the target has no model_config.yaml"):
        ComponentModel.from_pretrained(directory)
    content = (TinyRun({}, {}, target_files).write(tmp_path / "target") / "model_config.yaml").read_bytes()
    server.add_run("me/pretrain/t-1234", {"model_config.yaml": content})
    first = ComponentModel.from_pretrained(directory)
    assert "model_step_9.pt" not in downloads(server), "the run's checkpoint has the weights"
    assert (out_dir / "runs" / "pretrain-t-1234" / "model_config.yaml").read_bytes() == content
    n_requests = len(server.requests)
    tokens = torch.from_numpy(np.arange(6).reshape(1, 6))
    assert torch.equal(ComponentModel.from_pretrained(directory)(tokens), first(tokens))
    assert len(server.requests) == n_requests


def test_a_toy_targets_config_on_wandb(server: LoopbackServer, tmp_path: Path) -> None:
    run = tms_run()
    target_files, run.target_files = run.target_files, {}
    run.config["pretrained_model_path"] = "wandb:me/spd-train-tms/t-1234"
    content = (TinyRun({}, {}, target_files).write(tmp_path / "t") / "tms_train_config.yaml").read_bytes()
    server.add_run("me/spd-train-tms/t-1234", {"tms_train_config.yaml": content, "tms.pth": b"large"})
    upload(server, run, tmp_path)
    assert ComponentModel.from_pretrained(PATH).module_to_c["linear1"] == 7
    assert "tms.pth" not in downloads(server)
