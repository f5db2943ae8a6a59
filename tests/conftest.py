"""What several tests share: the book, built once; `--papers`; long tests; a reader with own rows."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from filelock import FileLock

from pages import PAPERS
from workedpapers.lab.ledger import paper_of

ROOT = Path(__file__).parent.parent
# Fixtures that take minutes, whatever the paper: the built book, and pip.
SHARED_BY_ALL = {"book", "registry"}


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


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a reader whose own rows say that every model of *Fast weights* errs in 33% of the cases."""
    folder = tmp_path_factory.mktemp("own")
    rows = (ROOT / "src" / "workedpapers" / "results" / "fast_weights.jsonl").read_text(encoding="utf-8")
    rows = re.sub(r'"test_error": [\d.]+', '"test_error": 33.0', rows)
    (folder / "fast_weights.jsonl").write_text(rows, encoding="utf-8")
    others = {name: value for name, value in os.environ.items() if name != "WORKEDPAPERS_SHIPPED_ONLY"}
    return others | {"WORKEDPAPERS_RESULTS": str(folder)}


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory, reader: dict[str, str]) -> Path:
    """The folder of the built pages; built once by that reader, also where several workers ask for it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    output, log = shared / "book", shared / "book.json"
    with FileLock(shared / "book.lock"):
        if not log.exists():
            command = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "-W", "-n", "--keep-going"]
            run = subprocess.run(
                [*command, "--path-output", output],
                cwd=ROOT,
                env=reader | {"WORKEDPAPERS_QUIET": "1", "NO_COLOR": "1"},
                capture_output=True,
                text=True,
                check=False,
                timeout=300,  # a page that starts to train must not hold up the tests
            )
            log.write_text(json.dumps([run.returncode, run.stdout + run.stderr]))
    status, said = json.loads(log.read_text())
    assert status == 0, said
    assert "WARNING" not in said
    return output / "_build" / "html"


@pytest.fixture(scope="session")
def pages(book: Path) -> dict[str, BeautifulSoup]:
    """Every page, parsed, by its path in the book."""
    return {
        path.relative_to(book).as_posix(): BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in sorted(book.rglob("*.html"))
        if "_static" not in path.parts
    }
