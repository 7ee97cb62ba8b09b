"""The registry is safe with many processes at once, and shares its file with goodfire-ai/spd."""

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from spd.clustering import ensemble_registry as registry
from spd.clustering.storage import registry_path
from spd.errors import ConfigError, DamagedFileError, MissingFileError, SPDError

_REGISTER = """
import multiprocessing
from spd.clustering.ensemble_registry import register_clustering_run, set_member_state

context = multiprocessing.get_context("fork")
barrier = context.Barrier(64)

def register(number):
    barrier.wait()
    idx = register_clustering_run("e-0123abcd", f"c-{number:08x}")
    set_member_state("e-0123abcd", idx, "running", job_id=str(number))

processes = [context.Process(target=register, args=(number,)) for number in range(64)]
for process in processes:
    process.start()
for process in processes:
    process.join()
    assert process.exitcode == 0
"""


def test_indices_count_up_for_each_ensemble(out_dir: Path) -> None:
    assert registry.get_clustering_runs("e-00000001") == []
    assert not out_dir.exists(), "reading creates nothing"
    assert registry.register_clustering_run("e-00000001", "c-00000001") == 0
    assert registry.register_clustering_run("e-00000002", "c-00000002") == 0
    assert registry.register_clustering_run("e-00000001", "c-00000003") == 1
    assert registry.get_clustering_runs("e-00000001") == [(0, "c-00000001"), (1, "c-00000003")]
    assert registry.get_clustering_runs("e-00000003") == []
    assert registry.list_ensembles() == ["e-00000001", "e-00000002"]


def test_64_processes_register_at_once(out_dir: Path) -> None:
    subprocess.run([sys.executable, "-c", _REGISTER], check=True, timeout=120)
    members = registry.get_members("e-0123abcd")
    assert [member.idx for member in members] == list(range(64))
    assert {member.run_id for member in members} == {f"c-{i:08x}" for i in range(64)}
    assert all(member.state == "running" and f"c-{int(member.job_id or 0):08x}" == member.run_id for member in members)


def test_no_write_ahead_log_on_network_file_systems(out_dir: Path) -> None:
    registry.register_clustering_run("e-00000001", "c-00000001")
    with sqlite3.connect(registry_path()) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_members_up_front_and_their_states(out_dir: Path) -> None:
    registry.register_members("e-00000001", ["c-0000000a", "c-0000000b"])
    assert [(m.idx, m.run_id, m.state) for m in registry.get_members("e-00000001")] == [
        (0, "c-0000000a", "pending"),
        (1, "c-0000000b", "pending"),
    ]
    with pytest.raises(ConfigError, match="registered already"):
        registry.register_members("e-00000001", ["c-0000000c"])
    assert len(registry.get_members("e-00000001")) == 2

    registry.set_member_state("e-00000001", 1, "running", job_id="17_1")
    running = registry.get_member("e-00000001", 1)
    assert running is not None
    assert (running.state, running.job_id, running.ended) == ("running", "17_1", None)
    assert running.started is not None
    registry.set_member_state("e-00000001", 1, "failed", error="Traceback\n  ...\nMemoryError: too large\n")
    failed = registry.get_member("e-00000001", 1)
    assert failed is not None
    assert (failed.state, failed.error, failed.job_id) == ("failed", "MemoryError: too large", "17_1")
    assert failed.started == running.started
    assert failed.ended is not None
    registry.set_member_state("e-00000001", 1, "pending")
    again = registry.get_member("e-00000001", 1)
    assert again is not None
    assert (again.state, again.error, again.started, again.ended) == ("pending", None, None, None)
    assert registry.get_member("e-00000001", 2) is None
    with pytest.raises(MissingFileError, match="no member 2"):
        registry.set_member_state("e-00000001", 2, "done")


def test_a_member_added_later_follows_those_registered(out_dir: Path) -> None:
    registry.register_members("e-00000001", ["c-0000000a", "c-0000000b"])
    assert registry.register_clustering_run("e-00000001", "c-0000000c") == 2
    member = registry.get_member("e-00000001", 2)
    assert member is not None
    assert member.state == "pending"


def test_a_registry_written_by_goodfire_opens(out_dir: Path, golden: Path) -> None:
    theirs = golden / "expected/resid_mlp1/e2e_reference_layout/ensemble_registry.db"
    expected = [(0, "c-10ee4bda"), (1, "c-de2b8025"), (2, "c-b4fcbed1")]
    assert [(m.idx, m.run_id) for m in registry.get_members("e-4a70d619", path=theirs)] == expected
    registry_path().parent.mkdir(parents=True)
    shutil.copy(theirs, registry_path())
    assert registry.get_clustering_runs("e-4a70d619") == expected
    assert registry.register_clustering_run("e-4a70d619", "c-00000001") == 3
    registry.set_member_state("e-4a70d619", 0, "done")
    assert [m.state for m in registry.get_members("e-4a70d619")] == ["done", "pending", "pending", "pending"]


def test_our_table_is_theirs(out_dir: Path, golden: Path) -> None:
    registry.register_clustering_run("e-00000001", "c-00000001")

    def columns(path: Path) -> list[tuple[object, ...]]:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            return database.execute("PRAGMA table_info(ensemble_runs)").fetchall()

    assert columns(registry_path()) == columns(golden / "expected/resid_mlp1/e2e_reference_layout/ensemble_registry.db")


def test_a_registry_that_is_none(out_dir: Path) -> None:
    registry_path().parent.mkdir(parents=True)
    registry_path().write_bytes(b"hello " * 1000)
    for use in (lambda: registry.get_members("e-00000001"), lambda: registry.register_clustering_run("e", "c")):
        with pytest.raises(DamagedFileError) as caught:
            use()
        assert str(registry_path()) in str(caught.value)
    registry_path().unlink()
    registry_path().mkdir()
    with pytest.raises(SPDError, match="cannot be used"):
        registry.register_clustering_run("e-00000001", "c-00000001")


def test_waiting_for_the_lock_ends_with_a_sentence(out_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.register_clustering_run("e-00000001", "c-00000001")
    monkeypatch.setattr(registry, "BUSY_TIMEOUT_S", 0.05)
    with sqlite3.connect(registry_path(), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SPDError, match="database is locked"):
            registry.register_clustering_run("e-00000001", "c-00000002")
        other.execute("ROLLBACK")
    assert len(registry.get_clustering_runs("e-00000001")) == 1


_KILLED_IN_A_TRANSACTION = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")  # so that pages reach the file before the transaction ends
database.execute("BEGIN IMMEDIATE")
database.executemany("INSERT INTO ensemble_runs VALUES ('e-0000000f', ?, ?)", [(i, "x" * 500) for i in range(500)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_writer_that_was_killed_in_a_transaction(out_dir: Path) -> None:
    """What it left in the file is taken back by the next one, also by one that only reads."""
    registry.register_clustering_run("e-00000001", "c-00000001")
    journal = registry_path().with_name(f"{registry_path().name}-journal")
    for use in (
        lambda: registry.get_clustering_runs("e-00000001"),
        registry.list_ensembles,
        lambda: registry.register_clustering_run("e-00000001", "c-00000002"),
    ):
        subprocess.run([sys.executable, "-c", _KILLED_IN_A_TRANSACTION, registry_path()], check=False)
        assert journal.stat().st_size > 0
        use()
        assert not journal.exists()
    assert registry.get_clustering_runs("e-00000001") == [(0, "c-00000001"), (1, "c-00000002")]
    assert registry.list_ensembles() == ["e-00000001"]


def test_an_empty_file(out_dir: Path) -> None:
    registry_path().parent.mkdir(parents=True)
    registry_path().touch()
    assert registry.get_clustering_runs("e-00000001") == []
    assert registry.list_ensembles() == []
    assert registry.register_clustering_run("e-00000001", "c-00000001") == 0


def test_a_run_id_that_is_no_text(out_dir: Path) -> None:
    registry.register_members("e-00000000", ["c-00000000"])
    with sqlite3.connect(registry_path()) as database:
        database.execute("UPDATE ensemble_runs SET clustering_run_id = x'ff'")
    with pytest.raises(DamagedFileError, match="a member of e-00000000 has an index or run id of another type"):
        registry.get_members("e-00000000")
