"""The tree as it is published: nothing of one machine in it, nothing heavy, one address."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_BYTES = 2_000_000
PICTURE = re.compile(r"[A-Za-z0-9+/]{200,}")
# Places of one machine. /content is Colab's.
MACHINE_PATH = re.compile(r"(?<![\w.~}])/(?:home|root|Users|work|mnt|tmp)/(?!\{|<|\$)\w")
REGISTRY = re.compile(
    r"(?:pypi|anaconda|npmjs|debian)\.org|pythonhosted\.org|npmjs\.com|download\.pytorch\.org|index-url[ =]+https?:",
    re.IGNORECASE,
)
CONFIGURED = re.compile(r"^ *url: https://github\.com/([\w-]+/[\w.-]+)$", re.MULTILINE)


def tracked() -> list[Path]:
    """The files that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("this tree is no git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def texts() -> dict[str, str]:
    """The text of every file that is text, by its name."""
    found = {}
    for path in tracked():
        try:
            found[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """Where a pattern occurs, but for pictures, whose base64 text can hold anything."""
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(PICTURE.sub("", line))
    ]


def test_no_file_holds_a_path_of_a_machine():
    own = re.compile(
        "|".join(re.escape(f"{folder}/") for folder in (ROOT, Path.home()) if len(folder.parts) > 2) or r"(?!)"
    )
    assert lines_with(MACHINE_PATH) == []
    assert lines_with(own) == []


def test_no_file_names_the_host_of_a_registry():
    assert lines_with(REGISTRY) == []


def test_no_file_is_heavy():
    assert [path.name for path in tracked() if path.stat().st_size > MAX_BYTES] == []


def test_the_address_of_the_repository_is_the_same_everywhere():
    (address,) = CONFIGURED.findall(texts()["_config.yml"])
    repository = re.compile(rf"github(?:\.com)?/([\w.-]+/worked-papers|{re.escape(address)})(?![\w-])")
    found = {name: set(repository.findall(text)) for name, text in texts().items()}
    found = {name: addresses for name, addresses in found.items() if addresses}
    assert {"_config.yml", "CITATION.cff"} <= found.keys()
    assert len(set.union(*found.values())) == 1, found
