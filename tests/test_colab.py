"""A page alone on a machine such as Colab's: its first cell brings the package and leaves torch and numpy alone.

That cell is the same on every page, so one page runs, up to its first checks; every page, and all of it, where
WORKEDPAPERS_FULL is set.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import distribution
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from packaging.requirements import Requirement

from checkout import ROOT, copy_tree, git
from pages import PAGES, code_cells, read
from workedpapers.lab.explorables import WIDGET_VIEW

FULL = bool(os.environ.get("WORKEDPAPERS_FULL"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
# What Colab has before the first cell runs, as far as it matters here; pip itself included.
COLAB = ["torch", "numpy", "matplotlib", "ipykernel", "pip"]
# Colab's, and the last of its line. Without its dependencies: they would bring the classic Notebook.
OLD_WIDGETS = ["ipywidgets==7.7.5", "ipython_genutils==0.2.0"]
INSTALLED_FROM = re.compile(r"git\+(https://[^@\s\"]+)@([^\s\"]+)")

LIVE = """
import ipywidgets
import matplotlib.pyplot as plt
from workedpapers.lab import explore

def draw(decay):
    fig, ax = plt.subplots(figsize=(2, 1), dpi=60)
    ax.plot([decay**step for step in range(9)])
    return fig

print(ipywidgets.__version__)
explorable = explore(draw, alt="decay {decay}", decay=[0.5, 0.9])
explorable
"""
MOVE = "explorable.widget.children[1].value = 0.9"
STATE = "application/vnd.jupyter.widget-state+json"
LIVE_TESTS = [
    "test_moving_a_slider_redraws_the_picture_and_its_alt_text",
    "test_both_faces_start_with_the_same_frame",
    "test_the_bundle_holds_text_the_static_page_and_the_view_of_the_widget",
]


def checks(cell: NotebookNode) -> list[str]:
    """The lines of the checks among what a code cell printed."""
    printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    return re.findall(r"^[✓✗] .*", printed, re.MULTILINE)


@pytest.fixture(scope="session")
def registry() -> None:
    """Skips where pip can install nothing."""
    options = ["--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--retries", "0", "--timeout", "15"]
    command = [sys.executable, "-m", "pip", "install", *options, "hatchling"]
    if subprocess.run(command, capture_output=True, timeout=120, check=False).returncode:
        pytest.skip("pip reaches no package registry here")


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the tree as it is now, with an owner, under the tag of its version."""
    repository = copy_tree(tmp_path_factory.mktemp("release"))
    git("add", "--all", cwd=repository)
    address = "/".join(["https://github.com", "some-one", "papers"])  # in one piece, it would be taken for ours
    command = [sys.executable, repository / "scripts" / "address.py", address]
    subprocess.run(command, check=True, capture_output=True)
    git("add", "--all", cwd=repository)
    git("commit", "--quiet", "--no-verify", "--message", "release", cwd=repository)
    git("tag", f"v{VERSION}", cwd=repository)
    return repository


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of links to the distributions that Colab has and to what these need, and to no other."""
    folder = tmp_path_factory.mktemp("base")
    waiting, seen = list(COLAB), set()
    while waiting:
        there = distribution(waiting.pop())
        if there.name in seen:
            continue
        seen.add(there.name)
        for needed in map(Requirement, there.requires or []):
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
        for name in {file.parts[0] for file in there.files or []} - {"..", "__pycache__"}:
            if not (folder / name).exists():
                (folder / name).symlink_to(there.locate_file(name))
    return folder


@pytest.fixture
def colab(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The interpreter of a new environment on top of the base; the Jupyter kernel `colab` runs it."""
    venv.create(tmp_path / "venv", symlinks=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "base.pth").write_text(f"{base}\n")
    python = tmp_path / "venv" / "bin" / "python"
    kernel = tmp_path / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Colab", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    return python


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what would let a child find this checkout."""
    names = ("PYTHON", "VIRTUAL_ENV", "WORKEDPAPERS", "GIT_")
    return {name: value for name, value in os.environ.items() if not name.startswith(names)} | more


def versions_and_files(python: Path) -> dict[str, list[str]]:
    """The version and the file of what another interpreter would import; nothing is imported."""
    program = """
import json
from importlib.metadata import version
from importlib.util import find_spec
found = {name: find_spec(name) for name in ("torch", "numpy", "pandas", "workedpapers")}
print(json.dumps({name: [version(name), spec.origin] for name, spec in found.items() if spec}))
"""
    run = subprocess.run([python, "-c", program], env=clean_environment(), capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@pytest.mark.parametrize("page", PAGES)
def test_the_first_cell_installs_the_release_that_the_notebook_belongs_to(page):
    first = code_cells(read(page))[0].source
    assert [tag for _, tag in INSTALLED_FROM.findall(first)] == [f"v{VERSION}"]


@pytest.mark.parametrize("page", PAGES if FULL else PAGES[:1])
def test_alone_on_colab_a_notebook_installs_the_package_runs_and_leaves_torch_and_numpy_as_they_are(
    page, registry, release, colab, tmp_path
):
    alone = tmp_path / "alone"
    alone.mkdir()
    path = Path(shutil.copy(release / "notebooks" / f"{page}.ipynb", alone))
    notebook = nbformat.read(path, as_version=4)
    if not FULL:
        first = next(cell for cell in code_cells(notebook) if checks(cell))
        notebook.cells = notebook.cells[: notebook.cells.index(first) + 1]
    stored = [line for cell in code_cells(notebook) for line in checks(cell)]
    ((address, _),) = INSTALLED_FROM.findall(code_cells(notebook)[0].source)
    before = versions_and_files(colab)
    assert before.keys() == {"torch", "numpy"}  # so the cell has something to install
    client = NotebookClient(notebook, timeout=600, kernel_name="colab", resources={"metadata": {"path": str(alone)}})
    client.execute(
        env=clean_environment(
            GIT_CONFIG_COUNT="1",
            GIT_CONFIG_KEY_0=f"url.{release.as_uri()}.insteadOf",
            GIT_CONFIG_VALUE_0=address,
            GIT_TERMINAL_PROMPT="0",
            WORKEDPAPERS_QUIET="1",
            WORKEDPAPERS_RESULTS=str(tmp_path / "results"),
        )
    )
    after = versions_and_files(colab)
    assert {name: after[name] for name in before} == before
    assert Path(after["workedpapers"][1]).is_relative_to(colab.parent.parent)
    assert [line for cell in code_cells(notebook) for line in checks(cell)] == stored
    assert [file.name for file in alone.iterdir()] == [path.name]


@pytest.fixture(scope="session")
def old_widgets(request: pytest.FixtureRequest) -> Path:
    """A folder with ipywidgets 7; filled once and kept until `make clean`."""
    folder = ROOT / "_build" / OLD_WIDGETS[0]
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            request.getfixturevalue("registry")
            part = folder.with_name(f"{folder.name}.part")
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", part]
            subprocess.run([*command, *OLD_WIDGETS], check=True)
            part.rename(folder)
    return folder


@pytest.fixture(params=["7", "8"])
def widgets(request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """A major version of ipywidgets, and the environment in which it is what gets imported."""
    if request.param == "8":
        return "8", clean_environment()
    return "7", clean_environment(PYTHONPATH=str(request.getfixturevalue("old_widgets")))


def test_the_live_face_draws_anew_with_ipywidgets_7(old_widgets):
    program = "import ipywidgets, pytest, sys; print(ipywidgets.__version__); sys.exit(pytest.main(sys.argv[1:]))"
    tests = [f"{ROOT}/tests/test_explorables.py::{name}" for name in LIVE_TESTS]
    command = [sys.executable, "-c", program, "-q", "-p", "no:cacheprovider", *tests]
    environment = clean_environment(PYTHONPATH=str(old_widgets))
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith("7.")


def test_in_a_kernel_the_live_face_is_a_picture_and_a_slider_with_ipywidgets_7_and_8(widgets, tmp_path):
    major, environment = widgets
    notebook = new_notebook(cells=[new_code_cell(LIVE), new_code_cell(MOVE)])
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute(env=environment)
    version, shown = notebook.cells[0].outputs
    assert version.text.startswith(f"{major}.")
    # What the kernel told the page: the models, and their state after the slider moved.
    models = notebook.metadata.widgets[STATE].state
    box = models[shown.data[WIDGET_VIEW].model_id]
    picture, slider = (models[child.removeprefix("IPY_MODEL_")] for child in box.state.children)
    assert (box.model_name, picture.model_name, slider.model_name) == ("VBoxModel", "HTMLModel", "SelectionSliderModel")
    assert slider.state["index"] == 1
    assert 'alt="decay 0.9"' in picture.state.value
