"""The pages of the book as the tests read them. A paper has three: the lesson, its experiments and its theory."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode

from workedpapers.lab.ledger import paper_of

FOLDER = Path(__file__).parent.parent / "notebooks"
PAGES = sorted(path.stem for path in FOLDER.glob("*.py"))
PAPERS = sorted({paper_of(page) for page in PAGES})
KINDS = ("lesson", "experiments", "theory")


def pages_of(paper: str) -> list[str]:
    """The three pages of a paper, the lesson first."""
    return [paper, *(f"{paper}_{kind}" for kind in KINDS[1:])]


def kind_of(page: str) -> str:
    """Which of the three a page is."""
    return page.removeprefix(paper_of(page)).removeprefix("_") or "lesson"


def read(page: str) -> NotebookNode:
    """The executed notebook of a page."""
    return nbformat.read(FOLDER / f"{page}.ipynb", as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells with code in them."""
    return [cell for cell in notebook.cells if is_code(cell)]


def is_code(cell: NotebookNode) -> bool:
    """Whether a cell has code in it."""
    return cell.cell_type == "code" and bool(cell.source.strip())


def markdown_cells(notebook: NotebookNode) -> list[str]:
    """The sources of the Markdown cells."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return cell.metadata.get("tags", [])
