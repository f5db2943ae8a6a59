"""Files of data sets: from `$WORKEDPAPERS_DATA`, else from the user's cache, else downloaded into that cache."""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import platformdirs
import pooch
from filelock import FileLock
from requests import RequestException

from ..lab.bars import progress
from ..lab.paths import folder_from

TIMEOUT = (5, 30)  # seconds until a server answers the call, and between two pieces of a file
RETRIES = 2  # rounds through all mirrors after the first, which wait one and two seconds


def locate(
    folder: str, name: str, mirrors: Sequence[str], verify: Callable[[Path], object], *, stacklevel: int = 3
) -> Path:
    """A file in `$WORKEDPAPERS_DATA`, else in the cache, into which it is downloaded if need be.

    Args:
        folder: of the data set, in both places.
        name: of the file.
        mirrors: addresses of folders that hold it, tried in this order.
        verify: raises ValueError where a downloaded file is not the right one.
        stacklevel: of the warning about a file that `$WORKEDPAPERS_DATA` lacks, as for `warnings.warn`.
    Raises:
        ConnectionError: no mirror gave the file, with the reason of each.
        OSError: the cache cannot be written.
    """
    cached = platformdirs.user_cache_path("workedpapers") / folder / name
    if given := folder_from("WORKEDPAPERS_DATA"):
        file = given / folder / name
        if file.exists():
            return file
        warnings.warn(
            f"WORKEDPAPERS_DATA is set, but there is no {file}; using {cached}",
            stacklevel=stacklevel,
        )
    if not cached.exists():
        _download(folder, name, mirrors, verify, cached)
    return cached


def pool(folder: Path | str, name: str, url: str, digest: str | None = None) -> pooch.Pooch:
    """A folder that one file is to be downloaded to; silent under `WORKEDPAPERS_QUIET`."""
    if os.environ.get("WORKEDPAPERS_QUIET"):
        pooch.get_logger().setLevel("WARNING")
    return pooch.create(folder, "", registry={name: digest}, urls={name: url}, retry_if_failed=RETRIES)


def get(url: str, file: Path | str) -> None:
    """Download with a progress bar."""
    # An empty bar counts as false, which is none to pooch; it sets the true total itself.
    with progress(range(0), url.rsplit("/", 1)[-1], total=1, unit="B", unit_scale=True) as bar:
        pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=TIMEOUT)(url, file, None)


def _download(folder: str, name: str, mirrors: Sequence[str], verify: Callable[[Path], object], file: Path) -> None:
    """Download to a temporary file beside `file`, verify it, and only then give it its name."""

    def from_mirrors(_url: str, part: str, _pooch: object) -> None:
        failures = []
        for mirror in mirrors:
            try:
                get(f"{mirror}/{name}", part)
                verify(Path(part))
                return
            except (RequestException, ValueError) as error:
                failures.append(f"  {mirror}/{name}: {error}")
        raise ValueError("\n".join(failures))  # pooch waits and tries again

    cache = pool(file.parent, name, f"{mirrors[0]}/{name}")
    by_hand = f"put the file into the folder {folder} of the folder that WORKEDPAPERS_DATA names"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.parent / ".lock"):
            for abandoned in file.parent.glob("tmp*"):  # by a process that was killed: the lock is ours
                abandoned.unlink()
            cache.fetch(name, downloader=from_mirrors)  # nothing, if another process was faster
    except ValueError as error:
        raise ConnectionError(
            f"cannot download {name} of {folder}:\n{error}\nTry again when the network is back, or {by_hand}"
        ) from error
    except OSError as error:
        raise OSError(f"cannot save {file} ({error}). Make its folder writable, or {by_hand}") from error
