"""Begin a paper: a module, an experiment, three pages and their tests from `templates/`, and its place in the book.

Usage: `python scripts/paper.py NAME KEY`, such as `fast_weights FW`. What it makes runs and is green: from there on you
replace one piece after the other.
"""

import keyword
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "templates"
NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
KEY = re.compile(r"[A-Z]{2,5}")
RESERVED = ("_experiment", "_experiments", "_theory")
TAG = re.compile(r"\\tag\{([A-Z]+)\.")
DRAFTS = "  - caption: Drafts\n    chapters:\n"
OTHER_PAGES = "  - caption: The book\n"  # after all papers


def targets(name: str) -> dict[Path, Path]:
    """The file that each template becomes."""
    found = sorted(TEMPLATES.rglob("*PAPER*.py"))
    return {path: ROOT / str(path.relative_to(TEMPLATES)).replace("PAPER", name) for path in found}


def refuse(name: str, key: str) -> str | None:
    """Why a paper cannot be begun under this name and this key; None where it can."""
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or name.endswith(RESERVED):
        return f"NAME is {name!r}, expected a module's name such as fast_weights, without {', '.join(RESERVED)}"
    if not KEY.fullmatch(key):
        return f"KEY is {key!r}, expected two to five capital letters, such as FW"
    there = [path for path in targets(name).values() if path.exists()]
    if package := next((ROOT / "src" / "workedpapers").glob(name), None):
        there.append(package)
    if there:
        return f"NAME is {name!r}, which is there already: {there[0].relative_to(ROOT)}"
    for page in sorted((ROOT / "notebooks").glob("*.py")):
        if key in TAG.findall(page.read_text(encoding="utf-8")):
            return f"KEY is {key!r}, which tags the equations of {page.relative_to(ROOT)}"
    return None


def write(name: str, key: str) -> list[Path]:
    """Write the files of the paper and enter its pages into the table of contents; returns the files."""
    made = []
    for template, path in targets(name).items():
        text = template.read_text(encoding="utf-8").replace("PAPER", name)
        text = re.sub(r"\bTITLE\b", name.replace("_", " ").capitalize(), re.sub(r"\bKEY\b", key, text))
        path.write_text(text, encoding="utf-8")
        made.append(path)
    contents = ROOT / "_toc.yml"
    contents.write_text(enter(name, contents.read_text(encoding="utf-8")), encoding="utf-8")
    return made


def enter(name: str, contents: str) -> str:
    """The table of contents with the pages of the paper among the drafts."""
    if DRAFTS not in contents:
        contents = contents.replace(OTHER_PAGES, DRAFTS + OTHER_PAGES)
    entry = (
        f"      - file: notebooks/{name}\n        sections:\n"
        f"          - file: notebooks/{name}_experiments\n          - file: notebooks/{name}_theory\n"
    )
    return contents.replace(DRAFTS, DRAFTS + entry)


def run(*command: str | Path, **environment: str) -> None:
    """Run a program of this environment in the tree."""
    subprocess.run([sys.executable, *command], cwd=ROOT, env=os.environ | environment, check=True)


def main() -> None:
    """The command line."""
    name, key, *_ = [*sys.argv[1:], "", ""]
    if problem := refuse(name, key):
        sys.exit(problem)
    made = write(name, key)
    run("-m", "ruff", "check", "--quiet", "--fix", "--select", "I", *made)  # the order of imports goes by the name
    run("-m", "ruff", "format", "--quiet", *made)
    for scale in ("check", "book"):
        results = ROOT / "src" / "workedpapers" / "results"
        run("-m", "workedpapers", "run", name, "--scale", scale, "--jobs", "1", WORKEDPAPERS_RESULTS=str(results))
    run("scripts/notebooks.py", name)
    print(f"{name} ({key}) is begun: {len(made)} files, its rows and its notebooks. In _toc.yml it is a draft.")
    print(
        f"Now replace what stands in them; `make test NAMES={name}` is green. CONTRIBUTING.md says what belongs where."
    )


if __name__ == "__main__":
    main()
