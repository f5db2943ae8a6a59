"""How the classes of an episode are called: one of C numbers, or words of five letters."""

import torch
import torch.nn.functional as F
from torch import Tensor

LETTERS = 5  # in a word
SYMBOLS = 5  # that a letter can be
NUMBERED = ("one-hot", "numbers")  # labels whose digits lie below the number of classes
LABELS = ("one-hot", "numbers", "words", "spread")


def deal(labels: str, classes: int, batch: int, generator: torch.Generator) -> Tensor:
    """The label of every class of every episode, as digits, int64, (batch, classes, digits).

    Args:
        labels: "one-hot": one digit, the class's number; "numbers": words whose letters are all that number; "words":
            different words of five letters at random; "spread": words that differ in every letter.
    Raises: ValueError: other labels; more classes than symbols where labels are numbers or words are spread.
    """
    if labels not in LABELS:
        raise ValueError(f"labels must be one of {', '.join(LABELS)}, got {labels!r}")
    if labels in ("numbers", "spread") and classes > SYMBOLS:
        raise ValueError(f"labels {labels!r} take at most {SYMBOLS} classes, got {classes}")
    if labels in NUMBERED:
        letters = 1 if labels == "one-hot" else LETTERS
        return torch.arange(classes).view(1, -1, 1).expand(batch, -1, letters)
    if labels == "words":
        words = torch.rand(batch, SYMBOLS**LETTERS, generator=generator).topk(classes).indices
        powers = SYMBOLS ** torch.arange(LETTERS)
        return words.unsqueeze(-1) // powers % SYMBOLS
    return torch.rand(batch, SYMBOLS, LETTERS, generator=generator).argsort(1)[:, :classes]


def symbols(labels: str, classes: int) -> tuple[int, int]:
    """Digits of a label, and values of each."""
    return (1, classes) if labels == "one-hot" else (LETTERS, SYMBOLS)


def values_in_use(labels: str, classes: int) -> int:
    """Values that a digit has in episodes of so many classes."""
    return classes if labels in NUMBERED else SYMBOLS


def encode(digits: Tensor, values: int) -> Tensor:
    """Digits, (…, digits), as ones and zeros, float32, (…, digits · values)."""
    return F.one_hot(digits, values).flatten(-2).float()


def loss(logits: Tensor, digits: Tensor) -> Tensor:
    """Cross-entropy of a label in nats, mean over all but its digits, which are added.

    Args: logits: (…, digits · values); digits: (…, digits).
    """
    count = digits.shape[-1]
    return count * F.cross_entropy(logits.unflatten(-1, (count, -1)).flatten(0, -2), digits.flatten())


def answer(logits: Tensor, digits: int) -> Tensor:
    """The most likely digits, int64, (…, digits)."""
    found: Tensor = logits.unflatten(-1, (digits, -1)).argmax(-1)
    return found
