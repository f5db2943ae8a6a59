"""Handwritten characters of many alphabets, and episodes of one-shot learning made of them."""

import io
from typing import NamedTuple
from zipfile import ZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..lab.paths import folder_from


class Characters(NamedTuple):
    """Drawings of characters.

    Attributes:
        images: intensities from 0 to 255, ink bright, uint8, shape (classes, drawings, height, width).
        mask: which drawings exist (the images of the others are zero), bool, shape (classes, drawings).
        alphabet: the index into `names` of each class, int64, shape (classes,).
        names: of the alphabets.
    """

    images: Tensor
    mask: Tensor
    alphabet: Tensor
    names: tuple[str, ...]


class Episodes(NamedTuple):
    """Which drawing each step of some episodes shows, and its label; all of shape (length, batch), int64.

    Attributes:
        character, drawing: indices into the first two axes of `Characters.images`.
        label: number of the class in its episode, from 0; dealt anew to each episode.
        instance: how often the episode has shown the class, this time included; from 1.
    """

    character: Tensor
    drawing: Tensor
    label: Tensor
    instance: Tensor


def omniglot() -> Characters:
    """The background set at 28×28 (Lake, Salakhutdinov and Tenenbaum 2015): 964 characters of 30 alphabets."""
    folder = folder_from("WORKEDPAPERS_DATA")
    assert folder is not None
    with np.load(folder / "omniglot" / "background_28.npz") as file:
        images, mask, alphabet = (torch.from_numpy(file[name]) for name in ("images", "mask", "alphabet"))
        return Characters(images, mask, alphabet, tuple(file["names"].tolist()))


def split_alphabets(characters: Characters, held_out: int, *, seed: int = 0) -> tuple[Characters, Characters]:
    """Characters to train on and characters to test on, which share no alphabet.

    Args: held_out: how many alphabets to test on, drawn by `seed`.
    Raises: ValueError: held_out outside [1, alphabets − 1].
    """
    count = len(characters.names)
    if not 1 <= held_out < count:
        raise ValueError(f"held_out must lie in [1, {count - 1}], got {held_out}")
    chosen = np.random.RandomState(seed).permutation(count)[:held_out]
    test = torch.isin(characters.alphabet, torch.from_numpy(chosen))
    return _select(characters, ~test), _select(characters, test)


def with_rotations(characters: Characters) -> Characters:
    """Each character four times: as it is, and turned by 90, 180 and 270 degrees as characters of their own."""
    turned = torch.cat([characters.images.rot90(turns, (2, 3)) for turns in range(4)])
    return Characters(turned, characters.mask.repeat(4, 1), characters.alphabet.repeat(4), characters.names)


def draw_episodes(
    mask: Tensor, batch: int, classes: int, length: int, *, generator: torch.Generator | None = None
) -> Episodes:
    """Episodes at random: distinct characters, at each step one of them, all equally likely, and a drawing of it.

    Args:
        mask: which drawings exist, (characters, drawings), as in `Characters`.
        batch, classes, length: episodes, characters in each, steps.
        generator: of the draws, on the CPU.
    Raises: ValueError: more classes than characters; a character without drawings; a count below one.
    """
    if min(batch, classes, length) < 1 or classes > len(mask):
        raise ValueError(
            f"batch, classes and length must be at least 1 and classes at most {len(mask)}, "
            f"got {batch}, {classes} and {length}"
        )
    if not mask.any(-1).all():
        raise ValueError("every character must have a drawing")
    chosen = torch.rand(batch, len(mask), generator=generator).topk(classes).indices.T
    label = torch.randint(classes, (length, batch), generator=generator)
    character = chosen.gather(0, label)
    weights = mask[character].float().flatten(0, 1)
    drawing = torch.multinomial(weights, 1, generator=generator).view(length, batch)
    shown = torch.nn.functional.one_hot(label, classes).cumsum(0)
    return Episodes(character, drawing, label, shown.gather(2, label.unsqueeze(-1)).squeeze(-1))


def _select(characters: Characters, rows: Tensor) -> Characters:
    return Characters(characters.images[rows], characters.mask[rows], characters.alphabet[rows], characters.names)


class OneShotRuns(NamedTuple):
    """The official classification runs: in each, 20 characters of one alphabet by one person, then by another.

    Attributes:
        training, test: one drawing a character, uint8, shape (runs, 20, height, width).
        target: which training drawing shows the character of a test drawing, int64, shape (runs, 20).
    """

    training: Tensor
    test: Tensor
    target: Tensor


def oneshot_runs(size: int = 28) -> OneShotRuns:
    """The 20 runs that Lake et al. compare people and models on; their characters are of the evaluation set."""
    folder = folder_from("WORKEDPAPERS_DATA")
    assert folder is not None
    parts = []
    with ZipFile(folder / "omniglot" / "omniglot_oneshot_runs.zip") as archive:
        for run in range(1, 21):
            pairs = [line.split() for line in archive.read(f"run{run:02}/class_labels.txt").decode().splitlines()]
            training = sorted({b for _, b in pairs})
            drawings = [
                torch.stack([_drawing(archive.read(n), size) for n in names])
                for names in (training, [a for a, _ in pairs])
            ]
            parts.append((*drawings, torch.tensor([training.index(b) for _, b in pairs])))
    return OneShotRuns(*(torch.stack(part) for part in zip(*parts, strict=True)))


def _drawing(png: bytes, size: int) -> Tensor:
    """A drawing of a zip, ink bright, each pixel the mean of an area."""
    with Image.open(io.BytesIO(png)) as image:
        bright = Image.fromarray(255 - np.asarray(image.convert("L")))
    return torch.from_numpy(np.asarray(bright.resize((size, size), Image.Resampling.BOX)).copy())
