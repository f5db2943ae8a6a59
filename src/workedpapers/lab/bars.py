"""Progress bars."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


def progress(iterable: Iterable[T], description: str = "", **tqdm_kwargs: Any) -> tqdm[T]:
    """Iterate with a progress bar, which is off when `WORKEDPAPERS_QUIET` is set to a non-empty value.

    Args:
        iterable: what to iterate over.
        description: text to the left of the bar.
        tqdm_kwargs: anything else that `tqdm.auto.tqdm` takes, such as `total`.
    Returns: the bar, which yields the items of `iterable`.
    """
    quiet = bool(os.environ.get("WORKEDPAPERS_QUIET"))
    return tqdm(iterable, desc=description, disable=quiet, **tqdm_kwargs)
