"""`make paper` begins a paper that runs and passes its tests, and refuses what would not."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from checkout import ROOT, copy_tree

NAME, KEY = "sums_that_leak_a_little", "LEAK"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("tree"))


def python(tree: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run in the tree, with its package instead of this one's."""
    environment = os.environ | {"PYTHONPATH": str(tree / "src"), "WORKEDPAPERS_QUIET": "1", "OMP_NUM_THREADS": "1"}
    ours = ("PYTEST_", "WORKEDPAPERS_SHIPPED_ONLY")  # of these tests, not of an author's shell
    environment = {name: value for name, value in environment.items() if not name.startswith(ours)}
    return subprocess.run([sys.executable, *command], cwd=tree, env=environment, capture_output=True, text=True)


def contents(tree: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in tree.rglob("*") if path.is_file() and ".git" not in path.parts}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "NAME is ''"),
        (("Leaky-Sums", "LEAK"), "NAME is 'Leaky-Sums', expected a module's name"),
        (("lambda", "LEAK"), "NAME is 'lambda', expected a module's name"),
        (("sums_theory", "LEAK"), "NAME is 'sums_theory', expected a module's name"),
        (("fast_weights", "LEAK"), "NAME is 'fast_weights', which is there already: "),
        (("tasks", "LEAK"), "NAME is 'tasks', which is there already: src/workedpapers/tasks"),
        (("browser", "LEAK"), "NAME is 'browser', which is there already: tests/test_browser.py"),
        (("leaky_sums", "leak"), "KEY is 'leak', expected two to five capital letters"),
        (("leaky_sums", "FW"), "KEY is 'FW', which tags the equations of notebooks/fast_weights"),
    ],
)
def test_a_name_or_a_key_that_is_taken_or_malformed_is_refused_and_nothing_is_written(tree, arguments, problem):
    before = contents(tree)
    run = python(tree, "scripts/paper.py", *arguments)
    assert run.returncode == 1
    assert run.stderr.startswith(problem)
    assert contents(tree) == before


def test_a_second_draft_stands_beside_the_first_before_the_other_pages():
    enter = runpy.run_path(str(ROOT / "scripts" / "paper.py"))["enter"]
    book = "parts:\n  - caption: Sample\n    chapters: []\n  - caption: The book\n    chapters: []\n"
    contents = enter("second_draft", enter("first_draft", book))
    parts = yaml.safe_load(contents)["parts"]
    assert [part["caption"] for part in parts] == ["Sample", "Drafts", "The book"]
    assert {chapter["file"] for chapter in parts[1]["chapters"]} == {"notebooks/first_draft", "notebooks/second_draft"}


def test_a_new_paper_runs_is_in_the_book_and_passes_its_tests(tmp_path):
    tree = copy_tree(tmp_path)
    begun = python(tree, "scripts/paper.py", NAME, KEY)
    assert begun.returncode == 0, begun.stderr
    pages = [f"file: notebooks/{NAME}{kind}\n" for kind in ("", "_experiments", "_theory")]
    assert [line for line in pages if line not in (tree / "_toc.yml").read_text()] == []
    for check in (["check"], ["format", "--check"]):
        linted = python(tree, "-m", "ruff", *check, "--no-cache", ".")
        assert linted.returncode == 0, linted.stdout
    files = [f"tests/test_{about}.py" for about in (NAME, f"{NAME}_experiment", "experiments", "form", "notebooks")]
    tested = python(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--papers", NAME, *files)
    assert tested.returncode == 0, tested.stdout
    left_over = [path for path in contents(tree) if NAME in path.name and b"PAPER" in path.read_bytes()]
    assert left_over == []
