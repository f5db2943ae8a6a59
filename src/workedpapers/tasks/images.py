"""MNIST and Fashion-MNIST, from the IDX files in which they were published, and the small digits of scikit-learn.

Each file of the former two is taken from `$WORKEDPAPERS_DATA/<name>/`, else from the user's cache, else downloaded into
that cache. What decides is the SHA-256 of the uncompressed bytes, so a file may have been compressed anew.
"""

import gzip
import hashlib
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .downloads import locate

SPLITS = {"train": "train", "test": "t10k"}  # our names, and those in the names of the files


class Images(NamedTuple):
    """Labelled images, grey or in colour.

    Attributes:
        images: intensities 0-255, uint8, shape (size, height, width); in colour (size, 3, height, width).
        labels: classes 0-9, int64, shape (size,).
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class DataSet:
    """Where four IDX files come from and how they are recognised.

    Args:
        name: the folder of the files, in `$WORKEDPAPERS_DATA` and in the cache.
        mirrors: addresses of folders that hold the files, tried in this order.
        sha256: digest of the uncompressed bytes by file name: `train-images-idx3-ubyte.gz` and its three siblings.
    """

    name: str
    mirrors: tuple[str, ...]
    sha256: Mapping[str, str]


MNIST = DataSet(
    "mnist",
    ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
    {
        "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
)
FASHION_MNIST = DataSet(
    "fashion-mnist",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    ),
    {
        "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
)


def mnist(split: str = "train") -> Images:
    """Handwritten digits, 28×28, ink bright on black (LeCun, Cortes and Burges 1998).

    A file that is not in `$WORKEDPAPERS_DATA`, where that is set, is named in a warning and taken from the cache
    or a mirror. A damaged file is never replaced silently.

    Args: split: "train" (60,000 images) or "test" (10,000).
    Raises:
        ValueError: an unknown split; a file that is truncated, altered or another one, with its path, its digest
            and the expected one.
        ConnectionError: no mirror gave the file, with the reason of each.
        OSError: the cache cannot be written, or a file cannot be read.
    """
    return load(MNIST, split)


def fashion_mnist(split: str = "train") -> Images:
    """Articles of clothing in ten classes, in the form of MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747).

    Args and errors as for `mnist`.
    """
    return load(FASHION_MNIST, split)


def digits(split: str = "train") -> Images:
    """Handwritten digits, 8×8, that come with scikit-learn (Alpaydin and Kaynak 1998): no download.

    The last 397 are for testing; they were written by other people than the first 1,400.

    Args: split: "train" (1,400 images) or "test" (397).
    Raises: ValueError: an unknown split.
    """
    from sklearn.datasets import load_digits  # slow to import

    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    part = slice(1400) if split == "train" else slice(1400, None)
    found = load_digits()
    intensities = torch.from_numpy(found.images[part] * (255 / 16)).to(torch.uint8)  # 17 grey levels
    return Images(intensities, torch.from_numpy(found.target[part]).long())


def load(data_set: DataSet, split: str = "train") -> Images:
    """A split of any data set that is kept as MNIST is; see `mnist`."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    images = _array(data_set, f"{SPLITS[split]}-images-idx3-ubyte.gz", dimensions=3)
    labels = _array(data_set, f"{SPLITS[split]}-labels-idx1-ubyte.gz", dimensions=1)
    if len(images) != len(labels):
        raise ValueError(f"{data_set.name} has {len(images)} images and {len(labels)} labels in split {split!r}")
    return Images(torch.from_numpy(images), torch.from_numpy(labels).long())


def _array(data_set: DataSet, name: str, dimensions: int) -> npt.NDArray[np.uint8]:
    file = locate(
        data_set.name,
        name,
        data_set.mirrors,
        lambda file: _content(data_set, name, file),
        stacklevel=5,  # the caller of `mnist`
    )
    try:
        return _parse_idx(_content(data_set, name, file), dimensions)
    except ValueError as error:
        raise ValueError(f"{file} {error}. Replace it, or delete it to have it downloaded") from error


def _content(data_set: DataSet, name: str, file: Path) -> bytes:
    """The uncompressed bytes of a file; ValueError if they are not those of `name`."""
    expected = data_set.sha256[name]
    compressed = file.read_bytes()
    try:
        content = gzip.decompress(compressed)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"is truncated or no gzip file ({error}): its {len(compressed)} bytes have SHA-256 "
            f"{hashlib.sha256(compressed).hexdigest()}, expected a content with {expected}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        others = [other for other, digest in data_set.sha256.items() if digest == found]
        hint = f", which is that of {others[0]}" if others else ""
        raise ValueError(f"has a content with SHA-256 {found}{hint}; expected {expected}")
    return content


def _parse_idx(content: bytes, dimensions: int) -> npt.NDArray[np.uint8]:
    """An array of unsigned bytes: a magic number (type 8, dimensions), the big-endian sizes, the values."""
    header = 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    if content[:4] != magic or len(content) < header:
        raise ValueError(
            f"is no IDX file of bytes in {dimensions} dimensions: it begins with {content[:4].hex()}, "
            f"expected {magic.hex()} and {dimensions} sizes"
        )
    shape = tuple(np.frombuffer(content[4:header], ">u4").tolist())
    if len(content) - header != math.prod(shape):
        raise ValueError(f"holds {len(content) - header} values, expected {math.prod(shape)} for shape {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()  # writable, as torch wants it
