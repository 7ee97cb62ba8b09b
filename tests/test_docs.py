"""The commands of README and docs, taken from the text: those that can run here are run, in order; all are parsed."""

import importlib
import os
import re
import shlex
from pathlib import Path

import pytest
import yaml

from spd.settings import REPO_ROOT
from tests.clustering.scripts.commands import run as run_command

DOCS = [REPO_ROOT / "README.md", *sorted((REPO_ROOT / "docs").glob("*.md"))]
PIPELINE = "spd.clustering.scripts.run_pipeline"
ID = re.compile(r"\b([ceh])-[0-9a-f]{8}\b")


def commands(path: Path) -> list[list[str]]:
    """The lines of the file that call one of our commands, split as a shell does."""
    lines = [line.strip().removeprefix("$ ") for line in path.read_text().splitlines()]
    ours = [line for line in lines if re.match(r"(spd-clustering|python -m spd\.) ?", line) and "--help" not in line]
    return [shlex.split(re.sub(r"<[^>]*>", "placeholder", line), comments=True) for line in ours]


def module_and_arguments(command: list[str]) -> tuple[str, list[str]]:
    return (PIPELINE, command[1:]) if command[0] == "spd-clustering" else (command[2], command[3:])


def test_every_command_is_accepted_by_its_parser() -> None:
    found = [command for path in DOCS for command in commands(path)]
    assert len(found) > 15
    for command in found:
        module, arguments = module_and_arguments(command)
        if module.startswith("spd.clustering.scripts."):
            importlib.import_module(module).make_command_parser().parse_args(arguments)


def test_linked_files_exist() -> None:
    for path in DOCS:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def run(command: list[str], directory: Path, ids: dict[str, str]) -> None:
    """Run it with the ids that earlier commands printed in the places of the text's; remember those it prints."""
    module, arguments = module_and_arguments(command)
    out = os.environ["SPD_OUT_DIR"]
    words = [ID.sub(lambda found: ids[found[1]], word).replace("~/spd_out", out) for word in arguments]
    done = run_command(module, words, dict(os.environ), directory)
    assert done.status == 0, f"{command}: {done.stderr[-2000:]}"
    for found in ID.finditer(done.stdout + done.stderr):
        ids.setdefault(found[1], found[0])


@pytest.mark.slow
def test_commands_of_the_reference_run_in_order(out_dir: Path, tmp_path: Path) -> None:
    ids: dict[str, str] = {}
    for command in commands(REPO_ROOT / "docs" / "commands.md"):
        (tmp_path / "spd").exists() or (tmp_path / "spd").symlink_to(REPO_ROOT / "spd")
        run(command, tmp_path, ids)
    assert (tmp_path / "mapping.json").is_file()


@pytest.mark.slow
def test_own_model_as_in_the_readme(out_dir: Path, tmp_path: Path) -> None:
    text = (REPO_ROOT / "README.md").read_text()
    for name, content in re.findall(r"```yaml\n# (my_\w+\.yaml)\n(.*?)```", text, re.DOTALL):
        values = yaml.safe_load(content)
        if "model_path" in values:
            values |= {"model_path": "example:resid_mlp2", "batch_size": 512}
        else:
            values["n_runs"] = 2
        (tmp_path / name).write_text(yaml.safe_dump(values))
    command = next(command for command in commands(REPO_ROOT / "README.md") if "--local" in command)
    run(command, tmp_path, {})
    (ensemble,) = (out_dir / "clustering" / "ensembles").iterdir()
    assert (ensemble / "stable_groups.json").is_file()
