"""The "Change it" prompts and the exercises of a page are tried in one run; each that is wrong is noticed."""

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from prompts import Prompt, changed, find_prompts, printed, problem_with
from rehearsal import find_exercises, rehearse


def ask(change: str, *lines: str) -> NotebookNode:
    block = "\n".join(["```text", *lines, "```"])
    return new_markdown_cell(
        f"**Change it.** In the cell above, write {change}. What `then`?\n\n"
        f"<details><summary>What happens</summary>\n\n{block}\n\nBecause of `this`.\n\n</details>"
    )


def page(*cells: str | NotebookNode) -> NotebookNode:
    return new_notebook(cells=[new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells])


def test_a_prompt_is_read_with_its_cell_its_change_and_its_lines():
    notebook = page("a = 1", "b = 2", ask("`a = 3` for `a = 1`", "3", "", "and so …"))
    assert find_prompts(notebook) == [Prompt(2, 0, "a = 1", "a = 3", ("3", "and so …"))]


def test_one_cell_of_text_may_hold_two_prompts():
    both = new_markdown_cell(ask("`2` for `1`", "x").source + "\n\n" + ask("`3` for `1`", "y").source)
    assert [prompt.new for prompt in find_prompts(page("a = 1", both))] == ["2", "3"]


def without(prompt: NotebookNode, piece: str) -> NotebookNode:
    return new_markdown_cell(prompt.source.replace(piece, ""))


GOOD = ask("`a = 3` for `a = 1`", "3")


@pytest.mark.parametrize(
    ("notebook", "problem"),
    [
        (page("a = 1", new_markdown_cell("So. **Change it.** " + GOOD.source)), "cell 1: a prompt is a paragraph"),
        (page("a = 1", without(GOOD, "What happens")), "cell 1: a prompt needs <details><summary>What happens"),
        (page("a = 1", ask("something else for 1", "3")), r"cell 1: a prompt names .* found \['then'\]"),
        (page("a = 1", ask("`a = 3` for `a = 1`")), "cell 1: the fold needs one ```text block"),
        (page("a = 1", without(GOOD, "text\n")), "cell 1: the fold needs one ```text block"),
        (page("a = 1", ask("`a = 1` for `a = 1`", "3")), "cell 1: the new and the old piece of code are both `a = 1`"),
        (page(GOOD, "a = 1"), "cell 0: no code cell above has `a = 1` in it"),
        (page("a = 1", "a = 1\na = 1", GOOD), "cell 2: `a = 1` occurs 2 times in the nearest cell that has it, 1"),
        (page(new_code_cell("a = 1", metadata={"tags": ["hide-input"]}), GOOD), "cell 1: the cell .* is folded"),
    ],
)
def test_a_prompt_that_is_not_written_as_it_should_be_is_refused(notebook, problem):
    with pytest.raises(ValueError, match=problem):
        find_prompts(notebook)


def test_the_change_is_made_once_and_in_a_copy():
    cell = new_code_cell("a = 1\nprint(a)")
    prompt = Prompt(1, 0, "a = 1", "a = 3", ("3",))
    assert changed(prompt, cell).source == "a = 3\nprint(a)"
    assert cell.source == "a = 1\nprint(a)"


def printing(*lines: str, error: tuple[str, str] | None = None) -> NotebookNode:
    outputs = [new_output("stream", name="stdout", text="".join(f"{line}\n" for line in lines))]
    if error:
        outputs.append(new_output("error", ename=error[0], evalue=error[1]))
    return new_code_cell("", outputs=outputs)


def test_what_a_kernel_sends_in_pieces_is_read_as_it_is_shown():
    def sent(text: str, name: str = "stdout") -> NotebookNode:
        return new_output("stream", name=name, text=text)

    value = new_output("execute_result", data={"text/plain": "3"})
    pieces = [sent("so"), sent("a warning\n", "stderr"), sent("me"), sent("\n"), value, sent("more\n")]
    assert printed(new_code_cell("", outputs=pieces)) == ["some", "3", "more"]


@pytest.mark.parametrize(
    ("lines", "after"),
    [
        (("new",), printing("first", "new", "last")),
        (("first", "new"), printing("first", "other", "new")),
        (("ne…",), printing("new")),
        (("ValueError: no",), printing("first", error=("ValueError", "no"))),
    ],
)
def test_a_change_shows_what_is_promised_where_all_lines_are_printed_in_order(lines, after):
    prompt = Prompt(1, 0, "a", "b", lines)
    assert problem_with(prompt, printing("first", "last"), after) is None


@pytest.mark.parametrize(
    ("lines", "missing"), [(("other",), "other"), (("new", "first"), "first"), (("ne",), "ne"), (("ews…",), "ews…")]
)
def test_a_line_that_is_not_printed_or_not_in_its_place_is_named(lines, missing):
    prompt = Prompt(1, 0, "a", "b", lines)
    problem = problem_with(prompt, printing("first"), printing("first", "new"))
    assert problem.startswith(f"cell 1: `b` for `a`: the changed cell does not print {missing!r}")
    assert problem.endswith("    first\n    new")


def test_a_prompt_whose_lines_the_unchanged_cell_prints_too_shows_nothing():
    both = printing("first", "same")
    assert "shows nothing" in problem_with(Prompt(1, 0, "a", "b", ("fir…", "same")), both, both)
    assert problem_with(Prompt(1, 0, "a", "b", ("first", "new")), both, printing("first", "new")) is None


def test_an_error_of_which_the_prompt_says_nothing_is_reported():
    after = printing("new")
    after.outputs.append(new_output("error", ename="ValueError", evalue="too\nlong", traceback=[]))
    problem = problem_with(Prompt(1, 0, "a", "b", ("new",)), printing("first"), after)
    assert "ends in an error of which the prompt says nothing" in problem
    assert problem_with(Prompt(1, 0, "a", "b", ("new", "ValueError: too")), printing("first"), after) is None


STUB = new_code_cell("def double(x):\n    raise NotImplementedError", metadata={"tags": ["exercise-1"]})
CHECKER = new_code_cell("def check_exercise_1(f):\n    assert f(2) == 4", metadata={"tags": ["exercise-1-checker"]})
LAX_CHECKER = new_code_cell("def check_exercise_1(f):\n    f(2)", metadata={"tags": ["exercise-1-checker"]})


def solution(body: str) -> NotebookNode:
    block = f"```python\ndef double(x):\n    return {body}\n```"
    return new_markdown_cell(f"<details><summary>Solution 1</summary>\n\n{block}\n\n</details>")


def test_a_sound_page_is_run_once_with_its_changes_and_its_exercises(tmp_path):
    notebook = page(
        "from pathlib import Path\na = 1",
        "a += 1\nPath('runs').open('a').write('x')\nprint(a * 10)",
        ask("`1 / (a - 2)` for `a * 10`", "1.0"),
        ask("`1 / (a - 3)` for `a * 10`", "0.5"),
        ask("`[][a]` for `a * 10`", "IndexError: list index…"),
        "a = 1\nprint(a)",
        ask("`a = 5` for `a = 1`", "5"),
        *(STUB, CHECKER, solution("2 * x if a == 1 else 0")),
    )
    assert rehearse(notebook, tmp_path) == []
    assert len((tmp_path / "runs").read_text()) == 7  # the cell, and three times a change and the cell again


def test_everything_that_goes_otherwise_is_reported(tmp_path):
    notebook = page(
        "a = 1\nprint(a)",
        ask("`a = 2` for `a = 1`", "3"),
        ask("`print(a, a)` for `print(a)`", "1…"),
        *(STUB, LAX_CHECKER, solution("1 / 0")),
    )
    problems = rehearse(notebook, tmp_path)
    assert [problem.partition(" but")[0].partition(", the")[0].partition(", exp")[0] for problem in problems] == [
        "cell 1: `a = 2` for `a = 1`: the changed cell does not print '3' (in this order),",
        "cell 2: `print(a, a)` for `print(a)`: shows nothing",
        "the checker of exercise 1 accepts an empty answer",
        "the checker of exercise 1 refuses the solution",
    ]


def test_a_page_that_asks_for_nothing_is_not_executed(tmp_path):
    assert rehearse(page("open('touched', 'w').close()"), tmp_path) == []
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ((STUB, CHECKER), r"each exercise has a stub and a solution: stubs \['1'\], solutions \[\]"),
        ((CHECKER, solution("4")), r"each exercise has a stub and a solution: stubs \[\], solutions \['1'\]"),
        ((STUB, without(solution("4"), "python")), "solution 1 needs one python block, found 0"),
    ],
)
def test_an_exercise_that_is_not_written_as_it_should_be_is_refused(cells, problem):
    with pytest.raises(ValueError, match=problem):
        find_exercises(page(*cells))
