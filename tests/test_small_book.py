"""What the book's extensions make of a paper of three pages: links, anchors, lists, redirects, and their warnings."""

import re

import pytest
from bs4 import BeautifulSoup, Tag


@pytest.fixture
def page(small_book):
    def page(name: str) -> BeautifulSoup:
        return BeautifulSoup((small_book.pages / f"{name}.html").read_text(encoding="utf-8"), "html.parser")

    return page


def links(part: Tag) -> list[tuple[str, str]]:
    """The text and the address of the links in the paragraphs of an article."""
    found = part.select("article p a, article td a")
    return [(" ".join(link.get_text().split()), link["href"]) for link in found]


def test_a_reference_without_a_target_is_a_warning_and_nothing_else_is(small_book):
    assert small_book.said.count("WARNING") == 2
    assert re.findall(r"(\w+\.md:\d+): WARNING: (.+)", small_book.said) == [
        ("wrong.md:3", "undefined label: 'FW.99'"),
        ("wrong.md:3", "undefined label: 'notebooks/fast_weights section 7'"),
    ]


@pytest.mark.parametrize(
    ("name", "tags"),
    [("fast_weights", ["FW.1"]), ("fast_weights_theory", ["FW.2", "FW.E1"]), ("batch_norm", ["BN.1"])],
)
def test_every_tagged_equation_has_an_anchor(page, name, tags):
    for tag in tags:
        anchor = tag.lower().replace(".", "-")
        assert rf"\tag{{{tag}}}" in page(f"notebooks/{name}").select_one(f"div.math#{anchor}").get_text()


def test_references_in_running_text_are_links_and_others_are_not(page):
    assert links(page("notebooks/fast_weights")) == [
        ("FW.1", "#fw-1"),
        ("FW.2", "fast_weights_theory.html#fw-2"),
        ("FW.1", "https://example.org/"),
        ("section 2", "#end-of-fw-1"),
        ("sections 1", "#start"),
        ("2", "#end-of-fw-1"),
        ("section 1 of the theory", "fast_weights_theory.html#limit"),
        ("The theory", "fast_weights_theory.html"),
        ("FW.E1", "fast_weights_theory.html#fw-e1"),
    ]
    assert page("notebooks/fast_weights").select("h2 a.internal, pre a, code a, .math a") == []


def test_the_text_around_references_stays_as_it_was(page):
    text = " ".join(page("notebooks/fast_weights").select_one("section#start").get_text().split())
    assert "By (FW.1), not FW.2 or FW.1 or" in text
    assert "by section 2, Section 9, section 2 of the paper, section 2.1, sections 1 and 2 and section 1 of the" in text


def test_references_lead_from_page_to_page(page):
    assert links(page("notebooks/fast_weights_experiments")) == [("FW.2", "fast_weights_theory.html#fw-2")]
    assert links(page("notebooks/fast_weights_theory")) == [("FW.1", "fast_weights.html#fw-1"), ("section 1", "#limit")]
    assert links(page("book/index")) == [
        ("FW.1", "../notebooks/fast_weights.html#fw-1"),
        ("section 2", "../notebooks/fast_weights.html#end-of-fw-1"),
    ]


def test_a_link_to_an_equation_carries_its_formula(page):
    carried = [(link.get_text(), link["data-equation"]) for link in page("book/index").select("a[data-equation]")]
    assert carried == [("FW.1", "a = 1")]
    assert [link["data-equation"] for link in page("book/errata").select("a[data-equation]")] == ["b = 3"]


def test_the_ledger_groups_the_pages_of_a_paper_and_leads_to_equation_and_section(page):
    ledger = page("book/ledger")
    titles = [heading.find(string=True) for heading in ledger.select("article h2")]
    assert titles == ["Fast weights", "Batch norm"]
    assert links(ledger) == [
        ("FW.1", "../notebooks/fast_weights.html#fw-1"),
        ("Lesson: 1. Start", "../notebooks/fast_weights.html#start"),
        ("FW.2", "../notebooks/fast_weights_theory.html#fw-2"),
        ("Theory: 1. Limit", "../notebooks/fast_weights_theory.html#limit"),
        ("FW.E1", "../notebooks/fast_weights_theory.html#fw-e1"),
        ("Theory: 1. Limit", "../notebooks/fast_weights_theory.html#limit"),
        ("BN.1", "../notebooks/batch_norm.html#bn-1"),
        ("1. Start", "../notebooks/batch_norm.html#start"),
    ]


def test_the_fold_of_a_papers_pages_in_the_navigation_has_a_name(page):
    folds = page("book/index").select("nav summary")
    assert [fold["aria-label"] for fold in folds] == ["Pages of Fast weights"]


def test_the_errata_are_those_of_all_pages(page):
    assert [row.td.p.get_text() for row in page("book/errata").select("tbody tr")] == ["FW.E1"]


def test_the_scoreboard_leads_to_the_experiments(page):
    assert links(page("book/scoreboard")) == [
        ("Experiments", "../notebooks/fast_weights_experiments.html"),
        ("Chapter", "../notebooks/batch_norm.html"),
    ]


def test_a_page_that_has_moved_hands_on_to_the_new_one(small_book):
    assert "fast_weights.html" in (small_book.pages / "notebooks" / "old.html").read_text(encoding="utf-8")


def test_only_a_page_from_which_something_has_moved_has_the_script_for_it(page):
    assert "fast_weights_theory.html#limit" in str(page("notebooks/fast_weights").head)
    assert "hashchange" not in str(page("notebooks/fast_weights_theory").head)
