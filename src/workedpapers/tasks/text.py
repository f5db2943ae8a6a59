"""Texts as sequences of characters: plays by Shakespeare, and the counting numbers, which need no download.

The plays are read from `$WORKEDPAPERS_DATA/text/tinyshakespeare.txt`, else from the user's cache, else downloaded into
that cache.
"""

import hashlib
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import platformdirs
import pooch
import torch
from requests import RequestException
from torch import Tensor

from ..lab.paths import folder_from
from .downloads import TIMEOUT

URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
NAME = "tinyshakespeare.txt"
PARTS = {"train": (0.0, 0.9), "validation": (0.9, 0.95), "test": (0.95, 1.0)}
COUNTING = 5_000  # numbers


class Text(NamedTuple):
    """A text.

    Attributes:
        codes: places of its characters in the alphabet, int64, shape (size,).
        alphabet: all characters of the whole text, in the order of their code points.
    """

    codes: Tensor
    alphabet: str


def text(data: str = "shakespeare", part: str = "train") -> Text:
    """A part of a text.

    A file that is not in `$WORKEDPAPERS_DATA`, where that is set, is named in a warning and taken from the cache or the
    download.

    Args:
        data: "shakespeare" (Karpathy's selection of 1.1 million characters, 65 kinds) or "counting": 0 1 2 3 …
        part: "train" (the first nine tenths), "validation" or "test" (a twentieth each).
    Raises:
        ValueError: an unknown text or part; a file that is truncated or altered, with its path and both digests.
        ConnectionError: the file cannot be downloaded, with the reason.
        OSError: the cache cannot be written, or the file cannot be read.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    if data == "counting":
        whole = " ".join(map(str, range(COUNTING)))
    elif data == "shakespeare":
        whole = _read(_locate())
    else:
        raise ValueError(f"data must be one of shakespeare, counting, got {data!r}")
    alphabet = "".join(sorted(set(whole)))
    codes = {character: code for code, character in enumerate(alphabet)}
    start, end = (round(share * len(whole)) for share in PARTS[part])
    return Text(torch.tensor([codes[character] for character in whole[start:end]]), alphabet)


def _read(file: Path) -> str:
    content = file.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise ValueError(
            f"{file} has {len(content)} bytes with SHA-256 {found}, expected {SHA256}. "
            "Replace it, or delete it to have it downloaded"
        )
    return content.decode("ascii")


def _locate() -> Path:
    """The file in `$WORKEDPAPERS_DATA`, else in the cache, into which it is downloaded if need be."""
    folder = platformdirs.user_cache_path("workedpapers") / "text"
    if given := folder_from("WORKEDPAPERS_DATA"):
        if (file := given / "text" / NAME).exists():
            return file
        warnings.warn(
            f"WORKEDPAPERS_DATA is set, but there is no {file}; using {folder / NAME}",
            stacklevel=3,  # the caller of `text`
        )
    if (folder / NAME).exists():
        return folder / NAME
    quiet = bool(os.environ.get("WORKEDPAPERS_QUIET"))
    if quiet:
        pooch.get_logger().setLevel("WARNING")
    download = pooch.HTTPDownloader(progressbar=not quiet, timeout=TIMEOUT)
    by_hand = f"put it, as {NAME}, into the folder text of the folder that WORKEDPAPERS_DATA names"
    try:
        return Path(pooch.retrieve(URL, f"sha256:{SHA256}", NAME, folder, downloader=download))
    except (RequestException, ValueError) as error:
        raise ConnectionError(
            f"cannot download {URL}: {error}\nTry again when the network is back, or {by_hand}"
        ) from error
    except OSError as error:
        raise OSError(f"cannot save {folder / NAME} ({error}). Make its folder writable, or {by_hand}") from error
