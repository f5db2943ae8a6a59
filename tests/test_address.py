"""`make address` sets the address of the repository everywhere, and touches nothing else."""

import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
from jupytext.compare import compare_notebooks

from checkout import copy_tree, git

OWNERS = re.compile(r"github(?:\.com)?/([\w.-]+)/worked-papers\b")


def make_address(tree: Path, url: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--silent", "address", f"PYTHON={sys.executable}", f"URL={url}"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


def files(tree: Path) -> dict[str, bytes]:
    found = [path for path in tree.rglob("*") if path.is_file() and ".git" not in path.relative_to(tree).parts]
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in found}


def address_of(owner: str) -> str:
    return f"https://github.com/{owner}/worked-papers"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    copy_tree(tmp_path)
    git("add", "--all", cwd=tmp_path)
    return tmp_path


def test_every_place_gets_the_new_owner_and_nothing_else_changes(tree):
    before = files(tree)
    (owner,) = set(OWNERS.findall(before["CITATION.cff"].decode()))
    assert make_address(tree, address_of("some-one")).returncode == 0
    after = files(tree)
    places = ["{}/worked-papers", "{}.github.io/worked-papers"]
    for name, content in before.items():
        for place in places:
            content = content.replace(place.format(owner).encode(), place.format("some-one").encode())
        assert after[name] == content, name
    assert after["CITATION.cff"] != before["CITATION.cff"]


def test_a_second_run_changes_nothing_and_the_old_address_brings_the_old_files_back(tree):
    before = files(tree)
    (owner,) = set(OWNERS.findall(before["CITATION.cff"].decode()))
    make_address(tree, address_of("some-one"))
    once = files(tree)
    assert "0 files" in make_address(tree, address_of("some-one")).stdout
    assert files(tree) == once
    make_address(tree, address_of(owner))
    assert files(tree) == before


def test_a_notebook_and_its_source_stay_in_step(tree):
    sources = sorted((tree / "notebooks").glob("*.py"))
    for source in sources:
        jupytext.write(jupytext.read(source, fmt="py:percent"), source.with_suffix(".ipynb"))
    make_address(tree, address_of("some-one"))
    for source in sources:
        notebook, script = jupytext.read(source.with_suffix(".ipynb")), jupytext.read(source, fmt="py:percent")
        compare_notebooks(notebook, script, fmt="py:percent", allow_expected_differences=True)
        assert {owner for cell in notebook.cells for owner in OWNERS.findall(cell.source)} == {"some-one"}


def test_the_published_site_and_the_links_of_other_hosts_follow(tree):
    places = "raw.githubusercontent.com/{0}/worked-papers/main/a gh/{0}/worked-papers?b {0}.github.io/worked-papers/"
    page = tree / "page.md"
    page.write_text(places.format("Old"))
    make_address(tree, address_of("Some-One"))
    assert page.read_text() == places.format("Some-One")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "worked-papers",
        address_of("me").removeprefix("https://"),
        address_of("me").replace("https", "http"),
        address_of("me").replace("github", "gitlab"),
        address_of("me").replace("worked-papers", "other"),
        address_of("me") + ".git",
        address_of("me") + "/",
        address_of("me too"),
        address_of("-me"),
        address_of("me-"),
        address_of("me/too"),
    ],
)
def test_a_malformed_address_is_refused_in_one_line_and_no_file_changes(tree, url):
    before = files(tree)
    run = make_address(tree, url)
    assert run.returncode != 0
    said = [line for line in run.stderr.splitlines() if not line.startswith("make")]
    assert said == [f"URL is {url!r}, expected https://github.com/<owner>/worked-papers"]
    assert files(tree) == before
