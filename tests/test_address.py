"""`make address` sets the address of the repository everywhere, and touches nothing else."""

import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
from jupytext.compare import compare_notebooks

from checkout import ROOT, copy_tree, git

CONFIGURED = re.compile(r"url: https://github\.com/([\w-]+)/([\w.-]+)\n")


def make_address(tree: Path, url: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--silent", "address", f"PYTHON={sys.executable}", f"URL={url}"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)


def files(tree: Path) -> dict[str, bytes]:
    found = [path for path in tree.rglob("*") if path.is_file() and ".git" not in path.relative_to(tree).parts]
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in found}


def address_of(owner: str, name: str = "worked-papers") -> str:
    return f"https://github.com/{owner}/{name}"


def address_in(files: dict[str, bytes]) -> tuple[str, str]:
    """The owner and the name that the configuration of the book has."""
    return CONFIGURED.search(files["_config.yml"].decode()).groups()


# Another owner; another name; a name that the text of the book has elsewhere, too.
NEW = [("some-one", "worked-papers"), ("some-one", "my.papers_2"), ("some-one", "pytorch")]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    copy_tree(tmp_path)
    git("add", "--all", cwd=tmp_path)
    return tmp_path


@pytest.mark.parametrize(("owner", "name"), NEW)
def test_every_place_gets_the_new_address_and_nothing_else_changes(tree, owner, name):
    before = files(tree)
    old_owner, old_name = address_in(before)
    assert make_address(tree, address_of(owner, name)).returncode == 0
    after = files(tree)
    places = ["github.com/{}/{}", "github/{}/{}", "{}.github.io/{}"]
    for file, content in before.items():
        for place in places:
            content = content.replace(place.format(old_owner, old_name).encode(), place.format(owner, name).encode())
        assert after[file] == content, file
    assert address_in(after) == (owner, name)
    assert after["CITATION.cff"] != before["CITATION.cff"]


@pytest.mark.parametrize(("owner", "name"), NEW)
def test_a_second_run_changes_nothing_and_the_old_address_brings_the_old_files_back(tree, owner, name):
    before = files(tree)
    make_address(tree, address_of(owner, name))
    once = files(tree)
    assert "0 files" in make_address(tree, address_of(owner, name)).stdout
    assert files(tree) == once
    make_address(tree, address_of(*address_in(before)))
    assert files(tree) == before


def test_pages_that_come_from_the_original_get_the_address_of_a_fork_again(tree):
    make_address(tree, address_of("some-one", "papers"))
    page = tree / "page.md"
    page.write_text(f"{address_of('original')} {address_of('original', 'papers')} {address_of('some-one', 'papers-2')}")
    make_address(tree, address_of("some-one", "papers"))
    assert page.read_text() == (
        f"{address_of('some-one', 'papers')} {address_of('original', 'papers')} {address_of('some-one', 'papers-2')}"
    )


def test_the_setup_cell_of_a_fork_installs_from_the_fork(tree):
    make_address(tree, address_of("some-one", "papers"))
    for source in (tree / "notebooks").glob("*.py"):
        cells = jupytext.read(source, fmt="py:percent").cells
        setup = next(cell.source for cell in cells if cell.cell_type == "code")
        assert f'"git+{address_of("some-one", "papers")}@v' in setup


def test_a_notebook_and_its_source_stay_in_step(tree):
    sources = sorted((tree / "notebooks").glob("*.py"))
    for source in sources:
        jupytext.write(jupytext.read(source, fmt="py:percent"), source.with_suffix(".ipynb"))
    make_address(tree, address_of("some-one"))
    for source in sources:
        notebook, script = jupytext.read(source.with_suffix(".ipynb")), jupytext.read(source, fmt="py:percent")
        compare_notebooks(notebook, script, fmt="py:percent", allow_expected_differences=True)
        owners = re.findall(
            r"github(?:\.com)?/([\w-]+)/worked-papers\b", "\n".join(cell.source for cell in notebook.cells)
        )
        assert set(owners) == {"some-one"}


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
        address_of("me", ""),
        address_of("me", "a paper"),
        address_of("me", "papers."),
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
    assert said == [f"URL is {url!r}, expected https://github.com/<owner>/<name>"]
    assert files(tree) == before


def test_the_workflow_that_publishes_sets_the_address_of_its_own_repository_before_it_builds():
    steps = (ROOT / ".github" / "workflows" / "publish.yml").read_text()
    assert "${{ github.server_url }}/${{ github.repository }}" in steps
    assert 0 < steps.index("make address") < steps.index("make book")
