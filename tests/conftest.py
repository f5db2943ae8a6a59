"""What several tests share: the book, a small one, `--papers`, long tests, a reader with own rows."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from bs4 import BeautifulSoup
from filelock import FileLock

from pages import PAPERS
from small_book import write_small_book
from workedpapers.lab.ledger import paper_of

ROOT = Path(__file__).parent.parent
# Fixtures that take minutes, whatever the paper: the built book, and pip.
SHARED_BY_ALL = {"book", "small_book", "registry"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option that `make test NAMES=…` passes on."""
    parser.addoption("--papers", default="", metavar="NAMES", help="only what belongs to these papers alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests in the files of the papers, and those whose parameters name a paper or one of its pages."""
    wanted = set(config.getoption("--papers").split())
    if unknown := wanted - set(PAPERS):
        raise pytest.UsageError(f"no such paper: {', '.join(sorted(unknown))}; there are {', '.join(PAPERS)}")
    if wanted:
        kept = [item for item in items if wanted & papers_of(item) and not SHARED_BY_ALL & set(item.fixturenames)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
    if not os.environ.get("WORKEDPAPERS_FULL"):
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="takes long: set WORKEDPAPERS_FULL, as .ci/run does"))


def papers_of(item: pytest.Item) -> set[str]:
    """The papers that a test belongs to: by its file, test_PAPER.py or test_PAPER_….py, and by its parameters."""
    file = f"{item.path.stem.removeprefix('test_')}_"
    by_file = [paper for paper in PAPERS if file.startswith(f"{paper}_")]
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    names = {value.stem if isinstance(value, Path) else value for value in parameters if isinstance(value, str | Path)}
    return {*sorted(by_file, key=len)[-1:], *map(paper_of, names)}


class Built(NamedTuple):
    """A built book: the exit status, all that was said, and the folder of the pages."""

    status: int
    said: str
    pages: Path


def build(source: Path, output: Path, *options: str, environment: Mapping[str, str] = os.environ) -> Built:
    """Build a book."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "-n", "--keep-going", *options]
    run = subprocess.run(
        [*command, "--path-output", output],
        cwd=source,
        env={**environment, "WORKEDPAPERS_QUIET": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,  # a page that starts to train must not hold up the tests
    )
    said = re.sub(r"\x1b\[[\d;]*m", "", run.stdout + run.stderr)  # the builder insists on colours
    return Built(run.returncode, said, output / "_build" / "html")


def once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Built]) -> Built:
    """What `make` builds in a folder of that name; once, also where several workers ask for it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, log = shared / name, shared / f"{name}.json"
    with FileLock(shared / f"{name}.lock"):
        if not log.exists():
            folder.mkdir()
            status, said, pages = make(folder)
            log.write_text(json.dumps([status, said, str(pages)]))
    status, said, pages = json.loads(log.read_text())
    return Built(status, said, Path(pages))


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a reader whose own rows say that every model of *Fast weights* errs in 33% of the cases."""
    folder = tmp_path_factory.mktemp("own")
    rows = (ROOT / "src" / "workedpapers" / "results" / "fast_weights.jsonl").read_text(encoding="utf-8")
    rows = re.sub(r'"test_error": [\d.]+', '"test_error": 33.0', rows)
    (folder / "fast_weights.jsonl").write_text(rows, encoding="utf-8")
    others = {name: value for name, value in os.environ.items() if name != "WORKEDPAPERS_SHIPPED_ONLY"}
    return others | {"WORKEDPAPERS_RESULTS": str(folder)}


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, empty; no folder of data, and no proxy before a server of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("WORKEDPAPERS_DATA", raising=False)
    monkeypatch.setenv("WORKEDPAPERS_QUIET", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache" / "workedpapers"


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory, reader: dict[str, str]) -> Path:
    """The folder of the built pages; that reader builds them."""
    built = once(tmp_path_factory, "book", lambda folder: build(ROOT, folder, "-W", environment=reader))
    assert built.status == 0, built.said
    assert "WARNING" not in built.said
    return built.pages


@pytest.fixture(scope="session")
def small_book(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A small book with a paper of three pages, and warnings that are meant to be there."""

    def make(folder: Path) -> Built:
        write_small_book(folder)
        return build(folder, folder)

    built = once(tmp_path_factory, "small_book", make)
    assert built.status == 0, built.said
    return built


@pytest.fixture(scope="session")
def pages(book: Path) -> dict[str, BeautifulSoup]:
    """Every page, parsed, by its path in the book."""
    return {
        path.relative_to(book).as_posix(): BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in sorted(book.rglob("*.html"))
        if "_static" not in path.parts
    }
