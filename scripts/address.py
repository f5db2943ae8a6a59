"""Set the address of the repository in every file: `python scripts/address.py https://github.com/<owner>/worked-papers`.

A second run changes nothing. Standard library and git only, so that it runs before anything is installed.
"""

import re
import subprocess
import sys
from pathlib import Path

# An owner's name as GitHub allows it: letters, digits, single hyphens inside.
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9]+(?:-[A-Za-z0-9]+)*)/worked-papers")
# The repository as github.com, Colab, raw files and Binder name it, and the site that GitHub publishes it on.
REPOSITORY = re.compile(r"((?:github(?:usercontent)?(?:\.com)?|gh)/)[A-Za-z0-9-]+(/worked-papers\b)")
SITE = re.compile(r"\b[A-Za-z0-9-]+(\.github\.io/worked-papers\b)")


def rewrite(root: Path, owner: str) -> list[str]:
    """Write the owner wherever a file that git tracks, or would add, names one; returns the files changed."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root,
        check=True,
        capture_output=True,
    ).stdout.decode()
    changed = []
    for name in filter(None, listing.split("\0")):
        path = root / name
        if not path.is_file():  # deleted, not yet committed
            continue
        try:
            old = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue
        new = SITE.sub(rf"{owner}\1", REPOSITORY.sub(rf"\g<1>{owner}\2", old))
        if new != old:
            path.write_bytes(new.encode())
            changed.append(name)
    return changed


def main() -> None:
    """The command line."""
    url = " ".join(sys.argv[1:])
    if not (match := ADDRESS.fullmatch(url)):
        sys.exit(f"URL is {url!r}, expected https://github.com/<owner>/worked-papers")
    changed = rewrite(Path(__file__).resolve().parent.parent, match[1])
    print(f"{url}: {len(changed)} files changed", *changed, sep="\n  ")


if __name__ == "__main__":
    main()
