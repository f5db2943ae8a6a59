"""The form of a page: its budgets, and cells that are folded in every front end or in none.

What counts as one screen, one picture or one table in sight is said here, once.
"""

import re
from collections.abc import Iterable, Iterator
from statistics import median

from bs4 import BeautifulSoup
from nbformat import NotebookNode

from pages import code_cells, is_code, kind_of, markdown_cells, pages_of, tags
from prompts import MARK

WORDS = {"lesson": 3500, "experiments": 5000, "theory": 5000}  # of Markdown
VISIBLE_LINES = 300  # of code on one page; blank lines do not count, here and below
VISIBLE_CELL = 25
MEDIAN_CELL = 10
FOLDED_CELL = 60
# Two screens: about 500 words of prose. A line of code is as high as a line of ten words.
TWO_SCREENS = 500
WORDS_A_LINE = 10
PICTURES = {"lesson": 5, "theory": 5}  # the experiments page: one a question
TABLE_ROWS = 8
TABLE_COLUMNS = 5  # the column of row names is one of them
PROMPTS = 4
EXERCISES = (3, 4)

# The first cell of a draft says so: it may still lack pictures, prompts and exercises.
DRAFT = re.compile(r"^\*\*Draft\.\*\*", re.MULTILINE)
DETAILS = re.compile(r"<details\b.*?</details>", re.DOTALL)
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.MULTILINE | re.DOTALL)
IMAGE = re.compile(r"!\[[^\]]*\]\(|<img\b")
RULE_OF_A_TABLE = re.compile(r"^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
QUESTION = re.compile(r"^## \d+\b.*$", re.MULTILINE)
SECTION = re.compile(r"^## .*$", re.MULTILINE)

Table = tuple[int, int]  # rows and columns


def broken_budgets(page: str, notebook: NotebookNode) -> list[str]:
    """What exceeds its budget or falls short of it: the page, what was counted, and the budget."""
    found = [*_too_much(page, notebook)]
    if not is_draft(notebook):
        found += _too_little(page, notebook)
    return [f"{page}: {problem}" for problem in found]


def is_draft(notebook: NotebookNode) -> bool:
    """Whether the first cell says that the page is a draft."""
    return bool(DRAFT.search(notebook.cells[0].source))


def _too_much(page: str, notebook: NotebookNode) -> Iterator[str]:
    words = sum(len(source.split()) for source in markdown_cells(notebook))
    yield from _at_most(WORDS[kind_of(page)], words, "words of Markdown")
    visible = [lines_of(cell) for cell in code_cells(notebook) if not is_folded(cell)]
    yield from _at_most(VISIBLE_LINES, sum(visible), "visible lines of code")
    yield from _at_most(MEDIAN_CELL, median(visible or [0]), "lines in the median visible cell")
    for index, cell in enumerate(notebook.cells):
        if is_code(cell):
            budget, kind = (FOLDED_CELL, "folded") if is_folded(cell) else (VISIBLE_CELL, "visible")
            yield from _at_most(budget, lines_of(cell), f"lines in a {kind} cell", index)
        for rows, columns in tables_in_sight(cell):
            yield from _at_most(TABLE_ROWS, rows, "rows of a table in sight", index)
            yield from _at_most(TABLE_COLUMNS, columns, "columns of a table in sight", index)


def _at_most(budget: int, count: float, what: str, cell: int | None = None) -> Iterator[str]:
    if count > budget:
        place = "" if cell is None else f"cell {cell}: "
        yield f"{place}{count:g} {what}, at most {budget}"


def _too_little(page: str, notebook: NotebookNode) -> Iterator[str]:
    kind = kind_of(page)
    before = words_before_the_first_picture(notebook)
    if before is None:
        yield "no picture, at least one in the first two screens"
    else:
        yield from _at_most(TWO_SCREENS, before, "words (a visible line of code is ten) before the first picture")
    if kind in PICTURES:
        yield from _at_least(PICTURES[kind], sum(map(pictures_in, notebook.cells)), "pictures")
    if kind == "experiments":
        for title, cells in sections(notebook):
            if QUESTION.match(title) and any(map(is_code, cells)):
                yield from _at_least(1, sum(map(pictures_in, cells)), f"pictures in {title[3:]!r}")
    if kind == "lesson":
        prompts = sum(len(MARK.findall(source)) for source in markdown_cells(notebook))
        yield from _at_least(PROMPTS, prompts, '"Change it" prompts')
        exercises = sum(re.fullmatch(r"exercise-\d+", tag) is not None for c in notebook.cells for tag in tags(c))
        yield from _at_least(EXERCISES[0], exercises, "exercises")
        yield from _at_most(EXERCISES[1], exercises, "exercises")


def _at_least(budget: int, count: int, what: str) -> Iterator[str]:
    if count < budget:
        yield f"{count} {what}, at least {budget}"


def lines_of(cell: NotebookNode) -> int:
    """The lines of a cell that are not blank."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def is_folded(cell: NotebookNode) -> bool:
    """Whether the book shows a code cell only on demand."""
    return "hide-input" in tags(cell)


def pictures_in(cell: NotebookNode) -> int:
    """The pictures that a cell shows: images of its text, figures and explorables among its outputs."""
    if cell.cell_type == "markdown":
        return len(IMAGE.findall(in_sight(cell.source)))
    return sum(
        any(kind.startswith("image/") for kind in data) or "<img" in data.get("text/html", "") for data in _shown(cell)
    )


def in_sight(markdown: str) -> str:
    """Markdown without what is folded and without fenced code."""
    return FENCE.sub("", DETAILS.sub("", markdown))


def _shown(cell: NotebookNode) -> Iterator[dict[str, str]]:
    if not {"hide-output", "remove-output"} & set(tags(cell)):
        yield from (output.data for output in cell.get("outputs", []) if "data" in output)


def words_before_the_first_picture(notebook: NotebookNode) -> int | None:
    """How far a reader has to scroll, in words of prose; None where the page has no picture."""
    passed = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = in_sight(cell.source)
            if image := IMAGE.search(text):
                return passed + len(text[: image.start()].split())
            passed += len(text.split())
        elif is_code(cell):
            passed += 0 if is_folded(cell) else WORDS_A_LINE * lines_of(cell)
            if pictures_in(cell):
                return passed
    return None


def tables_in_sight(cell: NotebookNode) -> Iterator[Table]:
    """The size of each table that a reader sees without unfolding anything."""
    if cell.cell_type == "markdown":
        yield from _markdown_tables(in_sight(cell.source))
    else:
        for data in _shown(cell):
            yield from _html_tables(DETAILS.sub("", data.get("text/html", "")))


def _markdown_tables(text: str) -> Iterator[Table]:
    lines = text.splitlines()
    for number, line in enumerate(lines[1:], 1):
        if "|" in line and RULE_OF_A_TABLE.match(line) and "|" in lines[number - 1]:
            rows = 0
            while number + rows + 1 < len(lines) and lines[number + rows + 1].strip():
                rows += 1
            yield rows, line.strip().strip("|").count("|") + 1


def _html_tables(html: str) -> Iterator[Table]:
    for table in BeautifulSoup(html, "html.parser").find_all("table"):
        rows = [row.find_all(["td", "th"]) for row in table.find_all("tr") if row.find("td")]
        yield len(rows), max(map(len, rows), default=0)


def sections(notebook: NotebookNode) -> Iterator[tuple[str, list[NotebookNode]]]:
    """Each `##` heading with the cells below it, that of the heading included."""
    title, cells = "", []
    for cell in notebook.cells:
        headings = SECTION.findall(FENCE.sub("", cell.source)) if cell.cell_type == "markdown" else []
        if headings:
            if title:
                yield title, cells
            title, cells = headings[-1], []
        cells.append(cell)
    if title:
        yield title, cells


def folding_problems(page: str, notebook: NotebookNode) -> list[str]:
    """Cells that are folded in one front end and not in another, or not at all for a reader who wants to look."""
    found: list[str] = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            found += (f"{page}: cell {index}: {problem}" for problem in _half_folded(cell))
    return found


def _half_folded(cell: NotebookNode) -> Iterator[str]:
    jupyter = cell.metadata.get("jupyter", {})
    code = {
        "the tag hide-input": "hide-input" in tags(cell),
        '"jupyter": {"source_hidden": true}': bool(jupyter.get("source_hidden")),
        '"cellView": "form"': cell.metadata.get("cellView") == "form",
        "a first line `# @title …`": bool(re.match(r"# @title \S", cell.source)),
    }
    output = {
        "the tag hide-output": "hide-output" in tags(cell),
        '"jupyter": {"outputs_hidden": true}': bool(jupyter.get("outputs_hidden")),
    }
    for what, marks in {"code": code, "output": output}.items():
        if any(marks.values()) and not all(marks.values()):
            yield f"folded {what} has {_listed(marks, True)}, but lacks {_listed(marks, False)}"
    if gone := {"hide-cell", "remove-cell", "remove-input", "remove-output"} & set(tags(cell)):
        yield f"the tag {', '.join(sorted(gone))} folds or hides in the book alone"


def _listed(marks: dict[str, bool], there: bool) -> str:
    return " and ".join(mark for mark, has in marks.items() if has == there)


def form_problems(page: str, notebook: NotebookNode) -> list[str]:
    """All that is wrong with the form of one page."""
    return [*broken_budgets(page, notebook), *folding_problems(page, notebook)]


def missing_pages(papers: Iterable[str], pages: Iterable[str]) -> list[str]:
    """The pages that papers lack."""
    there = set(pages)
    return [page for paper in papers for page in pages_of(paper) if page not in there]
