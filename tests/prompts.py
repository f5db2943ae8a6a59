"""The "Change it" prompts of a page: read from its Markdown, and tried.

Below a code cell stands

    **Change it.** In the cell above, write `lam = 0.5` for `lam = 0.9`. What happens to the newest score?

    <details><summary>What happens</summary>

    ```text
    ✗ lines that the changed cell prints, or its error as `ErrorName: message`
    a line that ends in … matches by its beginning…
    ```

    Why.

    </details>

The first two pieces of code are the new one and the old one. "The cell above" is the nearest code cell above that
has the old piece in it; it has it once.
"""

import re
from dataclasses import dataclass

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from pages import is_code, tags

MARK = re.compile(r"^\*\*Change it\.\*\*", re.MULTILINE)
ANY_MARK = re.compile(r"\*\*\s*change it\b", re.IGNORECASE)
CODE_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
FOLD = re.compile(r"<details>\s*<summary>What happens</summary>(.*?)</details>", re.DOTALL)
TEXT_BLOCK = re.compile(r"^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Prompt:
    """One change that a reader is asked to make.

    Attributes: `cell`, the index of the Markdown cell that asks; `target`, that of the code cell to change; `old` and
    `new` piece of code; `lines`, what the changed cell prints.
    """

    cell: int
    target: int
    old: str
    new: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"cell {self.cell}: `{self.new}` for `{self.old}`"


def find_prompts(notebook: NotebookNode) -> list[Prompt]:
    """The prompts of a page, in reading order.

    Raises: ValueError: a prompt that is not written as above; the message says where and what.
    """
    found = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            starts = [match.start() for match in MARK.finditer(cell.source)]
            if len(starts) != len(ANY_MARK.findall(cell.source)):
                raise ValueError(f'cell {index}: a prompt is a paragraph of its own that begins with "**Change it.**"')
            ends = [*starts[1:], len(cell.source)]
            found += [_read(notebook, index, cell.source[a:b]) for a, b in zip(starts, ends, strict=False)]
    return found


def _read(notebook: NotebookNode, index: int, text: str) -> Prompt:
    fold = FOLD.search(text)
    if not fold:
        raise ValueError(f"cell {index}: a prompt needs <details><summary>What happens</summary> … </details>")
    pieces = CODE_SPAN.findall(text[: fold.start()])
    if len(pieces) < 2:
        raise ValueError(f"cell {index}: a prompt names the new and the old piece of code, found {pieces}")
    blocks = TEXT_BLOCK.findall(fold[1])
    lines = tuple(line.rstrip() for block in blocks for line in block.splitlines() if line.strip())
    if len(blocks) != 1 or not lines:
        raise ValueError(f"cell {index}: the fold needs one ```text block with at least one line")
    new, old = pieces[:2]
    return Prompt(index, _target(notebook, index, old, new), old, new, lines)


def _target(notebook: NotebookNode, index: int, old: str, new: str) -> int:
    if old == new:
        raise ValueError(f"cell {index}: the new and the old piece of code are both `{old}`")
    above = (number for number in range(index - 1, -1, -1) if is_code(notebook.cells[number]))
    target = next((number for number in above if old in notebook.cells[number].source), None)
    if target is None:
        raise ValueError(f"cell {index}: no code cell above has `{old}` in it")
    if (count := notebook.cells[target].source.count(old)) > 1:
        raise ValueError(f"cell {index}: `{old}` occurs {count} times in the nearest cell that has it, {target}")
    if "hide-input" in tags(notebook.cells[target]):
        raise ValueError(f"cell {index}: the cell with `{old}`, {target}, is folded: a reader does not see it")
    return target


def changed(prompt: Prompt, cell: NotebookNode) -> NotebookNode:
    """The target as the reader changes it; it may end in an error."""
    return new_code_cell(cell.source.replace(prompt.old, prompt.new), metadata={"tags": ["raises-exception"]})


def problem_with(prompt: Prompt, before: NotebookNode, after: NotebookNode) -> str | None:
    """Why the executed change does not show what the prompt promises; None where it does."""
    missing = first_missing(prompt.lines, printed(after))
    if missing is not None:
        return f"{prompt}: the changed cell does not print {missing!r} (in this order), but\n{_quoted(after)}"
    ends = [f"{output.ename}: {output.evalue}" for output in after.outputs if output.output_type == "error"]
    if ends and not any(_matches(line, end.splitlines()[0]) for line in prompt.lines for end in ends):
        return f"{prompt}: the changed cell ends in an error of which the prompt says nothing:\n{_quoted(after)}"
    if first_missing(prompt.lines, printed(before)) is None:
        return f"{prompt}: shows nothing, the unchanged cell prints those lines, too:\n{_quoted(before)}"
    return None


def first_missing(lines: tuple[str, ...], output: list[str]) -> str | None:
    """The first of the lines that the output lacks below those before it."""
    rest = iter(output)
    return next((line for line in lines if not any(_matches(line, shown) for shown in rest)), None)


def _matches(line: str, shown: str) -> bool:
    return shown.startswith(line[:-1]) if line.endswith("…") else shown == line


def printed(cell: NotebookNode) -> list[str]:
    """The lines that a reader sees below an executed cell; of a traceback only the last."""
    texts: list[str] = []
    printing = False  # a kernel may send a line and its end in two messages
    for output in cell.outputs:
        if output.output_type == "stream":
            if output.name == "stdout" and printing:
                texts[-1] += output.text
            elif output.name == "stdout":
                texts.append(output.text)
                printing = True
            continue
        is_error = output.output_type == "error"
        texts.append(f"{output.ename}: {output.evalue}" if is_error else output.data.get("text/plain", ""))
        printing = False
    return [line.rstrip() for text in texts for line in text.splitlines()]


def _quoted(cell: NotebookNode) -> str:
    return "\n".join(f"    {line}" for line in printed(cell)) or "    (nothing)"
