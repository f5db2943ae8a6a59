"""The ledger and the scoreboard, made when the book is built; a search for headings; no script from elsewhere."""

import importlib
import os
import pkgutil
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from cross_references import link_to
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

import workedpapers.experiments
from workedpapers.lab.ledger import ledger, paper_of
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
    def papers(self) -> dict[str, list[str]]:
        """The papers of this book with their pages, document names, in the order of the table of contents."""
        papers: dict[str, list[str]] = {}
        for page in (document.docname for document in self.config.external_site_map.values()):
            if page.startswith("notebooks/") and page in self.env.found_docs:
                papers.setdefault(paper_of(Path(page).name), []).append(page)
        return papers

    def notebook(self, page: str) -> Path:
        """The notebook of a page; this page is built again when it changes."""
        path = Path(self.env.doc2path(page))
        self.env.note_dependency(str(path))
        return path

    def link(self, page: str, text: str, heading: str = "") -> nodes.reference:
        """A link to a page of a paper, or to a section of it."""
        target = self.env.app.builder.get_relative_uri(self.env.docname, page)
        anchor = f"#{nodes.make_id(heading)}" if heading else ""
        return nodes.reference("", text, refuri=target + anchor, internal=True)

    def section(self, paper: str, *content: nodes.Node) -> nodes.section:
        """What there is of one paper, under its name."""
        section = nodes.section("", nodes.title("", name_of(paper)), *content, ids=[nodes.make_id(paper)])
        self.state.document.note_implicit_target(section)
        return section


def name_of(paper: str) -> str:
    """What a paper, or a kind of page, is called in the lists of the book."""
    return paper.replace("_", " ").capitalize()


class Ledger(BookDirective):
    """The tagged equations and errata of the book, or those of one kind, with the checks that cover them."""

    option_spec: ClassVar = {"kind": lambda kind: directives.choice(kind, ("equation", "erratum"))}

    def run(self) -> list[nodes.Node]:
        """The directive's nodes."""
        kinds = (self.options["kind"],) if "kind" in self.options else ("equation", "erratum")
        shown: list[nodes.Node] = []
        for paper, pages in self.papers.items():
            names = {Path(page).name: page for page in pages}
            rows = []
            for entry in ledger([self.notebook(page) for page in pages]):
                if entry.kind not in kinds:
                    continue
                kind = entry.notebook.removeprefix(paper).strip("_") or "lesson"
                where = f"{name_of(kind)}: {entry.heading}" if len(pages) > 1 else entry.heading
                section = self.link(names[entry.notebook], where, entry.heading)
                tag = link_to(entry.tag, entry.tag)
                self.set_source_info(tag)
                rows.append(((tag, entry.kind), (nodes.math("", entry.formula), entry.text, section)))
            if rows:
                header = ("Tag", "Formula, what is checked, and where")
                shown.append(self.section(paper, table(header, rows, "ledger")))
        return shown or [nodes.paragraph("", "None is recorded yet.")]


class Scoreboard(BookDirective):
    """Every claim of the papers beside our number, from the recorded rows."""

    def run(self) -> list[nodes.Node]:
        """The directive's nodes."""
        shown: list[nodes.Node] = []
        for paper, pages in self.papers.items():
            claims = self.claims(paper)
            if claims:
                board = scoreboard_table(claims)
                header = [column.capitalize() for column in board]
                rows = ([[str(value)] for value in row] for row in board.itertuples(index=False))
                page = next((page for page in pages if page.endswith("_experiments")), pages[0])
                where = self.link(page, name_of(Path(page).name.removeprefix(paper).strip("_") or "chapter"))
                shown.append(self.section(paper, _paragraph(where), table(header, rows, "scoreboard")))
        return shown or [nodes.paragraph("", "No result is recorded yet.")]

    def claims(self, paper: str) -> Sequence[Claim]:
        """What `workedpapers.experiments.<paper>.scoreboard()` returns, a list of `lab.scoreboard.Claim`."""
        package = Path(workedpapers.__path__[0])
        for pattern in (f"experiments/{paper}.py", f"experiments/{paper}/*.py", "results/*.jsonl"):
            for path in sorted(package.glob(pattern)):
                self.env.note_dependency(str(path))
        if paper not in {module.name for module in pkgutil.iter_modules(workedpapers.experiments.__path__)}:
            return []
        experiments = importlib.import_module(f"workedpapers.experiments.{paper}")
        return experiments.scoreboard() if hasattr(experiments, "scoreboard") else []


class FoldTitles(SphinxPostTransform):
    """A folded cell goes by the title that Colab shows for it."""

    default_priority = 198  # just before myst-nb folds the cells
    formats = ("html",)

    def run(self, **_: object) -> None:
        """Name every fold of the page."""
        for cell in self.document.findall(nodes.container):
            if cell.get("hide_mode") and (title := re.match(r"# @title (.+)", cell.astext())):
                cell["prompt_show"] = cell["prompt_hide"] = f"{title[1]} ({{type}})"


def drop_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.Node | None) -> None:
    """Leave out the scripts of sphinx-thebe, which name a foreign host and which no page of this book uses."""
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in f"{script.filename or ''}{script.attributes.get('body') or ''}".lower()
    ]


def name_toggles(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.Node | None) -> None:
    """Give a name to what folds the pages of a paper in the navigation; the theme gives it none."""
    make = context["generate_toctree_html"]

    def named(*args: Any, **options: Any) -> Any:
        tree = make(*args, **options)
        for fold in tree.select("li > details") if tree else []:
            fold.summary["aria-label"] = f"Pages of {fold.parent.a.get_text().strip()}"
        return tree

    context["generate_toctree_html"] = named


def search_headings(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.Node | None) -> None:
    """Let the page of the search find headings."""
    if page == "search":
        app.add_js_file("search_headings.js", loading_method="defer")  # after Sphinx's own scripts


def visit_citation(translator: HTML5Translator, citation: nodes.citation) -> None:
    """As docutils opens it, but a list item: browsers have dropped the role that docutils gives it."""
    HTML5Translator.visit_citation(translator, citation)
    translator.body[-1] = translator.body[-1].replace("doc-biblioentry", "listitem")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of this with Sphinx."""
    os.environ["WORKEDPAPERS_SHIPPED_ONLY"] = "1"  # no row of the reader who builds the book
    app.add_directive("ledger", Ledger)
    app.add_directive("scoreboard", Scoreboard)
    app.add_post_transform(FoldTitles)
    app.add_node(nodes.citation, override=True, html=(visit_citation, HTML5Translator.depart_citation))
    app.connect("html-page-context", search_headings)
    app.connect("html-page-context", name_toggles, priority=900)  # after the theme
    app.connect("html-page-context", drop_thebe, priority=900)  # after sphinx-thebe has added its scripts
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
