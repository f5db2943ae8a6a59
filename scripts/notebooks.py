"""Execute the pages: every notebooks/NAME.py into the NAME.ipynb beside it, outputs kept.

A second run gives the same bytes. Usage: `python scripts/notebooks.py [NAME ...]`: the name of a paper means its three
pages, that of a page this page; no name means all of them.
"""

import argparse
import hashlib
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

from workedpapers.lab.ledger import paper_of

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
CELL_TIMEOUT = 300  # seconds


def build(name: str) -> str:
    """Execute one page and write its notebook; returns the line to show."""
    notebook = jupytext.read(FOLDER / f"{name}.py", fmt="py:percent")
    give_stable_ids(notebook)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        resources={"metadata": {"path": str(FOLDER)}},
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,  # else the pieces a stream arrives in depend on timing
        extra_arguments=["--log-level=ERROR"],  # a kernel warns that it listens on localhost
    ).execute()
    clean(notebook)
    path = FOLDER / f"{name}.ipynb"
    text = nbformat.writes(notebook) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return f"{path.name}: unchanged"
    part = path.with_suffix(".ipynb.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return f"{path.name}: written"


def give_stable_ids(notebook: nbformat.NotebookNode) -> None:
    """Name each cell after its content, so that ids change only where the text does."""
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        content = f"{cell.cell_type}\n{cell.source}"
        cell.id = hashlib.sha256(f"{content}\n{seen[content]}".encode()).hexdigest()[:12]
        seen[content] += 1


def clean(notebook: nbformat.NotebookNode) -> None:
    """Drop what depends on the machine or needs a live kernel; refuse what a reader should not see."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info.pop("version", None)
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                raise RuntimeError(f"cell {number} wrote to stderr:\n{output.text}\nIts source:\n{cell.source}")
            output.get("data", {}).pop(WIDGET_VIEW, None)


def main() -> int:
    """The command line; the exit status is 1 where a page failed."""
    there = sorted(path.stem for path in FOLDER.glob("*.py"))
    parser = argparse.ArgumentParser(description="Execute the pages and keep their outputs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"a paper, or one of: {', '.join(there)}")
    names = parser.parse_args().names
    if unknown := sorted(set(names) - set(there)):
        parser.error(f"no such page: {', '.join(unknown)}; there are {', '.join(there)}")
    pages = [page for page in there if not names or {page, paper_of(page)} & set(names)]
    os.environ |= {"WORKEDPAPERS_QUIET": "1", "WORKEDPAPERS_SHIPPED_ONLY": "1", "OMP_NUM_THREADS": "1"}
    failed = False
    with ProcessPoolExecutor(2) as pool:
        for name, result in [(name, pool.submit(build, name)) for name in pages]:
            if error := result.exception():
                failed = True
                print(f"{name}.py failed:\n{error}", file=sys.stderr)
            else:
                print(result.result())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
