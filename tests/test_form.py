"""The three pages of a paper keep their form; and each way to break it is noticed on small pages."""

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from form import broken_budgets, folding_problems, form_problems, missing_pages
from pages import KINDS, PAGES, PAPERS, pages_of, read

FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["hide-input"]}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_keeps_its_budgets_and_folds_alike_in_every_front_end(page):
    problems = form_problems(page, read(page))
    assert problems == [], "\n".join(["", *problems])


@pytest.mark.parametrize("paper", PAPERS)
def test_a_paper_has_its_three_pages(paper):
    assert missing_pages([paper], PAGES) == []


def text(source: str) -> NotebookNode:
    return new_markdown_cell(source)


def code(lines: int = 3, metadata: dict | None = None, html: str = "", picture: bool = False) -> NotebookNode:
    data = ({"image/png": "iVBO"} if picture else {}) | ({"text/html": html} if html else {})
    outputs = [new_output("display_data", data)] if data else []
    return new_code_cell("\n".join(["x = 1"] * lines), metadata=metadata or {}, outputs=outputs)


def folded(lines: int = 3, **more) -> NotebookNode:
    cell = code(lines, metadata=FOLDED, **more)
    cell.source = cell.source.replace("x = 1", "# @title What it does", 1)
    return cell


def page(*more: NotebookNode, pictures: int = 5, prompts: int = 4, exercises: int = 3) -> NotebookNode:
    """A page that keeps every budget of every kind unless told otherwise, and further cells."""
    cells = [text("# A paper\n\nSome words."), folded()]
    cells += [code(picture=True) for _ in range(pictures)]
    cells += [text("**Change it.** In the cell above …") for _ in range(prompts)]
    cells += [code(metadata={"tags": [f"exercise-{number}"]}) for number in range(exercises)]
    return new_notebook(cells=[*cells, *more])


def table(rows: int, columns: int) -> str:
    line = "|" + " $a$ |" * columns
    return "\n".join([line, "|" + "---|" * columns, *[line] * rows])


def html_table(rows: int, columns: int) -> str:
    line = "<tr>" + "<td>1</td>" * columns + "</tr>"
    return f"<table><thead><tr><th>a</th></tr></thead><tbody>{line * rows}</tbody></table>"


def fold(markdown: str) -> str:
    return f"<details><summary>More</summary>\n\n{markdown}\n\n</details>"


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_within_its_budgets_has_no_problem(kind):
    name = pages_of("paper")[KINDS.index(kind)]
    sound = page(
        text(table(8, 5)),
        text(fold(table(30, 9))),
        text(f"```\n{table(30, 9)}\n```"),
        code(html=html_table(8, 5)),
        code(html=fold(html_table(30, 9))),
        code(html=html_table(30, 9), metadata={"tags": ["hide-output"], "jupyter": {"outputs_hidden": True}}),
        code(25),
        folded(60),
    )
    assert form_problems(name, sound) == []


@pytest.mark.parametrize(
    ("name", "broken", "problem"),
    [
        ("paper", page(text("word " * 3500)), "3533 words of Markdown, at most 3500"),
        ("paper_theory", page(text("word " * 5000)), "5033 words of Markdown, at most 5000"),
        ("paper", page(*[code(10) for _ in range(30)]), "324 visible lines of code, at most 300"),
        ("paper", page(code(26)), "cell 14: 26 lines in a visible cell, at most 25"),
        ("paper", page(*[code(11) for _ in range(10)]), "11 lines in the median visible cell, at most 10"),
        ("paper", page(folded(61)), "cell 14: 61 lines in a folded cell, at most 60"),
        ("paper", page(text(table(9, 2))), "cell 14: 9 rows of a table in sight, at most 8"),
        ("paper", page(text(table(2, 6))), "cell 14: 6 columns of a table in sight, at most 5"),
        ("paper", page(code(html=html_table(9, 2))), "cell 14: 9 rows of a table in sight, at most 8"),
        ("paper", page(code(html=html_table(2, 6))), "cell 14: 6 columns of a table in sight, at most 5"),
        ("paper", page(pictures=4), "4 pictures, at least 5"),
        ("paper_theory", page(pictures=4), "4 pictures, at least 5"),
        ("paper", page(prompts=3), '3 "Change it" prompts, at least 4'),
        ("paper", page(exercises=2), "2 exercises, at least 3"),
        ("paper", page(exercises=5), "5 exercises, at most 4"),
        (
            "paper_experiments",
            page(text("## 1. Is it so?"), code(picture=True), text("## 2. And so?"), code(), text("## 3. Why.\n\nSo.")),
            "0 pictures in '2. And so?', at least 1",
        ),
        ("paper_theory", page(pictures=0), "no picture, at least one in the first two screens"),
    ],
)
def test_a_broken_budget_is_reported_with_the_page_the_count_and_the_budget(name, broken, problem):
    assert f"{name}: {problem}" in broken_budgets(name, broken)


def test_pictures_are_figures_explorables_and_images_in_sight():
    more = [
        code(html='<div><img src="data:image/png;base64,iVBO"></div>'),
        text("![A drawing](drawing.png)"),
        text(fold("![A folded drawing](drawing.png)")),
        code(picture=True, metadata={"tags": ["hide-output"], "jupyter": {"outputs_hidden": True}}),
    ]
    assert broken_budgets("paper", page(*more, pictures=3)) == []
    assert broken_budgets("paper", page(*more, pictures=2)) == ["paper: 4 pictures, at least 5"]


def test_the_first_picture_stands_within_two_screens():
    def opening(words: int, lines: int) -> NotebookNode:
        cells = [text("word " * words), text(fold("word " * 900)), folded(50), code(lines, picture=True)]
        return new_notebook(cells=[*cells, *page().cells])

    assert broken_budgets("paper", opening(300, 20)) == []
    problem = "510 words (a visible line of code is ten) before the first picture, at most 500"
    assert broken_budgets("paper", opening(310, 20)) == [f"paper: {problem}"]


def test_a_draft_may_lack_content_but_not_exceed_a_budget():
    draft = page(code(26), pictures=0, prompts=0, exercises=0)
    draft.cells[0].source = "# A paper\n\n**Draft.** To be written."
    draft.cells.append(code(2))
    assert broken_budgets("paper", draft) == [
        "paper: 14 lines in the median visible cell, at most 10",
        "paper: cell 2: 26 lines in a visible cell, at most 25",
    ]


@pytest.mark.parametrize("mark", ["cellView", "jupyter", "tags", "title"])
def test_a_cell_with_one_mark_of_a_folded_one_needs_the_others(mark):
    lacking, alone = folded(), code()
    if mark == "title":
        lacking.source = "x = 1"
        alone.source = "# @title What it does\nx = 1"
    else:
        del lacking.metadata[mark]
        alone.metadata[mark] = FOLDED[mark]
    for cell in (lacking, alone):
        (problem,) = folding_problems("paper", new_notebook(cells=[text("# A paper"), cell]))
        assert problem.startswith("paper: cell 1: folded code has")


def test_a_hidden_output_is_hidden_in_jupyterlab_too():
    cell = code(metadata={"tags": ["hide-output"]})
    (problem,) = folding_problems("paper", new_notebook(cells=[cell]))
    assert 'lacks "jupyter": {"outputs_hidden": true}' in problem


def test_nothing_is_hidden_in_the_book_alone():
    cell = code(metadata={"tags": ["remove-input"]})
    (problem,) = folding_problems("paper", new_notebook(cells=[cell]))
    assert problem == "paper: cell 0: the tag remove-input folds or hides in the book alone"


def test_a_missing_page_is_named():
    assert missing_pages(["a", "b"], ["a", "a_experiments", "a_theory", "b"]) == ["b_experiments", "b_theory"]
