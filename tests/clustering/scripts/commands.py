"""Runs commands as their users would; several in one process, since starting torch takes seconds."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_RUNNER = """
import contextlib, importlib, io, json, os, sys
results = []
for module, arguments, environment in json.load(sys.stdin):
    os.environ.update(environment)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = importlib.import_module("spd.clustering.scripts." + module).main(arguments)
        except SystemExit as left:
            status = left.code
    results.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(results), file=sys.__stdout__)
"""


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit status."""

    status: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The sentence after `error: ` on the last line of stderr."""
        last = self.stderr.splitlines()[-1]
        assert last.startswith("error: "), self.stderr
        return last.removeprefix("error: ")


@dataclass(frozen=True)
class Command:
    """`python -m spd.clustering.scripts.<module> <arguments>` with this SPD_OUT_DIR."""

    module: str
    arguments: list[str]
    out_dir: Path


def run_in_one_process(commands: list[Command], cwd: Path) -> list[Done]:
    """Each command's result; they share the imports, nothing else."""
    content = [(one.module, one.arguments, {"SPD_OUT_DIR": str(one.out_dir)}) for one in commands]
    done = subprocess.run(
        [sys.executable, "-c", _RUNNER], input=json.dumps(content), capture_output=True, text=True, cwd=cwd, check=True
    )
    return [Done(*result) for result in json.loads(done.stdout.splitlines()[-1])]


def run(module: str, arguments: list[str], environment: dict[str, str], cwd: Path) -> Done:
    """One command in a process of its own."""
    command = [sys.executable, "-m", f"spd.clustering.scripts.{module}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)
    return Done(done.returncode, done.stdout, done.stderr)
