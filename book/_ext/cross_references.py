"""References in plain Markdown become links, since a notebook has to read the same everywhere.

- `FW.3` in running text leads to the equation with that tag, on whichever page it stands, as `#fw-3`.
- "section 9" on a page of a notebook leads to its heading that begins with "9.".
- A link to a notebook whose text says "section 3" leads to that heading there.
"""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.writers.html5 import HTML5Translator

from workedpapers.lab.ledger import ledger

TAG = r"\b[A-Z]{2,}\.E?[0-9]+[a-z]?\b"
# One section, or several, each of them a link. A section "of" something is none of this page.
SECTIONS = r"\b[Ss]ection(?:\s+\d+|s\s+\d+(?:(?:,\s+|,?\s+(?:and|or|to)\s+)\d+)*)\b(?!\.\d|\s+of\b)"
REFERENCE = re.compile(f"({TAG}|{SECTIONS})")
OPAQUE = (
    nodes.title,
    nodes.reference,
    nodes.literal,
    nodes.math,
    nodes.FixedTextElement,
    nodes.raw,
    nodes.label,
    addnodes.pending_xref,
    addnodes.download_reference,
)


class CrossReferences(SphinxTransform):
    """Name the tagged equations and the numbered sections of a page, and link what refers to one."""

    default_priority = 500

    def apply(self, **kwargs: Any) -> None:
        """Change the page."""
        page, targets = self.env.docname, self.env.get_domain("std")
        for equation in self.document.findall(nodes.math_block):
            for tag in re.findall(rf"\\tag\{{\s*({TAG})\s*\}}", equation.astext()):
                equation["ids"].append(nodes.make_id(tag))
                targets.note_hyperlink_target(tag, page, nodes.make_id(tag))
        self.numbers = set()
        for section in self.document.findall(nodes.section):
            if page.startswith("notebooks/") and (numbered := re.match(r"(\d+)\.\s", section[0].astext())):
                self.numbers.add(numbered[1])
                targets.note_hyperlink_target(f"{page} section {numbered[1]}", page, section["ids"][0])
        for link in self.document.findall(addnodes.pending_xref):
            named = re.search(r"\b[Ss]ection\s+(\d+)\b", link.astext())
            if named and link.get("refdomain") == "doc" and not link.get("reftargetid"):
                link.attributes |= to_label(f"{link['reftarget']} section {named[1]}")
        self.link_text(self.document)

    def link_text(self, node: nodes.Element) -> None:
        """Link what refers to an equation or a section in the running text below a node."""
        children: list[nodes.Node] = []
        for is_text, run in groupby(node.children, lambda child: isinstance(child, nodes.Text)):
            if is_text:  # a line break in the source parts a text
                children += self.linked("".join(child.astext() for child in run))
                continue
            for child in run:
                children.append(child)
                if not isinstance(child, OPAQUE):
                    self.link_text(child)
        for child in children:
            if isinstance(child, addnodes.pending_xref) and child.line is None:
                child.source, child.line = node.source, node.line  # where a warning says that it is
        node[:] = children

    def linked(self, text: str) -> Iterator[nodes.Node]:
        """The parts of a text, those that refer to something as links."""
        for part in REFERENCE.split(text):
            if re.fullmatch(TAG, part):
                yield link_to(part, part)
            elif not REFERENCE.fullmatch(part):
                yield nodes.Text(part)
            else:  # "section 9", or "sections 2", " and " and "5"
                for piece in re.split(r"([Ss]ections?\s+\d+|\d+)", part):
                    number = re.search(r"\d+", piece)
                    known = number and number[0] in self.numbers
                    label = f"{self.env.docname} section {number[0]}" if known else ""
                    yield link_to(label, piece) if label else nodes.Text(piece)


def link_to(label: str, text: str) -> addnodes.pending_xref:
    """A link that Sphinx resolves when all pages are read; it warns where there is no such label."""
    return addnodes.pending_xref("", nodes.inline("", text), **to_label(label))


def to_label(label: str) -> dict[str, Any]:
    """The attributes of such a link."""
    return {"refdomain": "std", "reftype": "ref", "refexplicit": True, "refwarn": True, "reftarget": label}


def read_equations(app: Sphinx, env: BuildEnvironment, pages: list[str]) -> None:
    """The formulas of the book by their anchors, for the cards that links to them show."""
    notebooks = [env.doc2path(page) for page in sorted(env.found_docs) if page.startswith("notebooks/")]
    env.equations = {nodes.make_id(entry.tag): entry.formula for entry in ledger(notebooks)}


def visit_reference(translator: HTML5Translator, link: nodes.reference) -> None:
    """As Sphinx opens it; a link to an equation carries its formula, which `equations.js` shows."""
    type(translator).visit_reference(translator, link)
    anchor = link.get("refid") or link.get("refuri", "").rpartition("#")[2]
    if formula := translator.builder.env.equations.get(anchor):
        carried = f'<a data-equation="{translator.attval(formula)}" '
        translator.body[-1] = translator.body[-1].replace("<a ", carried, 1)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of this with Sphinx."""
    app.add_transform(CrossReferences)
    app.add_node(nodes.reference, override=True, html=(visit_reference, HTML5Translator.depart_reference))
    app.connect("env-before-read-docs", read_equations)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
