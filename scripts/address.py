"""Set the address of the repository in every file: `python scripts/address.py https://github.com/<owner>/<name>`.

A second run changes nothing, and the former address brings the former files back. Standard library and git only, so
that it runs before anything is installed.
"""

import re
import subprocess
import sys
from pathlib import Path

# An owner and a repository as GitHub allows them: letters, digits, single hyphens inside; a name may have dots, too.
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9]+(?:-[A-Za-z0-9]+)*)/([\w.-]*[\w-](?<!\.git))", re.ASCII)
CONFIGURED = re.compile(rf"^ *url: {ADDRESS.pattern}$", re.MULTILINE | re.ASCII)
NAME = "worked-papers"  # under this name a repository is this book's, whoever owns it


def current(root: Path) -> tuple[str, str]:
    """The owner and the name of the repository, as the book's configuration has them."""
    found = CONFIGURED.search((root / "_config.yml").read_text(encoding="utf-8"))
    if not found:
        sys.exit("_config.yml has no line `url: https://github.com/<owner>/<name>`")
    return found[1], found[2]


def places(owner: str, name: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Where the address stands: as github.com, Colab, raw files and Binder write it, and as the published site."""
    ours, any_owner, end = (re.escape(owner), re.escape(name)), ("[A-Za-z0-9-]+", NAME), r"(?![\w-]|\.(?!git\b)\w)"
    repository = "|".join("/".join(pair) for pair in (ours, any_owner))
    site = "|".join(r"\.github\.io/".join(pair) for pair in (ours, any_owner))
    host = r"((?:github(?:usercontent)?(?:\.com)?|gh)/)"
    return re.compile(f"{host}(?:{repository}){end}"), re.compile(rf"\b(?:{site}){end}")


def rewrite(root: Path, owner: str, name: str) -> list[str]:
    """Write the address wherever a file that git tracks, or would add, has the old one; returns the files changed."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root,
        check=True,
        capture_output=True,
    ).stdout.decode()
    repository, site = places(*current(root))
    changed = []
    for file in filter(None, listing.split("\0")):
        path = root / file
        if not path.is_file():  # deleted, not yet committed
            continue
        try:
            old = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue
        new = site.sub(f"{owner}.github.io/{name}", repository.sub(rf"\g<1>{owner}/{name}", old))
        if new != old:
            path.write_bytes(new.encode())
            changed.append(file)
    return changed


def main() -> None:
    """The command line."""
    url = " ".join(sys.argv[1:])
    if not (match := ADDRESS.fullmatch(url)):
        sys.exit(f"URL is {url!r}, expected https://github.com/<owner>/<name>")
    changed = rewrite(Path(__file__).resolve().parent.parent, match[1], match[2])
    print(f"{url}: {len(changed)} files changed", *changed, sep="\n  ")


if __name__ == "__main__":
    main()
