"""CIFAR-10, from the files of its own binary version.

Each file is taken from `$WORKEDPAPERS_DATA/cifar-10/`, else from the user's cache. If it is in neither, the archive of
all files is downloaded, its SHA-256 is verified, and the files are put into that cache.
"""

import os
import shutil
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import platformdirs
import pooch
import torch
from filelock import FileLock
from requests import RequestException

from ..lab.paths import folder_from
from .downloads import get, pool
from .images import Images

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
SPLITS = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
SIZE = 10_000  # records in each file
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32  # bytes: a label; then the red, the green and the blue intensities, each row by row


def cifar10(split: str = "train") -> Images:
    """Colour photographs, 32×32, of airplanes, automobiles, birds, cats, deer, dogs, frogs, horses, ships and trucks.

    Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images". The classes have that order. Files that
    are not in `$WORKEDPAPERS_DATA`, where that is set, are named in a warning and taken from the cache or the download.
    A damaged file is never replaced silently.

    Args: split: "train" (50,000 images) or "test" (10,000).
    Returns: images of shape (size, 3, 32, 32), channels red, green and blue, and their labels.
    Raises:
        ValueError: an unknown split; a file that is truncated, altered or another one, with its path, what it holds
            and what was expected.
        ConnectionError: the archive cannot be downloaded, with the reason.
        OSError: the cache cannot be written, or a file cannot be read.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    images, labels = zip(*map(_read, _locate(SPLITS[split])), strict=True)
    return Images(torch.cat(images), torch.cat(labels))


def _read(file: Path) -> Images:
    """The records of one file; ValueError if it has another form."""
    content = np.fromfile(file, np.uint8)
    advice = "Replace it, or delete it to have it downloaded"
    if len(content) != SIZE * RECORD:
        whole, rest = divmod(len(content), RECORD)
        raise ValueError(
            f"{file} has {len(content)} bytes, which are {whole} records of {RECORD} and {rest} bytes more; "
            f"expected {SIZE} records, {SIZE * RECORD} bytes. {advice}"
        )
    records = content.reshape(SIZE, RECORD)
    labels = records[:, 0]
    if labels.max() > 9:
        first = int((labels > 9).argmax())
        raise ValueError(f"{file} has the label {labels[first]} in record {first}; expected 0 to 9. {advice}")
    return Images(torch.from_numpy(records[:, 1:].reshape(SIZE, *SHAPE)), torch.from_numpy(labels).long())


def _locate(names: tuple[str, ...]) -> list[Path]:
    """The files in `$WORKEDPAPERS_DATA`, else in the cache, into which they are downloaded if need be."""
    cache = platformdirs.user_cache_path("workedpapers") / "cifar-10"
    files = {name: cache / name for name in names}
    if given := folder_from("WORKEDPAPERS_DATA"):
        folder = given / "cifar-10"
        files |= {name: folder / name for name in names if (folder / name).exists()}
        if absent := [name for name in names if not (folder / name).exists()]:
            warnings.warn(
                f"WORKEDPAPERS_DATA is set, but there is no {', '.join(absent)} in {folder}; using {cache}",
                stacklevel=3,  # the caller of `cifar10`
            )
    if not all(file.exists() for file in files.values()):
        _download(cache)
    return list(files.values())


def _download(folder: Path) -> None:
    """Download and unpack in a temporary folder inside `folder`, then move there the files that it lacks."""
    archive = URL.rsplit("/", 1)[-1]
    names = [name for split in SPLITS.values() for name in split]

    by_hand = (
        f"put {', '.join(names)} of that archive into the folder cifar-10 of the folder that WORKEDPAPERS_DATA names"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for abandoned in folder.glob("tmp*"):  # by a process that was killed: the lock is ours
                shutil.rmtree(abandoned)
            absent = [name for name in names if not (folder / name).exists()]
            if not absent:  # another process was faster
                return
            with TemporaryDirectory(dir=folder) as temporary:
                cache = pool(temporary, archive, URL, SHA256)
                unpack = pooch.Untar([f"cifar-10-batches-bin/{name}" for name in absent])
                for file in cache.fetch(archive, unpack, lambda url, part, _pooch: get(url, part)):
                    os.replace(file, folder / Path(file).name)
    except (RequestException, ValueError) as error:
        raise ConnectionError(
            f"cannot download {URL}: {error}\nTry again when the network is back, or {by_hand}"
        ) from error
    except OSError as error:
        raise OSError(f"cannot save {folder} ({error}). Make it writable, or {by_hand}") from error
