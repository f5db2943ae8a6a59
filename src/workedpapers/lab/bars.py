"""Progress bars."""

from __future__ import annotations

import os
from collections.abc import Iterable
from multiprocessing import current_process
from typing import Any, TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


def progress(iterable: Iterable[T], description: str = "", **tqdm_kwargs: Any) -> tqdm[T]:
    """Iterate with a progress bar, which is off when `WORKEDPAPERS_QUIET` is set to a non-empty value.

    It is off in a worker process, too, whose bar would run through that of its parent.

    Args:
        iterable: what to iterate over.
        description: text to the left of the bar.
        tqdm_kwargs: anything else that `tqdm.auto.tqdm` takes, such as `total`.
    Returns: the bar, which yields the items of `iterable`.
    """
    quiet = bool(os.environ.get("WORKEDPAPERS_QUIET")) or current_process().name != "MainProcess"
    return tqdm(iterable, desc=description, disable=quiet, **tqdm_kwargs)
