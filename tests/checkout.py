"""The tree as a clone would hold it, changes that are not committed included."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def git(*arguments: str, cwd: Path) -> str:
    """What git prints; nobody's own settings of signing and hooks apply."""
    settings = ["commit.gpgSign=false", "tag.gpgSign=false", "core.hooksPath=/dev/null"]
    settings += ["user.name=Worked Papers", "user.email=nobody@localhost"]
    options = [part for setting in settings for part in ("-c", setting)]
    # In a git hook GIT_DIR and the like name the repository at hand, not the one in cwd.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *options, *arguments]
    return subprocess.run(command, cwd=cwd, env=env, check=True, capture_output=True, text=True).stdout


def copy_tree(target: Path) -> Path:
    """A new repository, nothing committed yet, with every file that git tracks here or would add."""
    if not (ROOT / ".git").exists():
        pytest.skip("this tree is no git checkout")
    for name in git("ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT).split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    git("init", "--quiet", cwd=target)
    return target
