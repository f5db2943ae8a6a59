"""The built book in a real browser with no network: what a reader sees, presses and finds."""

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import matplotlib
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Locator, Page, Route, expect, sync_playwright

from conftest import Built
from test_book import CHAPTERS, tags_of

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("no Chromium here: the browser tests are left out", allow_module_level=True)

TOC = (Path(__file__).parent.parent / "_toc.yml").read_text(encoding="utf-8")
PAGES = [*re.findall(r"(?:root|file): (\S+)", TOC), "search"]
# No such hosts exist. The tests hand the browser the files of the book and of the small one under these names, and
# nothing under any other.
HOST, SMALL = "https://book.test", "https://small.test"
UNFOLD = "document.querySelectorAll('details').forEach((fold) => (fold.open = true))"
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 120_000  # milliseconds that a busy machine may take for what is done in one or two seconds
expect.set_options(timeout=PATIENCE)
DESKTOPS = (1280, 1366, 1400, 1920)  # the widths of window in which every tag stands beside its equation


class Opened(NamedTuple):
    """A page in a tab, with all that went wrong in it since: errors it logged and addresses it asked for elsewhere."""

    page: Page
    troubles: list[str]


@pytest.fixture(scope="module")
def bare_fonts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings of a system with no fonts but DejaVu, wide ones; with none at all the browser does not start."""
    folder = tmp_path_factory.mktemp("fonts")
    dejavu = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    settings = folder / "fonts.conf"
    settings.write_text(f"<fontconfig><dir>{dejavu}</dir><cachedir>{folder}</cachedir></fontconfig>", encoding="utf-8")
    return settings


@pytest.fixture(scope="module")
def window(book: Path, small_book: Built, bare_fonts: Path) -> Iterator[BrowserContext]:
    """A browser that reaches the two books and nothing else, of a reader who asked for no animations.

    What could depend on the machine is at its worst: few fonts, and scroll bars that take their room.
    """

    def serve(route: Route) -> None:
        address = urlsplit(route.request.url)
        folder = book if f"{address.scheme}://{address.netloc}" == HOST else small_book.pages
        path = folder / unquote(address.path).lstrip("/")
        route.fulfill(path=path) if path.is_file() else route.fulfill(status=404)

    with sync_playwright() as playwright:
        # A request that slips past the routes finds no host.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--host-resolver-rules=MAP * ~NOTFOUND"],
            ignore_default_args=["--hide-scrollbars"],
            env=os.environ | {"FONTCONFIG_FILE": str(bare_fonts)},
        )
        context = browser.new_context(viewport=WIDE, reduced_motion="reduce", service_workers="block")
        context.set_default_timeout(PATIENCE)
        context.route("**/*", lambda route: route.abort())
        context.route(f"{HOST}/**", serve)
        context.route(f"{SMALL}/**", serve)
        context.route(f"{book.as_uri()}/**", lambda route: route.continue_())
        yield context
        browser.close()


def open_page(window: BrowserContext, address: str) -> Opened:
    """Open an address in a new tab; returns when its formulas are set."""
    opened = Opened(window.new_page(), [])

    def note(trouble: str) -> None:
        opened.troubles.append(trouble)

    at_home = (f"{HOST}/", f"{SMALL}/", "file:", "data:", "blob:")
    opened.page.on("console", lambda message: message.type == "error" and note(message.text))
    opened.page.on("pageerror", lambda error: note(str(error)))
    opened.page.on("request", lambda request: request.url.startswith(at_home) or note(f"asked for {request.url}"))
    opened.page.goto(address)
    settle(opened.page)
    return opened


def settle(page: Page) -> None:
    """Wait for the formulas and the fonts."""
    page.evaluate("async () => { await window.MathJax?.startup.promise; await document.fonts.ready; }")


@pytest.fixture(scope="module")
def visit(window: BrowserContext) -> Callable[[str], Opened]:
    """Show a page of the book, by its name in the table of contents, in a wide tab.

    The page that was asked for last stays open; a test that leaves its tab in another state closes it.
    """
    last: list[tuple[str, Opened]] = []

    def visit(name: str) -> Opened:
        if last and (last[0][0] != name or last[0][1].page.is_closed()):
            last.pop()[1].page.close()
        if not last:
            last.append((name, open_page(window, f"{HOST}/{name}.html")))
        last[0][1].page.set_viewport_size(WIDE)
        return last[0][1]

    return visit


@pytest.fixture(scope="module", params=PAGES)
def name(request: pytest.FixtureRequest) -> str:
    """A page of the book. The tests of a page run one after the other, so that it is loaded once."""
    return request.param


def test_a_page_logs_no_error_and_asks_no_other_host(visit, name):
    assert visit(name).troubles == []


def test_a_chapter_opens_from_a_file_without_a_server(window, book):
    page, troubles = open_page(window, (book / "notebooks" / f"{CHAPTERS[0]}.html").as_uri())
    with page:
        assert page.locator("mjx-container").count() > 0
        assert troubles == []


def test_every_formula_is_typeset(visit, name):
    page = visit(name).page
    # An unknown macro is no error to MathJax: it prints its name in red.
    wrong = page.locator("mjx-container:has(mjx-merror, [style*='color: red'])")
    assert wrong.all_text_contents() == []
    assert page.locator("mjx-container").count() == page.locator(".math").count()


def test_the_text_font_is_the_books_own(visit):
    loaded = "[...document.fonts].filter((font) => font.status == 'loaded').map((font) => [font.family, font.style])"
    fonts = [(family.strip('"'), style) for family, style in visit(f"notebooks/{CHAPTERS[0]}").page.evaluate(loaded)]
    assert {("Source Sans 3", "normal"), ("Source Sans 3", "italic")} <= set(fonts)
    assert any(family.startswith("MJX") for family, _ in fonts)


# The tags that stand in no formula of the page, and those that are cut off or whose equation is.
CUT_OFF = """(tags) => tags.filter((tag) => {
  const label = document.getElementById(`mjx-eqn:${tag}`);
  const frame = label?.closest("div.math").getBoundingClientRect();
  const formula = label?.closest("mjx-mtable").querySelector("mjx-table").getBoundingClientRect();
  return !label || formula.left < frame.left - 1 || formula.right > label.getBoundingClientRect().left
    || label.getBoundingClientRect().right > frame.right + 1;
})"""


def test_every_tag_is_in_sight_beside_its_equation(visit, name):
    page = visit(name).page
    tags = tags_of(Path(name).name) if name.startswith("notebooks/") else []
    for width in DESKTOPS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(CUT_OFF, tags) == [], f"{width} pixels wide"


def shown(explorable: Locator) -> tuple[int, str]:
    """A hash of the picture that an explorable shows now, and its text; fails where the picture is broken."""
    image = explorable.locator("img")
    image.evaluate("(image) => image.decode()")
    return hash(image.get_attribute("src")), image.get_attribute("alt")


def by_keyboard(control: Locator, end: str) -> None:
    """Give a control its first or last value by a key."""
    control.press({"first": "Home", "last": "End"}[end])


def by_mouse(control: Locator, end: str) -> None:
    """Give a control its first or last value by the mouse."""
    if control.get_attribute("type") == "range":
        control.scroll_into_view_if_needed()
        box = control.bounding_box()
        across = {"first": 2, "last": box["width"] - 2}[end]
        control.page.mouse.click(box["x"] + across, box["y"] + box["height"] / 2)
    else:  # the browser shows a drop-down list in a window of its own, out of reach
        control.select_option(index={"first": 0, "last": control.locator("option").count() - 1}[end])


@pytest.mark.parametrize("choose", [by_keyboard, by_mouse])
def test_every_control_changes_picture_and_text_and_back(visit, name, choose):
    page, troubles = visit(name)
    for explorable in page.locator("[data-explorable]").all():
        controls = explorable.locator("input, select").all()
        assert controls
        picture, text = shown(explorable)
        for control in controls:
            choose(control, "last")
            other_picture, other_text = shown(explorable)
            assert other_picture != picture, (text, control)
            assert other_text != text, (text, control)
            choose(control, "first")
            assert shown(explorable) == (picture, text)
    assert troubles == []


PICTURES = """() => Promise.all([...document.querySelectorAll("article img")].map(
  (image) => image.decode().then(() => [image.naturalWidth, image.alt])
))"""


def test_every_figure_is_loaded_and_has_a_sentence_for_those_who_do_not_see_it(visit, name):
    for width, text in visit(name).page.evaluate(PICTURES):
        assert width > 0, text
        assert re.search(r"\w+ \w+", text), text


COVERED = """(hashes) => hashes.filter((hash) => {
  location.hash = hash;
  const target = document.getElementById(decodeURIComponent(hash.slice(1)));
  const box = target.getClientRects()[0];
  if (!box) return true;
  const above = document.elementFromPoint(box.left + 1, Math.max(box.top, 0) + 1);
  return !above || !(target.contains(above) || above.contains(target));
})"""


@pytest.fixture(scope="module")
def anchors(book: Path) -> dict[str, set[str]]:
    """The anchors that links of the book name, by page."""
    named = defaultdict(set)
    for page in PAGES:
        for link in re.findall(r"""href=["']([^"']+#[^"']+|#[^"']+)["']""", (book / f"{page}.html").read_text("utf-8")):
            address = urlsplit(urljoin(f"{HOST}/{page}.html", link))
            named[address.path.removeprefix("/").removesuffix(".html")].add(f"#{address.fragment}")
    return named


def test_every_link_into_a_page_brings_its_target_into_sight(visit, name, anchors):
    assert visit(name).page.evaluate(COVERED, sorted(anchors[name])) == []


@pytest.mark.parametrize("cell", ["first-child", "last-child"])
def test_a_link_from_the_ledger_lands_on_its_equation_or_its_section(window, cell):
    page, troubles = open_page(window, f"{SMALL}/book/ledger.html")
    with page:
        link = page.locator(f"table.ledger td:{cell} a").last
        with page.expect_navigation():
            link.click()
        settle(page)
        assert 0 < page.locator(":target").bounding_box()["y"] < WIDE["height"] / 2
        assert troubles == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("old.html", "fast_weights.html"),
        ("old.html#end-of-fw-1", "fast_weights.html#end-of-fw-1"),
        ("old.html#the-limit", "fast_weights_theory.html#limit"),
        ("fast_weights.html#the-limit", "fast_weights_theory.html#limit"),
        ("fast_weights.html#start", "fast_weights.html#start"),  # still there
        ("fast_weights.html#unknown", "fast_weights.html#unknown"),
    ],
)
def test_an_old_address_leads_to_the_new_place(window, old, new):
    page, troubles = open_page(window, "about:blank")
    with page:
        page.goto(f"{SMALL}/notebooks/{old}")
        page.wait_for_url(f"{SMALL}/notebooks/{new}")
        page.wait_for_load_state()
        assert page.url == f"{SMALL}/notebooks/{new}"
        assert troubles == []


def test_an_old_address_that_is_typed_into_an_open_page_leads_to_the_new_place(window):
    page, troubles = open_page(window, f"{SMALL}/notebooks/fast_weights.html")
    with page:
        page.evaluate("location.hash = 'the-limit'")
        page.wait_for_url(f"{SMALL}/notebooks/fast_weights_theory.html#limit")
        assert troubles == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_link_shows_its_equation_to_pointer_and_keyboard(window, scheme):
    page, troubles = open_page(window, f"{SMALL}/notebooks/fast_weights.html")
    with page:
        page.emulate_media(color_scheme=scheme)
        card, link = page.locator("#equation-card"), page.locator("a[data-equation]")
        link.nth(1).hover()
        expect(link.nth(1)).to_have_attribute("aria-describedby", "equation-card")
        expect(card).to_be_visible()
        assert card.locator("mjx-assistive-mml").inner_text().split() == ["𝑏", "=", "2"]
        card.hover()  # the pointer may go from the link to the card
        page.wait_for_timeout(400)
        expect(card).to_be_visible()
        assert serious_violations(page, {}) == []
        page.keyboard.press("Escape")
        expect(card).to_have_count(0)
        page.mouse.move(0, 0)
        link.nth(0).focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Shift+Tab")
        expect(link.nth(0)).to_be_focused()
        expect(card).to_be_visible()
        page.keyboard.press("Escape")
        expect(card).to_have_count(0)
        expect(link.nth(0)).to_be_focused()
        assert troubles == []


def test_the_card_of_a_wide_equation_fits_a_phone(visit):
    page, _ = visit(f"notebooks/{CHAPTERS[0]}")
    page.set_viewport_size(PHONE)
    links = page.locator("article a[data-equation]")
    lengths = links.evaluate_all("(links) => links.map((link) => link.dataset.equation.length)")
    links.nth(lengths.index(max(lengths))).hover()
    card = page.locator("#equation-card")
    expect(card).to_be_visible()
    box, formula = card.bounding_box(), card.locator("mjx-math").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]
    assert formula["x"] + formula["width"] <= box["x"] + box["width"]
    page.keyboard.press("Escape")


# What sticks out to the right can be scrolled to inside an ancestor. What starts left of the page is lost at first
# sight, even there. The formulas' own text for screen readers is not seen.
SEEN = "article *:not(mjx-assistive-mml, mjx-assistive-mml *)"
OUTSIDE = """(seen) => [...document.querySelectorAll(seen)].filter((part) => {
  const { left, right } = part.getBoundingClientRect();
  if (left < -1) return true;
  if (right <= innerWidth + 1) return false;
  for (let box = part; box != document.body; box = box.parentElement)
    if (["auto", "scroll"].includes(getComputedStyle(box).overflowX)) return false;
  return true;
}).map((part) => part.outerHTML.slice(0, 200))"""


def test_a_page_fits_a_phone(visit, name):
    page = visit(name).page
    page.set_viewport_size(PHONE)
    page.evaluate(UNFOLD)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate(OUTSIDE, SEEN) == []


# axe would spend its time on thousands of parts of a few kinds. The first formulas and one code token of each class
# speak for all, and of the rest two of each kind: parts with the same kinds of parts around and inside look the same.
THIN_OUT = """() => {
  [...document.querySelectorAll("mjx-container")].slice(5).forEach((formula) => formula.remove());
  const tokens = new Set(), seen = {};
  for (const token of document.querySelectorAll("pre span"))
    tokens.has(token.className) ? token.replaceWith(token.textContent) : tokens.add(token.className);
  const look = (part) => `${part.localName}.${part.className}.${part.getAttribute("style")}`.replace(/tag_\\S+/g, "");
  const kind = (part) => {
    const kinds = new Set([...part.querySelectorAll(":not(mjx-container *, pre *)")].map(look));
    for (let around = part; around; around = around.parentElement) kinds.add(look(around));
    return [...kinds].sort().join();
  };
  for (const part of document.querySelectorAll("li, tr, article :is(p, pre, .math, .copybtn, .cell)"))
    if (part.isConnected && (seen[kind(part)] = (seen[kind(part)] ?? 0) + 1) > 2) part.remove();
}"""


def test_axe_finds_no_serious_violation_in_light_or_dark(visit, name):
    with visit(name).page as page:
        page.evaluate(UNFOLD)
        page.evaluate(THIN_OUT)
        assert serious_violations(page, {}) == []
        # The page follows the reader's system, as long as its button was not pressed. Only colours differ then.
        page.emulate_media(color_scheme="dark")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        assert serious_violations(page, {"runOnly": ["color-contrast", "link-in-text-block"]}) == []


def serious_violations(page: Page, options: dict[str, object]) -> list[tuple[str, list[object]]]:
    """The rules of axe that the page breaks gravely, and where."""
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False} | options).response["violations"]
    grave = [violation for violation in found if violation["impact"] in ("serious", "critical")]
    return [(violation["id"], [node["target"] for node in violation["nodes"]]) for violation in grave]


def test_the_search_finds_a_heading_by_some_of_its_words(window):
    page, troubles = open_page(window, f"{SMALL}/search.html?q=fw+END")
    with page:
        found = page.locator("#search-results li a").first
        expect(found).to_have_text("Fast weights > 2. End of FW.1")
        found.click()
        page.wait_for_url(f"{SMALL}/notebooks/fast_weights.html#end-of-fw-1")
        assert troubles == []


@pytest.mark.parametrize(("word", "chapter"), [("Hebb", "fast_weights")])
def test_the_search_finds_a_word_of_the_chapter(visit, word, chapter):
    page, troubles = visit("book/index")
    with page:
        page.locator(".search-button__button").first.click()
        page.keyboard.type(word)
        page.keyboard.press("Enter")
        found = page.locator(f"#search-results li:has(a[href*='notebooks/{chapter}.html'])")
        expect(found.first).to_contain_text(word)
        assert troubles == []
