"""What `make test NAMES=…` and `make notebooks NAMES=…` pick for a paper."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import conftest
from checkout import ROOT
from pages import PAPERS


def item(file: str, **parameters: object) -> SimpleNamespace:
    found = SimpleNamespace(path=Path("tests") / file)
    if parameters:
        found.callspec = SimpleNamespace(params=parameters)
    return found


@pytest.mark.parametrize(
    ("test", "papers"),
    [
        (item("test_norm.py"), {"norm"}),
        (item("test_norm_experiment.py"), {"norm"}),
        (item("test_deep_norm.py"), {"deep_norm"}),
        (item("test_norm_of_depth.py"), {"norm_of_depth"}),
        (item("test_normal.py"), set()),
        (item("test_notebooks.py", name="norm_theory"), {"norm"}),
        (item("test_notebooks.py", path=Path("notebooks/deep_norm_experiments.py"), index=3), {"deep_norm"}),
        (item("test_norm.py", other="deep_norm"), {"norm", "deep_norm"}),
    ],
)
def test_a_test_belongs_to_the_papers_of_its_file_and_of_its_parameters(monkeypatch, test, papers):
    monkeypatch.setattr(conftest, "PAPERS", ["deep_norm", "norm", "norm_of_depth"])
    assert conftest.papers_of(test) == papers


def test_the_notebooks_of_a_paper_are_its_three_pages(tmp_path):
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "notebooks").mkdir()
    for page in ("norm", "norm_experiments", "norm_theory", "deep_norm"):
        for extension in ("py", "ipynb"):
            (tmp_path / "notebooks" / f"{page}.{extension}").touch()
    command = ["make", "--dry-run", "test", "NAMES=norm"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    pages = {word for word in printed.split() if word.endswith(".ipynb")}
    assert pages == {f"notebooks/norm{kind}.ipynb" for kind in ("", "_experiments", "_theory")}


@pytest.mark.parametrize(
    "command", [["-m", "pytest", "--co", "tests/test_tree.py", "--papers"], ["scripts/notebooks.py"]]
)
def test_an_unknown_paper_is_named_with_those_that_there_are(command):
    run = subprocess.run([sys.executable, *command, "papr"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "papr; there are " in run.stderr
    assert all(paper in run.stderr for paper in PAPERS)
