"""One run of a page that tries all that a reader is asked to do: each "Change it", each exercise.

An exercise N is three cells:
- the stub, tagged `exercise-N`: a function that raises `NotImplementedError`;
- its checker, tagged `exercise-N-checker`: defines `check_exercise_N(function)`, which raises where the
  function is wrong (calling it is left to the reader);
- a Markdown cell with a `<details>` whose `<summary>` is "Solution N", and in it one fenced `python` block
  that defines the function of the stub anew.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from pages import code_cells, markdown_cells, tags
from prompts import Prompt, changed, find_prompts, printed, problem_with

SOLUTION = re.compile(r"<details>\s*<summary>\s*Solution (\d+)\s*</summary>(.*?)</details>", re.DOTALL)
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
TIMEOUT = 300  # seconds a cell may take

# What a checker says of a function; run in the page's namespace.
TRIAL = """
try:
    check_exercise_{number}({function})
except Exception:
    print("refuses")
else:
    print("accepts")
"""
EXPECTED = {"the stub": "refuses", "an empty answer": "refuses", "the solution": "accepts"}


@dataclass(frozen=True)
class Exercise:
    """The function that a reader is asked to write, and the one in the fold."""

    number: str
    function: str
    solution: str

    def trials(self) -> dict[str, NotebookNode]:
        """A cell for each of the three functions; the last word that it prints is the checker's."""
        stub = TRIAL.format(number=self.number, function=self.function)
        empty = TRIAL.format(number=self.number, function="lambda *_, **__: None")
        sources = (stub, empty, f"{self.solution}\n{stub}")
        return dict(zip(EXPECTED, map(new_code_cell, sources), strict=True))


def find_exercises(notebook: NotebookNode) -> list[Exercise]:
    """The exercises of a page.

    Raises: ValueError: an exercise that is not written as above; the message says which and what.
    """
    stubs = {
        tag.removeprefix("exercise-"): cell.source
        for cell in code_cells(notebook)
        for tag in tags(cell)
        if re.fullmatch(r"exercise-\d+", tag)
    }
    solutions = {
        number: PYTHON_BLOCK.findall(body)
        for source in markdown_cells(notebook)
        for number, body in SOLUTION.findall(source)
    }
    if stubs.keys() != solutions.keys():
        raise ValueError(f"each exercise has a stub and a solution: stubs {[*stubs]}, solutions {[*solutions]}")
    for number, blocks in solutions.items():
        if len(blocks) != 1:
            raise ValueError(f"solution {number} needs one python block, found {len(blocks)}")
    return [Exercise(number, _first_function(stub), solutions[number][0]) for number, stub in stubs.items()]


def _first_function(source: str) -> str:
    return next(node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))


def rehearse(notebook: NotebookNode, folder: Path) -> list[str]:
    """Execute a copy of the page once, with every change and every trial of an exercise; what went otherwise.

    After a cell that a prompt asks to change, the changed one runs, then the cell as it was, so that the rest of the
    page finds what it expects. A page that asks for nothing is not executed.

    Raises:
        ValueError: a prompt or an exercise that is not written as it should be.
        nbclient.exceptions.CellExecutionError: a cell of the page fails.
    """
    prompts, exercises = find_prompts(notebook), find_exercises(notebook)
    if not prompts and not exercises:
        return []
    changes = {prompt: changed(prompt, notebook.cells[prompt.target]) for prompt in prompts}
    trials = {exercise: exercise.trials() for exercise in exercises}
    cells = [*_with_changes(notebook, changes), *(cell for three in trials.values() for cell in three.values())]
    script = new_notebook(cells=cells, metadata=notebook.metadata)
    NotebookClient(script, timeout=TIMEOUT, resources={"metadata": {"path": str(folder)}}).execute()
    found = [problem_with(prompt, notebook.cells[prompt.target], after) for prompt, after in changes.items()]
    found += [
        f"the checker of exercise {exercise.number} {answer} {what}, expected: {EXPECTED[what]}"
        for exercise, three in trials.items()
        for what, cell in three.items()
        if (answer := printed(cell)[-1]) != EXPECTED[what]
    ]
    return [problem for problem in found if problem]


def _with_changes(notebook: NotebookNode, changes: dict[Prompt, NotebookNode]) -> Iterator[NotebookNode]:
    for index, cell in enumerate(notebook.cells):
        yield cell
        for prompt, other in changes.items():
            if prompt.target == index:
                yield other
                yield new_code_cell(cell.source)
