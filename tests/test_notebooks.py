"""Every page of the book: the pair in step, outputs complete and portable, changes and exercises tried in one run."""

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from xml.etree import ElementTree

import jupytext
import matplotlib.pyplot as plt
import nbformat
import pytest
from jupytext.compare import NotebookDifference, compare_notebooks
from matplotlib.figure import Figure
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from pages import FOLDER, PAGES, PAPERS, code_cells, markdown_cells, read, tags
from rehearsal import rehearse
from workedpapers.lab.explorables import explore
from workedpapers.lab.ledger import paper_of, problems, read_notebook

MAX_BYTES = 1_500_000
MAX_LIVE_CELLS = 2

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(params=PAGES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def notebook(name: str) -> NotebookNode:
    return read(name)


def test_each_source_has_its_notebook_and_each_notebook_its_source():
    assert sorted(path.stem for path in (FOLDER).glob("*.ipynb")) == PAGES


def test_source_and_notebook_are_in_step(name, notebook):
    source = jupytext.read(FOLDER / f"{name}.py", fmt="py:percent")
    try:
        compare_notebooks(notebook, source, fmt="py:percent", allow_expected_differences=True)
    except NotebookDifference as difference:
        pytest.fail(f"run `make notebooks`: {name}.ipynb is out of step with {name}.py\n{difference}")


def test_jupytext_would_write_the_source_as_it_stands(name):
    # Else JupyterLab refuses to open the pair once the notebook is newer than its source. A notebook file has the keys
    # of a cell's metadata in alphabetical order.
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    stored = nbformat.writes(jupytext.reads(text, fmt="py:percent"))
    written = jupytext.writes(nbformat.reads(stored, as_version=4), fmt="py:percent")
    after_header = [part.split("# ---\n", 2)[2] for part in (text, written)]
    assert after_header[0] == after_header[1]


def test_every_code_cell_was_executed_once_and_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_output_is_an_error_or_a_warning(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    bad = [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert bad == []


def test_at_most_two_cells_are_exempt_from_comparison_and_none_is_skipped(notebook):
    used = [tag for cell in notebook.cells for tag in tags(cell)]
    assert used.count("nbval-ignore-output") <= MAX_LIVE_CELLS
    assert not {"nbval-skip", "raises-exception", "skip-execution"} & set(used)
    markers = re.compile(r"#\s*(NBVAL|PYTEST_VALIDATE)_", re.IGNORECASE)
    assert not [cell.source for cell in code_cells(notebook) if markers.search(cell.source)]


def test_the_file_is_small(name):
    assert (FOLDER / f"{name}.ipynb").stat().st_size < MAX_BYTES


def test_markdown_reads_the_same_everywhere(notebook):
    for source in markdown_cells(notebook):
        assert not re.search(r"^\s*(`{3,}|~{3,})\s*\{", source, re.MULTILINE), f"a MyST directive:\n{source}"
        assert not re.search(r"^\s*:{3,}", source, re.MULTILINE), f"a colon fence:\n{source}"
        prose = FENCE.sub("", source)
        assert not re.search(r"\{[\w:+-]+\}`[^`]", prose), f"a MyST role:\n{source}"
        assert not re.search(r"<summary>[^<]*\$", prose), f"mathematics in a summary, which stays raw:\n{source}"


def test_every_tagged_equation_is_one_line(notebook):
    for source in markdown_cells(notebook):
        for tag in re.finditer(r"\\tag\{[^}]*\}", FENCE.sub("", source)):
            line = tag.string[: tag.end()].rpartition("\n")[2] + tag.string[tag.end() :].partition("\n")[0]
            assert re.fullmatch(r"\s*(?:[->*]\s*)?\$\$(?:(?!\\\\|\$\$).)+\$\$\s*", line), line
            assert line.count(r"\tag") == 1, line
            assert r"\begin{align" not in line, line


def test_no_widget_is_stored(notebook):
    assert "widgets" not in notebook.metadata
    kinds = {kind for cell in code_cells(notebook) for output in cell.outputs for kind in output.get("data", {})}
    assert not [kind for kind in kinds if "widget" in kind]


def test_no_cell_ends_in_a_semicolon(notebook):
    assert [cell.source for cell in code_cells(notebook) if cell.source.rstrip().endswith(";")] == []


def test_every_picture_has_an_alternative_text(notebook):
    for cell in code_cells(notebook):
        if any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {})):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt.split()) >= 3, f"alt text {alt!r} of the picture made by\n{cell.source}"
            assert not re.search(r"\.(png|jpe?g|svg|gif)\b", alt), f"a file name as alt text: {alt!r}"


@pytest.mark.parametrize("paper", PAPERS)
def test_the_ledger_has_no_hole(paper):
    assert problems(*(FOLDER / f"{name}.ipynb" for name in PAGES if paper_of(name) == paper)) == []


def test_the_equations_that_the_package_cites_are_in_the_notebooks():
    stated = {entry.tag for name in PAGES for entry in read_notebook(FOLDER / f"{name}.ipynb")}
    package = FOLDER.parent / "src" / "workedpapers"
    cited = {
        (path.name, tag)
        for path in package.rglob("*.py")
        for tag in re.findall(r"\(([A-Z]+\.E?[0-9]+[a-z]?)\)", path.read_text(encoding="utf-8"))
        if path.parent != package / "lab"  # its examples are none of a chapter
    }
    assert cited
    assert {(name, tag) for name, tag in cited if tag not in stated} == set()


def test_changes_do_what_the_page_says_and_checkers_tell_right_from_wrong(notebook, monkeypatch):
    monkeypatch.setenv("WORKEDPAPERS_QUIET", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert rehearse(notebook, FOLDER) == []


CELL_OF_ROWS = """
# %%
from workedpapers.experiments.fast_weights import TABLE
from workedpapers.lab import sweep

rows = sweep(TABLE, "book", device="cpu")
print(len(rows), (rows.test_error == 33).sum())
"""


def test_what_makes_and_compares_notebooks_counts_no_row_of_the_reader(reader, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "rows.py").write_text(CELL_OF_ROWS)
    for name in ("scripts/notebooks.py", "conftest.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(FOLDER.parent / name, tmp_path / name)
    make = (sys.executable, "scripts/notebooks.py")
    compare = (sys.executable, "-m", "pytest", "notebooks", "-c", os.devnull, "--rootdir", ".", "--nbval")
    for command in (make, (*compare, "--nbval-current-env", "-p", "no:cacheprovider")):
        run = subprocess.run(command, cwd=tmp_path, env=reader, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
    (cell,) = code_cells(nbformat.read(tmp_path / "notebooks" / "rows.ipynb", as_version=4))
    assert cell.outputs[0].text == "30 0\n"


CELL_OF_A_LINE = """
import matplotlib.pyplot as plt
from workedpapers.lab.explorables import explore

def draw(height):
    fig, ax = plt.subplots()
    ax.axhline(height, linewidth=1)
    return fig

explore(draw, alt="A line at {height}.", height=[1, 2])
"""


def draw_line(height: float, width: float) -> Figure:
    fig, ax = plt.subplots()
    ax.axhline(height, linewidth=width)
    return fig


def test_strict_comparison_forgives_other_png_bytes_but_no_other_alt_text(tmp_path):
    def stored(width: int, alt: str) -> NotebookNode:
        bundle = explore(partial(draw_line, width=width), alt=alt, height=[1, 2])._repr_mimebundle_()
        output = new_output("execute_result", bundle, execution_count=1)
        return new_code_cell(CELL_OF_A_LINE, execution_count=1, outputs=[output])

    alt = "A line at {height}."
    cells = [stored(1, alt), stored(9, alt), stored(1, "A line at {height}!")]
    nbformat.write(new_notebook(cells=cells), tmp_path / "try.ipynb")
    report = tmp_path / "report.xml"
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "try.ipynb", "-c", os.devnull, "--rootdir", "."),
            *("--nbval", "--nbval-current-env", "--nbval-sanitize-with", FOLDER / "nbval_sanitize.cfg"),
            *("-p", "no:cacheprovider", "-p", "no:xdist", "--junitxml", report),
        ],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    failed = [case.find("failure") is not None for case in ElementTree.parse(report).iter("testcase")]
    assert failed == [False, False, True]
