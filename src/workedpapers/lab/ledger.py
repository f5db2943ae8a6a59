"""The ledger: which tagged equations and errata the notebooks of a paper state, and which checks of them ran.

Everything is read from the notebook files; nothing is executed. Cells are counted from 0, as in the file. A paper has
one page, or three: NAME, NAME_experiments and NAME_theory.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

EQUATION_TAG = re.compile(r"[A-Z]+\.[0-9]+[a-z]?")
ERRATUM_TAG = re.compile(r"[A-Z]+\.E[0-9]+[a-z]?")

Kind = Literal["equation", "erratum"]
_PAGES = re.compile(r"_(experiments|theory)$")  # what follows the paper's name in the stem of a further page
_FUNCTIONS: dict[str, str] = {"check": "✓", "refute": "✗"}
_MARKS: dict[Kind, str] = {"equation": "✓", "erratum": "✗"}

_FENCE = re.compile(r"[\s>]*(?P<mark>`{3,}|~{3,})(?P<info>.*)")
_INLINE_CODE = re.compile(r"(?<![`\\])(`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)\1(?!`)", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(?P<title>.*?)[ \t]*#*[ \t]*$", re.MULTILINE)
_DISPLAY = re.compile(r"\$\$(?P<body>.+?)\$\$", re.DOTALL)
_TAG = re.compile(r"\\tag\*?\s*\{\s*(?P<tag>[^}]*?)\s*\}")
_MAGIC = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One tagged equation or erratum of a notebook.

    Attributes: `tag`, such as FW.4 or FW.E1; `kind`; `notebook`, the file's stem; `text`, what its checks say is
    equal (different, for an erratum), empty if none ran; `heading`, the nearest one above; `formula`, its LaTeX
    without the tag; `cell`, the index of the Markdown cell.
    """

    tag: str
    kind: Kind
    notebook: str
    text: str
    heading: str
    formula: str
    cell: int


@dataclass(frozen=True)
class _Tag:
    tag: str
    heading: str
    formula: str | None  # None: the tag stands in no $$ … $$
    notebook: str
    cell: int

    @property
    def place(self) -> str:
        return f"{self.notebook}, cell {self.cell}"

    @property
    def kind(self) -> Kind | None:
        if EQUATION_TAG.fullmatch(self.tag):
            return "equation"
        return "erratum" if ERRATUM_TAG.fullmatch(self.tag) else None


@dataclass(frozen=True)
class _Call:
    name: str
    tag: str | None  # None: not a literal
    text: str | None

    def printed(self, line: "_Line") -> bool:
        """Whether this call can have printed that line."""
        own_text = self.text is None or self.text == line.text
        return own_text and (line.mark, line.tag) == (_FUNCTIONS[self.name], self.tag)


@dataclass(frozen=True)
class _Line:
    mark: str
    tag: str
    text: str

    def __str__(self) -> str:
        return f"{self.mark} {self.tag} {self.text}".rstrip()


def ledger(notebook_paths: Iterable[str | Path]) -> list[Entry]:
    """All tagged equations and errata of the notebooks, in reading order."""
    return [entry for path in notebook_paths for entry in read_notebook(path)]


def read_notebook(path: str | Path) -> list[Entry]:
    """The tagged equations and errata of one notebook, in reading order; `problems` tells if they hold.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a notebook (nbformat 4).
    """
    cells = _cells(path)
    lines = [line for cell in cells for line in _lines(cell)]
    entries = []
    for tag in _tags(cells, path):
        if tag.kind:
            texts = (line.text for line in lines if (line.mark, line.tag) == (_MARKS[tag.kind], tag.tag))
            text = "; ".join(dict.fromkeys(texts))
            formula = tag.formula or ""
            entries.append(Entry(tag.tag, tag.kind, tag.notebook, text, tag.heading, formula, tag.cell))
    return entries


def paper_of(stem: str) -> str:
    """The paper that a notebook belongs to: its stem without what names a further page."""
    return _PAGES.sub("", stem)


def problems(*paths: str | Path) -> list[str]:
    """Every hole in the ledger of one paper, given its notebooks, in plain words; a sound paper gives an empty list.

    Over the pages of a paper a tag is stated once. A check that ran on that page covers it; other pages may check it
    again.

    Raises: as `read_notebook`.
    """
    pages = {Path(path).stem: _cells(path) for path in paths}
    tags = [tag for path in paths for tag in _tags(pages[Path(path).stem], path)]
    found = list(_tag_problems(tags))
    known = {tag.tag for tag in tags}
    for page, cells in pages.items():
        found += [f"{page}, {problem}" for problem in _execution_problems(cells)]
        printed: set[tuple[str, str]] = set()
        for index, cell in enumerate(cells):
            lines = _lines(cell)
            printed |= {(line.mark, line.tag) for line in lines}
            found += [
                f"{page}, cell {index}: '{line}' is printed, but no Markdown cell has the tag {line.tag or '(none)'}"
                for line in lines
                if line.tag not in known
            ]
            found += [f"{page}, cell {index}: {problem}" for problem in _call_problems(cell, lines)]
        for tag in tags:
            if tag.notebook == page and tag.kind and (_MARKS[tag.kind], tag.tag) not in printed:
                function = "check" if tag.kind == "equation" else "refute"
                line = f"{_MARKS[tag.kind]} {tag.tag}"
                found.append(f"{tag.place}: {tag.kind} {tag.tag} has no {function} that ran (no '{line} …' line)")
    return found


def _execution_problems(cells: list[dict[str, Any]]) -> Iterator[str]:
    expected = 1
    for index, cell in enumerate(cells):
        if cell["cell_type"] != "code":
            continue
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            yield f"cell {index}: its output is an error"
        count = cell["execution_count"]
        if count is None:
            if _joined(cell["source"]).strip():
                yield f"cell {index}: the code was never executed"
            continue
        if count != expected:
            yield f"cell {index}: executed out of order: execution count {count}, expected {expected}"
        expected = count + 1


def _tag_problems(tags: list[_Tag]) -> Iterator[str]:
    prefixes = Counter(tag.tag.partition(".")[0] for tag in tags if tag.kind)
    prefix = prefixes.most_common(1)[0][0] if prefixes else ""
    first: dict[str, str] = {}
    for tag in tags:
        if tag.kind is None:
            yield f"{tag.place}: tag '{tag.tag}' is neither an equation's (FW.4) nor an erratum's (FW.E1)"
        elif not tag.tag.startswith(f"{prefix}."):
            yield f"{tag.place}: tag {tag.tag} lacks the prefix of this paper, {prefix}"
        if tag.formula is None:
            yield f"{tag.place}: tag {tag.tag} stands outside $$ … $$"
        if tag.tag in first:
            yield f"{tag.place}: duplicate tag {tag.tag}, already in {first[tag.tag]}"
        first.setdefault(tag.tag, tag.place)


def _call_problems(cell: dict[str, Any], lines: list[_Line]) -> Iterator[str]:
    try:
        calls = _calls(cell)
    except SyntaxError as error:
        yield f"the code cannot be parsed: {error.msg}"
        return
    # A call whose text is known takes its line first, so that a call with a computed text does not take it.
    unclaimed = list(lines)
    for call in sorted(calls, key=lambda call: call.text is None):
        if call.tag is None:
            yield f"{call.name} is called without a literal tag as its first argument"
            continue
        own = next((line for line in unclaimed if call.printed(line)), None)
        if own:
            unclaimed.remove(own)
        else:
            shown = _Line(_FUNCTIONS[call.name], call.tag, call.text or "…")
            yield f"{call.name}(\"{call.tag}\", …) did not run: '{shown}' is not in the output of its cell"
    for line in lines:
        if not any(call.printed(line) for call in calls):
            yield f"'{line}' is printed, but the cell has no check or refute call that prints it"


def _cells(path: str | Path) -> list[dict[str, Any]]:
    try:
        notebook = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected a notebook, found a file that is not JSON: {error}") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ValueError(f"{path}: expected a notebook in nbformat 4, found no list of cells")
    cells: list[dict[str, Any]] = notebook["cells"]
    return cells


def _joined(text: str | list[str]) -> str:
    """Multi-line text of a notebook file, which may be one string or a list of them."""
    return text if isinstance(text, str) else "".join(text)


def _tags(cells: list[dict[str, Any]], path: str | Path) -> list[_Tag]:
    """The tags of the Markdown cells of a notebook, in reading order."""
    tags = []
    heading = ""
    for index, cell in enumerate(cells):
        if cell["cell_type"] != "markdown":
            continue
        text = _without_code(_joined(cell["source"]))
        displays = list(_DISPLAY.finditer(text))
        # Headings and tags in the order of the text: a tag takes the heading last seen.
        for match in sorted((*_HEADING.finditer(text), *_TAG.finditer(text)), key=re.Match.start):
            if match.re is _HEADING:
                heading = match["title"]
                continue
            around = next((d for d in displays if d.start() < match.start() < d.end()), None)
            formula = _TAG.sub("", around["body"]).strip() if around else None
            tags.append(_Tag(match["tag"], heading, formula, Path(path).stem, index))
    return tags


def _without_code(markdown: str) -> str:
    """Markdown without its fenced code, inline code and comments."""
    kept = []
    closing: re.Pattern[str] | None = None
    for line in markdown.split("\n"):
        if closing:
            if closing.fullmatch(line):
                closing = None
            continue
        fence = _FENCE.match(line)
        if fence and not (fence["mark"][0] == "`" and "`" in fence["info"]):
            closing = re.compile(rf"[\s>]*{fence['mark']}{fence['mark'][0]}*\s*")
            line = ""  # a blank line, so that no inline code spans the fence
        kept.append(line)
    return _COMMENT.sub("", _INLINE_CODE.sub("", "\n".join(kept)))


def _lines(cell: dict[str, Any]) -> list[_Line]:
    """The lines in the cell's stored standard output that begin with a check's or a refutation's mark."""
    if cell["cell_type"] != "code":
        return []
    streams = (o for o in cell["outputs"] if o["output_type"] == "stream" and o["name"] == "stdout")
    printed = "".join(_joined(stream["text"]) for stream in streams).split("\n")
    parts = ((line[0], *line[1:].strip().partition(" ")) for line in printed if line.startswith(("✓", "✗")))
    return [_Line(mark, tag, text) for mark, tag, _, text in parts]


def _calls(cell: dict[str, Any]) -> list[_Call]:
    """The check and refute calls in the cell's code, wherever they stand."""
    if cell["cell_type"] != "code":
        return []
    source = _joined(cell["source"])
    try:
        tree = ast.parse(source)
    except SyntaxError:  # IPython's lines (%magic, !command) are not Python
        tree = ast.parse(_MAGIC.sub(r"\1pass", source))
    calls = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := _function(node.func)) in _FUNCTIONS:
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            text = node.args[3] if len(node.args) > 3 else keywords.get("text")
            calls.append(_Call(name, _literal(node.args[0] if node.args else None), _literal(text)))
    return calls


def _function(node: ast.expr) -> str:
    """`check` for `check` and `lab.check`; other objects' methods of that name are not ours."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lab":
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _literal(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
