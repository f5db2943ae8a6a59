"""The first code cell of every page brings the package where it is missing, or says in one sentence what to do."""

import importlib.util
import re
import subprocess
import sys

import jupytext
import pytest

from checkout import ROOT
from pages import FOLDER, PAGES

TEMPLATES = sorted((ROOT / "templates" / "notebooks").glob("*.py"))
SOURCES = [*(FOLDER / f"{page}.py" for page in PAGES), *TEMPLATES]


def first_code_cell(path):
    cells = jupytext.read(path, fmt="py:percent").cells
    return next(cell for cell in cells if cell.cell_type == "code")


CELL = first_code_cell(TEMPLATES[0])
UNSET = re.sub(r"(github\.com/)[^/]+(/)", r"\1OWNER\2", CELL.source, count=1)
SET = UNSET.replace("github.com/OWNER/", "github.com/some-one/")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_the_setup_cell_is_the_same_on_every_page(path):
    cell = first_code_cell(path)
    assert cell.source == CELL.source
    assert cell.metadata == CELL.metadata


class Machine:
    """Stands for a machine: what can be imported there, and what pip, which is not run, would answer."""

    def __init__(self, *installed: str, answer: int = 0):
        self.installed = installed
        self.answer = answer
        self.commands: list[list[str]] = []

    def find_spec(self, name: str) -> object:
        return object() if name in self.installed else None

    def run(self, command: list[str], **_) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        return subprocess.CompletedProcess(command, self.answer, "", "Could not resolve host")


@pytest.fixture
def execute(monkeypatch):
    def execute_on(machine: Machine, source: str) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", machine.find_spec)
        monkeypatch.setattr(subprocess, "run", machine.run)
        exec(compile(source, "cell", "exec"), {})

    return execute_on


def test_where_the_package_is_there_nothing_happens(execute, capsys):
    machine = Machine("workedpapers")
    execute(machine, UNSET)
    assert machine.commands == []
    assert capsys.readouterr().out == ""


def test_without_an_address_the_cell_says_what_to_do_and_reaches_out_to_nothing(execute):
    machine = Machine("torch")
    with pytest.raises(RuntimeError, match=r"`pip install \.` in the repository's folder, or `make address URL=…`"):
        execute(machine, UNSET)
    assert machine.commands == []


def test_with_an_address_pip_installs_the_release_and_may_ask_nothing(execute, capsys):
    machine = Machine("torch")
    execute(machine, SET)
    ((python, *command),) = machine.commands
    assert python == sys.executable
    *options, source = command
    assert options == ["-m", "pip", "install", "--quiet", "--no-input"]
    assert re.fullmatch(r"git\+https://github\.com/some-one/[\w.-]+@v[\d.]+", source)
    assert capsys.readouterr().out == ""


def test_where_torch_is_missing_the_cell_says_that_it_takes_minutes(execute, capsys):
    machine = Machine()
    execute(machine, SET)
    assert len(machine.commands) == 1
    assert "PyTorch is missing, so pip brings it, too. This takes minutes." in capsys.readouterr().out


def test_where_pip_fails_its_message_is_shown_and_the_cell_asks_for_a_network(execute, capsys):
    with pytest.raises(RuntimeError, match="could not install workedpapers: is there a network"):
        execute(Machine("torch", answer=1), SET)
    assert "Could not resolve host" in capsys.readouterr().out


def test_an_older_python_is_refused_before_anything_else(execute, monkeypatch):
    machine = Machine()
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    with pytest.raises(RuntimeError, match=r"Python 3\.11 or newer"):
        execute(machine, UNSET)
    assert machine.commands == []
