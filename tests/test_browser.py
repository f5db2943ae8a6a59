"""The built book in a real browser that has no network: what a reader sees, hears, presses and finds."""

import mimetypes
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Locator, Page, Route, sync_playwright
from test_book import CHAPTERS, tags_of

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("no Chromium on the PATH: the browser tests are left out", allow_module_level=True)

TOC = (Path(__file__).parent.parent / "_toc.yml").read_text(encoding="utf-8")
PAGES = [*re.findall(r"(?:root|file): (\S+)", TOC), "search"]
CHAPTER_PAGES = [f"notebooks/{chapter}" for chapter in CHAPTERS]
# A host that does not exist: the browser gets the files of the book from the test, and nothing from anywhere else.
HOST = "https://book.test"

WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}


class Opened(NamedTuple):
    """A page in a tab, and what went wrong in it since it was opened: errors of its scripts, requests elsewhere."""

    page: Page
    troubles: list[str]


@pytest.fixture(scope="module")
def browser_context(book: Path) -> Iterator[BrowserContext]:
    """A window of 1400 x 900 that only reaches the book, and whose reader asked for no animations."""

    def serve(route: Route) -> None:
        address = urlsplit(route.request.url)
        path = book / unquote(address.path).lstrip("/")
        if route.request.url.startswith((f"{HOST}/", book.as_uri())) and (address.scheme == "file" or path.is_file()):
            if address.scheme == "file":
                route.continue_()
            else:
                route.fulfill(path=path, content_type=mimetypes.guess_type(path)[0])
        else:
            route.abort()

    with sync_playwright() as playwright:
        # Whatever slips past the route finds no host.
        arguments = ["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        context = browser.new_context(viewport=WIDE, reduced_motion="reduce", service_workers="block")
        context.route("**/*", serve)
        yield context
        browser.close()
