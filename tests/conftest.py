"""What several tests share: the book, built once a session, and a reader with own rows."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from filelock import FileLock

ROOT = Path(__file__).parent.parent


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
