"""A merge that is cut off goes on as if nothing had happened."""

import os
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest

from spd.clustering.memberships import Memberships
from spd.clustering.merge import MergeRunOptions, merge_iteration
from spd.clustering.merge_config import MergeConfig, MergeOptions
from spd.clustering.merge_engine import checkpoint as checkpoint_module
from spd.clustering.merge_history import MergeHistory
from spd.errors import DamagedFileError, SPDError
from tests.clustering.histories import assert_same
from tests.planted import memberships_of, planted

METHODS = [
    ("range", {"threshold": 0.0}),
    ("range", {"threshold": 0.03}),
    ("mcmc", {"temperature": 0.1}),
    ("exp_rank", {}),
]


def config_of(method: str, kwargs: dict, **fields) -> MergeConfig:
    return MergeConfig(iters=None, merge_pair_sampling_method=method, merge_pair_sampling_kwargs=kwargs, **fields)


@pytest.fixture
def memberships() -> Memberships:
    rng = np.random.default_rng(1)
    return memberships_of(planted(rng, 300, rng.integers(15, size=100), rng.uniform(0.02, 0.3, 15), 0.9))


def run(config: MergeConfig, memberships: Memberships, seed: int = 5, log_callback=None, **options) -> MergeHistory:
    rng, run_options = np.random.default_rng(seed), MergeRunOptions(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return merge_iteration(config, memberships, memberships.labels, log_callback, rng=rng, run_options=run_options)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(("method", "kwargs"), METHODS)
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_killed_twice_and_resumed(memberships, tmp_path: Path, method: str, kwargs: dict, signal_number: int) -> None:
    config = config_of(method, kwargs)
    whole = run(config, memberships)
    path = tmp_path / "checkpoint" / "merge.npz"
    seen: list[int] = []
    for stop_at in (31, 70):

        def stop(step, stop_at: int = stop_at) -> None:
            seen.append(step.iteration)
            if step.iteration == stop_at:
                os.kill(os.getpid(), signal_number)

        part = run(config, memberships, log_callback=stop, checkpoint_path=path)
        assert not part.is_complete
        assert len(part) == stop_at + 1
        np.testing.assert_array_equal(part.selected_pairs, whole.selected_pairs[: stop_at + 1])
        assert path.is_file()
    resumed = run(config, memberships, seed=999, checkpoint_path=path)  # the seed is the checkpoint's
    assert_same(resumed, whole)
    assert seen == list(range(71))
    assert [p.name for p in path.parent.iterdir()] == ["merge.npz"]


def test_checkpoints_are_written_while_running(memberships, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(checkpoint_module, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint_module, "MAX_SHARE", 1e9)
    path = tmp_path / "merge.npz"
    config = config_of(*METHODS[1])
    copies: list[bytes] = []

    def crash(step) -> None:
        if step.iteration == 50:
            raise RuntimeError("killed")
        if path.is_file():
            copies.append(path.read_bytes())

    with pytest.raises(RuntimeError, match="killed"):
        run(config, memberships, log_callback=crash, checkpoint_path=path)
    whole = run(config, memberships)
    for copy in (copies[0], copies[-1]):
        path.write_bytes(copy)
        assert_same(run(config, memberships, checkpoint_path=path), whole)


def test_ctrl_c_without_a_checkpoint(memberships) -> None:
    def stop(step) -> None:
        if step.iteration == 9:
            raise KeyboardInterrupt

    history = run(config_of(*METHODS[0]), memberships, log_callback=stop)
    assert len(history) == 10
    assert not history.is_complete


def test_the_signal_handler_is_put_back(memberships, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run(config_of(*METHODS[0]), memberships, checkpoint_path=tmp_path / "merge.npz")
    assert signal.getsignal(signal.SIGTERM) is before


def interrupted(config: MergeConfig, memberships: Memberships, path: Path) -> None:
    def stop(step) -> None:
        if step.iteration == 20:
            raise KeyboardInterrupt

    run(config, memberships, log_callback=stop, checkpoint_path=path)


def test_a_checkpoint_of_another_merge_is_refused(memberships, tmp_path: Path) -> None:
    path = tmp_path / "merge.npz"
    interrupted(config_of(*METHODS[0]), memberships, path)
    with pytest.raises(SPDError, match="other memberships or another config"):
        run(config_of(*METHODS[0], alpha=2.0), memberships, checkpoint_path=path)
    fewer = memberships.select(np.arange(100) != 3)
    with pytest.raises(SPDError, match="other memberships or another config"):
        run(config_of(*METHODS[0]), fewer, checkpoint_path=path)


def test_damaged_checkpoints_are_named(memberships, tmp_path: Path) -> None:
    path = tmp_path / "merge.npz"
    config = config_of(*METHODS[0])
    interrupted(config, memberships, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match=r"merge\.npz"):
        run(config, memberships, checkpoint_path=path)
    with np.load(_rewritten(path, whole)) as data:
        arrays = dict(data)
    for name, value in (
        ("pairs", arrays["pairs"] + 90),
        ("ints", arrays["ints"][:1]),
        ("version", np.array(99)),
        ("results", arrays["results"][:, :3]),
    ):
        np.savez(path, **{**arrays, name: value})
        with pytest.raises(DamagedFileError, match="delete it to start over"):
            run(config, memberships, checkpoint_path=path)


def _rewritten(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_stop_at_the_mdl_minimum(memberships) -> None:
    config = config_of(*METHODS[0])
    whole = run(config, memberships)
    options = MergeOptions(stop_at_mdl_minimum=True)
    stopped = run(config, memberships, merge_options=options)
    assert stopped.best_n_merges < len(stopped) < len(whole)
    assert stopped.best_n_merges == whole.best_n_merges
    assert stopped.is_complete
    np.testing.assert_array_equal(stopped.selected_pairs, whole.selected_pairs[: len(stopped)])
    observed = run(config, memberships, merge_options=options, log_callback=lambda step: None)
    assert len(observed) == len(stopped)


def test_progress_lines(memberships, monkeypatch, caplog) -> None:
    monkeypatch.setattr("spd.clustering.merge_engine.progress.SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level("INFO"):
        run(config_of(*METHODS[0]), memberships, progress=True, log_callback=lambda step: None)
    assert any("of 99" in message and "groups left" in message for message in caplog.messages)


def test_progress_bar_on_a_terminal(memberships, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    run(config_of(*METHODS[0]), memberships, progress=True)
    assert "99/99" in capsys.readouterr().err
