"""The built book: no warning, no request to another host, no dead link, and all that the notebooks promise."""

import importlib
import json
import os
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup, Tag

import workedpapers.experiments
from workedpapers.lab.ledger import paper_of

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def tags_of(chapter: str) -> list[str]:
    """The equation and erratum tags in the Markdown cells of a notebook."""
    cells = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.findall(r"\\tag\{([^}]+)\}", text)


def frames(page: BeautifulSoup) -> Iterator[Tag]:
    """The images of a page, those of its explorables included."""
    yield from page.find_all("img")
    for script in page.find_all("script", type="text/html"):
        yield from BeautifulSoup(script.string or "", "html.parser").find_all("img")


def test_the_book_builds_without_a_warning(pages):
    assert {"book/index.html", "book/ledger.html"} < pages.keys()


def test_every_notebook_is_a_page(pages):
    assert {f"notebooks/{chapter}.html" for chapter in CHAPTERS} < pages.keys()


def test_no_page_shows_an_error_of_the_build(pages):
    assert [name for name, page in pages.items() if page.select(".problematic, .system-message")] == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_tagged_equation_stands_alone_in_the_page(pages, chapter):
    blocks = [block.get_text() for block in pages[f"notebooks/{chapter}.html"].select("div.math")]
    for tag in tags_of(chapter):
        (block,) = [block for block in blocks if rf"\tag{{{tag}}}" in block]
        # MathJax refuses \tag in these.
        assert not re.search(r"\\begin\{(split|aligned)", block), block


@pytest.mark.parametrize("paper", sorted({paper_of(chapter) for chapter in CHAPTERS}))
def test_every_paper_has_something_to_explore(pages, paper):
    own = [pages[f"notebooks/{chapter}.html"] for chapter in CHAPTERS if paper_of(chapter) == paper]
    assert any(page.select("[data-explorable]") for page in own)


def test_the_ledger_lists_every_tag_once(pages):
    listed = [row.td.p.get_text(strip=True) for row in pages["book/ledger.html"].select("table tbody tr")]
    assert listed == [tag for chapter in chapters_in_order() for tag in tags_of(chapter)]


def test_the_errata_page_lists_the_errata(pages):
    listed = [row.td.p.get_text(strip=True) for row in pages["book/errata.html"].select("table tbody tr")]
    assert listed == [tag for chapter in chapters_in_order() for tag in tags_of(chapter) if ".E" in tag]


def chapters_in_order() -> list[str]:
    """The chapters as the table of contents lists them."""
    return re.findall(r"file: notebooks/(\w+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))


def test_the_scoreboard_has_a_row_for_every_claim(pages):
    modules = pkgutil.iter_modules(workedpapers.experiments.__path__, "workedpapers.experiments.")
    experiments = [importlib.import_module(module.name) for module in modules]
    claims = [claim for module in experiments if hasattr(module, "scoreboard") for claim in module.scoreboard()]
    rows = pages["book/scoreboard.html"].select("table.scoreboard tbody tr")
    listed = [row.td.p.get_text(strip=True) for row in rows]
    assert sorted(listed) == sorted(claim.claim for claim in claims)


def test_the_scoreboard_counts_no_row_of_the_reader_who_builds_it(pages):
    assert "33.00" not in pages["book/scoreboard.html"].get_text()


def test_no_page_loads_anything_from_another_host(pages):
    for name, page in pages.items():
        for element in page.find_all(True):
            addresses = [element.get(key, "") for key in ("src", "srcset", "poster", "data", "action")]
            if element.name == "link":
                addresses.append(element.get("href", ""))
            assert not [a for a in addresses if re.match(r"\s*(https?:)?//", a)], f"{name}: {element}"
            if element.name in ("script", "style"):
                assert not re.search(r"https?://(?!www\.w3\.org/)", element.string or ""), f"{name}: {element}"


def test_no_style_sheet_loads_anything_from_another_host(book):
    for sheet in book.rglob("*.css"):
        remote = re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*", sheet.read_text(encoding="utf-8"))
        assert remote == [], sheet


def test_every_link_leads_to_a_file_and_an_anchor_that_exist(pages, book):
    anchors = {
        name: {element["id"] for element in page.find_all(id=True)}
        | {a["name"] for a in page.find_all("a", {"name": True})}
        for name, page in pages.items()
    }
    dead = []
    for name, page in pages.items():
        for element in page.find_all(href=True) + page.find_all(src=True):
            address = element.get("href", element.get("src"))
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or address in ("", "#"):
                continue
            target = (book / name).parent / unquote(parts.path) if parts.path else book / name
            key = os.path.relpath(target, book)
            if not target.is_file() or (
                parts.fragment and key in anchors and unquote(parts.fragment) not in anchors[key]
            ):
                dead.append(f"{name}: {address}")
    assert dead == []


def test_what_has_moved_is_gone_from_its_old_place_and_is_at_the_new_one(pages):
    moved = yaml.safe_load((ROOT / "book" / "moved.yml").read_text(encoding="utf-8"))
    for old, new in moved.items():
        old_page, _, old_anchor = old.partition("#")
        new_page, _, anchor = new.partition("#")
        assert bool(old_anchor) == bool(anchor), old
        assert f"{new_page}.html" in pages, f"{old}: {new} is no page"
        assert not anchor or pages[f"{new_page}.html"].find(id=anchor), f"{old}: {new} has no such anchor"
        if old_anchor:
            assert not pages[f"{old_page}.html"].find(id=old_anchor), f"{old} has not moved"
        else:
            assert not (ROOT / f"{old_page}.ipynb").exists(), f"{old} has not moved"


def test_every_picture_has_an_alternative_text(pages):
    for name, page in pages.items():
        for image in frames(page):
            alt = image.get("alt", "")
            assert alt.strip(), f"{name}: no alt text: {str(image)[:200]}"
            assert not re.search(r"\.(png|jpe?g|svg|gif)\b|[0-9a-f]{16}", alt), (
                f"{name}: a file name as alt text: {alt}"
            )
