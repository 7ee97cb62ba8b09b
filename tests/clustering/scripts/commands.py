"""Runs commands as their users would, each in a process of its own.

Starting Python, torch and numba takes seconds, so that one process imports them once, and every command runs in a fork
of it. Tests about starting and stopping a process, and about what is imported, call `run_alone`.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SERVER = """
import importlib, json, os, sys
import matplotlib.pyplot, numba, torch
import spd.clustering.merge, spd.clustering.plotting.figures, spd.models.component_model
for line in sys.stdin:
    module, arguments, environment, cwd, out, err = json.loads(line)
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, flush=True)
        continue
    for number, path in ((0, os.devnull), (1, out), (2, err)):
        os.dup2(os.open(path, os.O_RDWR), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = [module, *arguments]
    sys.exit(importlib.import_module(module).main(arguments))
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


def run(module: str, arguments: list[str], environment: dict[str, str], cwd: Path) -> Done:
    """`python -m spd.clustering.scripts.<module> <arguments>`, or of a whole module's name, in a fork."""
    name = module if "." in module else f"spd.clustering.scripts.{module}"
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
        request = [name, arguments, environment, str(cwd), out.name, err.name]
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        return Done(status, out.read(), err.read())


def run_all(commands: list[Command], cwd: Path) -> list[Done]:
    """Each command's result, in the environment of this process."""
    return [run(one.module, one.arguments, {**os.environ, "SPD_OUT_DIR": str(one.out_dir)}, cwd) for one in commands]


def run_alone(module: str, arguments: list[str], environment: dict[str, str], cwd: Path) -> Done:
    """One command in a process that starts from nothing."""
    command = [sys.executable, "-m", f"spd.clustering.scripts.{module}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


@functools.cache
def _server() -> "subprocess.Popen[str]":
    """Ends when this process does, as its standard input ends."""
    return subprocess.Popen([sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
