"""Associative retrieval: strings such as `c9k8j3f1??c`, whose answer is the digit that followed the letter.

The task of section 4.1 of Ba et al. 2016 (arXiv 1610.06258). A string holds `pairs` letter-digit pairs (the
letters all different, the digits independent and uniform), two question marks and one of the letters.
"""

import string
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SYMBOLS = string.ascii_lowercase + string.digits + "?"
SPLITS = {"train": 100_000, "validation": 10_000, "test": 20_000}


class Strings(NamedTuple):
    """A batch of strings and their answers.

    Attributes:
        tokens: indices into `SYMBOLS`, int64, shape (size, 2 · pairs + 3).
        targets: the digits 0-9 to answer, int64, shape (size,).
    """

    tokens: Tensor
    targets: Tensor


def associative_retrieval(pairs: int = 4, split: str = "train", *, size: int | None = None, seed: int = 0) -> Strings:
    """A fixed split of the task; the same call gives the same strings on every machine.

    The three splits are drawn independently (at four pairs there are 1.4 · 10¹⁰ strings: overlaps are rare).

    Args:
        pairs: letter-digit pairs in a string, 1 to 26.
        split: "train" (100,000 strings), "validation" (10,000) or "test" (20,000).
        size: take only the first `size` strings of the split.
        seed: another seed gives another data set.
    Raises: ValueError: pairs, split or size outside these.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    size = SPLITS[split] if size is None else size
    if not 1 <= size <= SPLITS[split]:
        raise ValueError(f"size must lie in [1, {SPLITS[split]}] for split {split!r}, got {size}")
    rng = np.random.RandomState([seed, list(SPLITS).index(split)])
    tokens, targets = _draw(rng, pairs, SPLITS[split])
    return Strings(tokens[:size], targets[:size])


def associative_stream(pairs: int = 4, batch_size: int = 128, *, seed: int = 0) -> Iterator[Strings]:
    """Fresh batches without end, the same for the same seed on every machine.

    Args: pairs and seed as in `associative_retrieval`; batch_size: strings in a batch.
    """
    rng = np.random.RandomState([seed, len(SPLITS)])
    while True:
        yield _draw(rng, pairs, batch_size)


def decode(tokens: Tensor) -> list[str]:
    """The strings that rows of token indices stand for."""
    return ["".join(SYMBOLS[i] for i in row) for row in tokens.tolist()]


def redraw_queries(strings: Strings, *, seed: int = 0) -> Strings:
    """The same strings with each query redrawn among its own letters, the targets left as they were.

    A control: a model that binds digits to letters loses its accuracy on these; one that only knows which digits
    occurred keeps it.
    """
    tokens = strings.tokens.clone()
    pairs = (tokens.shape[1] - 3) // 2
    position = torch.from_numpy(np.random.RandomState(seed).randint(0, pairs, len(tokens)))
    tokens[:, -1] = tokens.gather(1, 2 * position.unsqueeze(1)).squeeze(1)
    return Strings(tokens, strings.targets)


def _draw(rng: np.random.RandomState, pairs: int, size: int) -> Strings:
    # RandomState: its streams are frozen, so a seed means the same strings with every numpy. Sorting uniform
    # numbers draws letters without replacement.
    if not 1 <= pairs <= 26:
        raise ValueError(f"pairs must lie in [1, 26], got {pairs}")
    letters = rng.random_sample((size, 26)).argsort(axis=1, kind="stable")[:, :pairs]
    digits = (10 * rng.random_sample((size, pairs))).astype(np.int64)
    asked = (pairs * rng.random_sample(size)).astype(np.int64)
    rows = np.arange(size)
    tokens = np.full((size, 2 * pairs + 3), SYMBOLS.index("?"))
    tokens[:, 0 : 2 * pairs : 2] = letters
    tokens[:, 1 : 2 * pairs : 2] = 26 + digits
    tokens[:, -1] = letters[rows, asked]
    return Strings(torch.from_numpy(tokens), torch.from_numpy(digits[rows, asked]))
