"""Folders that the reader names in environment variables."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


def folder_from(variable: str) -> Path | None:
    """The folder that an environment variable names; None where it is unset or empty.

    `~` is the home folder. A relative path counts from the working directory of its first use, so it stays the same
    folder when that changes.
    """
    given = os.environ.get(variable, "").strip()
    return _absolute(given) if given else None


@cache
def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()
