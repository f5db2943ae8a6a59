"""What this book asks of Sphinx: the ledger and the scoreboard, made at build time, and no script from elsewhere."""

import importlib
import os
import pkgutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

import workedpapers.experiments
from workedpapers.lab.ledger import ledger
from workedpapers.lab.scoreboard import Claim, scoreboard_table

Paragraph = str | nodes.Node


def table(header: Sequence[str], rows: Iterable[Sequence[Sequence[Paragraph]]], kind: str) -> nodes.table:
    """A table whose cells hold paragraphs, each of text or one inline node."""
    group = nodes.tgroup(cols=len(header))
    group += [nodes.colspec(colwidth=1) for _ in header]
    group += [nodes.thead("", _row([[title] for title in header])), nodes.tbody("", *map(_row, rows))]
    return nodes.table("", group, classes=[kind])


def _row(cells: Iterable[Sequence[Paragraph]]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", *map(_paragraph, cell)) for cell in cells))


def _paragraph(content: Paragraph) -> nodes.paragraph:
    return nodes.paragraph("", "", nodes.Text(content) if isinstance(content, str) else content)


class BookDirective(SphinxDirective):
    """A directive that reads the tree of the book."""

    @property
    def chapters(self) -> list[str]:
        """The chapters of this book, as document names in the order of the table of contents."""
        pages = [page.docname for page in self.config.external_site_map.values()]
        return [page for page in pages if page.startswith("notebooks/") and page in self.env.found_docs]

    def notebook(self, chapter: str) -> Path:
        """The notebook of a chapter; the page is built again when it changes."""
        path = Path(self.env.doc2path(chapter))
        self.env.note_dependency(str(path))
        return path

    def link(self, chapter: str, heading: str = "") -> nodes.reference:
        """A link to a chapter, or to a section of it."""
        target = self.env.app.builder.get_relative_uri(self.env.docname, chapter)
        anchor = f"#{nodes.make_id(heading)}" if heading else ""
        text = heading or chapter.rpartition("/")[2].replace("_", " ").capitalize()
        return nodes.reference("", text, refuri=target + anchor, internal=True)


class Ledger(BookDirective):
    """The tagged equations and errata of the book, or those of one kind, with the checks that cover them."""

    option_spec: ClassVar = {"kind": lambda kind: directives.choice(kind, ("equation", "erratum"))}

    def run(self) -> list[nodes.Node]:
        """The directive's nodes."""
        chapters = {Path(chapter).name: chapter for chapter in self.chapters}
        kinds = (self.options["kind"],) if "kind" in self.options else ("equation", "erratum")
        entries = ledger([self.notebook(chapter) for chapter in self.chapters])
        entries = [entry for entry in entries if entry.kind in kinds]
        if not entries:
            return [nodes.paragraph("", "None is recorded yet.")]
        rows = (
            (
                (entry.tag, entry.kind),
                (nodes.math("", entry.formula), entry.text, self.link(chapters[entry.notebook], entry.heading)),
            )
            for entry in entries
        )
        return [table(("Tag", "Formula, what is checked, and where"), rows, "ledger")]


class Scoreboard(BookDirective):
    """Every claim of the papers beside our number, from the recorded rows."""

    def run(self) -> list[nodes.Node]:
        """The directive's nodes."""
        shown: list[nodes.Node] = []
        for chapter in self.chapters:
            claims = self.claims(Path(chapter).name)
            if claims:
                board = scoreboard_table(claims)
                header = [column.capitalize() for column in board]
                rows = ([[str(value)] for value in row] for row in board.itertuples(index=False))
                shown += [_paragraph(nodes.strong("", "", self.link(chapter))), table(header, rows, "scoreboard")]
        return shown or [nodes.paragraph("", "No result is recorded yet.")]

    def claims(self, chapter: str) -> Sequence[Claim]:
        """What `workedpapers.experiments.<chapter>.scoreboard()` returns, a list of `lab.scoreboard.Claim`."""
        package = Path(workedpapers.__path__[0])
        for path in (package / "experiments" / f"{chapter}.py", *sorted(package.glob("results/*.jsonl"))):
            self.env.note_dependency(str(path))
        if chapter not in {module.name for module in pkgutil.iter_modules(workedpapers.experiments.__path__)}:
            return []
        experiments = importlib.import_module(f"workedpapers.experiments.{chapter}")
        return experiments.scoreboard() if hasattr(experiments, "scoreboard") else []


def drop_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.Node | None) -> None:
    """Leave out the scripts of sphinx-thebe, which name a foreign host and which no page of this book uses."""
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in f"{script.filename or ''}{script.attributes.get('body') or ''}".lower()
    ]


def visit_citation(translator: HTML5Translator, citation: nodes.citation) -> None:
    """As docutils opens it, but a list item: browsers have dropped the role that docutils gives it."""
    HTML5Translator.visit_citation(translator, citation)
    translator.body[-1] = translator.body[-1].replace("doc-biblioentry", "listitem")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of this with Sphinx."""
    os.environ["WORKEDPAPERS_SHIPPED_ONLY"] = "1"  # no row of the reader who builds the book
    app.add_directive("ledger", Ledger)
    app.add_directive("scoreboard", Scoreboard)
    app.add_node(nodes.citation, override=True, html=(visit_citation, HTML5Translator.depart_citation))
    app.connect("html-page-context", drop_thebe, priority=900)  # after sphinx-thebe has added its scripts
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
