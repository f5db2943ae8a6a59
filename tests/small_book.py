"""A small book with a paper of three pages, under this book's own settings, to try what the real pages do not show."""

import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).parent.parent

TOC = """
format: jb-book
root: book/index
chapters:
  - file: notebooks/fast_weights
    sections:
      - file: notebooks/fast_weights_experiments
      - file: notebooks/fast_weights_theory
  - file: notebooks/batch_norm
  - file: book/ledger
  - file: book/errata
  - file: book/scoreboard
  - file: book/wrong
"""
MOVED = """
notebooks/old: notebooks/fast_weights
notebooks/fast_weights#the-limit: notebooks/fast_weights_theory#limit
notebooks/fast_weights#start: notebooks/fast_weights_theory#limit
"""
LESSON = r"""# Fast weights

## 1. Start

$$ a = 1 \tag{FW.1} $$

By (FW.1), *not FW.2* or `FW.1` or $\text{FW.1}$ or [FW.1](https://example.org/), and by section 2, Section 9, section
2 of the paper, section 2.1, sections 1
and 2 and [section 1 of the theory](fast_weights_theory.ipynb). [The theory](fast_weights_theory.ipynb) is long.

## 2. End of FW.1

That was FW.E1.
"""
THEORY = r"""# Theory

## 1. Limit

$$ b = 2 \tag{FW.2} $$

<details><summary>Wrong</summary>

$$ b = 3 \tag{FW.E1} $$

</details>

After (FW.1), in section 1.
"""
PAGES = {
    "book/index.md": "# Small\n\nFW.1, and [section 2](../notebooks/fast_weights.ipynb); section 1 is no link.\n",
    "book/ledger.md": "# Ledger\n\n```{ledger}\n```\n",
    "book/errata.md": "# Errata\n\n```{ledger}\n:kind: erratum\n```\n",
    "book/scoreboard.md": "# Scoreboard\n\n```{scoreboard}\n```\n",
    "book/wrong.md": "# Wrong\n\nBy FW.99, and [section 7](../notebooks/fast_weights.ipynb).\n",
}


def notebook(text: str, *checks: tuple[str, str]) -> NotebookNode:
    """A Markdown cell, and a cell that has run these checks and refutations."""
    functions = {"✓": "check", "✗": "refute"}
    source = "\n".join(f'{functions[mark]}("{tag}", 1, 1, "it")' for mark, tag in checks)
    printed = "".join(f"{mark} {tag} it\n" for mark, tag in checks)
    code = new_code_cell(source, outputs=[new_output("stream", text=printed)], execution_count=1)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=[new_markdown_cell(text), code], metadata=kernel)


def write_small_book(folder: Path) -> None:
    """Write its sources."""
    for name in ("book/_ext", "book/_static"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "book/references.bib"):
        shutil.copy2(ROOT / name, folder / name)
    for name, text in PAGES.items() | {"_toc.yml": TOC, "book/moved.yml": MOVED}.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "notebooks").mkdir()
    notebooks = {
        "fast_weights": notebook(LESSON, ("✓", "FW.1")),
        "fast_weights_experiments": notebook("# Experiments\n\n## 1. Run\n\nBy (FW.2).\n", ("✓", "FW.2")),
        "fast_weights_theory": notebook(THEORY, ("✓", "FW.2"), ("✗", "FW.E1")),
        "batch_norm": notebook("# Batch norm\n\n## 1. Start\n\n$$ c = 1 \\tag{BN.1} $$\n", ("✓", "BN.1")),
    }
    for name, cells in notebooks.items():
        nbformat.write(cells, folder / "notebooks" / f"{name}.ipynb")
