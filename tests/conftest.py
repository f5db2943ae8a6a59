"""What several tests share: the book and a small one, each built once a session."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from bs4 import BeautifulSoup
from filelock import FileLock

from small_book import write_small_book

ROOT = Path(__file__).parent.parent


class Built(NamedTuple):
    """A built book: the exit status, all that was said, and the folder of the pages."""

    status: int
    said: str
    pages: Path


def build(source: Path, output: Path, *options: str) -> Built:
    """Build a book."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "-n", "--keep-going", *options]
    run = subprocess.run(
        [*command, "--path-output", output],
        cwd=source,
        env=os.environ | {"WORKEDPAPERS_QUIET": "1"},
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
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built pages."""
    built = once(tmp_path_factory, "book", lambda folder: build(ROOT, folder, "-W"))
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
