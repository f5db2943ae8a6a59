"""Handwritten characters of many alphabets, generated ones, and episodes of one-shot learning made of them."""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..lab.paths import folder_from
from .downloads import locate

URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
FOLDER = "omniglot"  # in `$WORKEDPAPERS_DATA` and in the cache
PARTS = {
    "background": "images_background.zip",
    "evaluation": "images_evaluation.zip",
    "small1": "images_background_small1.zip",
    "small2": "images_background_small2.zip",
}
RUNS = "omniglot_oneshot_runs.zip"
PREPARED = "background_28.npz"
#: Digests by file name: those that torchvision lists, or our own.
DIGESTS = {
    "images_background.zip": ("md5", "68d2efa1b9178cc56df9314c21c6e718"),
    "images_evaluation.zip": ("md5", "6b91aef0f799c5bb55b94e3f2daec811"),
    "images_background_small1.zip": ("sha256", "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4"),
    "images_background_small2.zip": ("sha256", "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f"),
    RUNS: ("sha256", "437c1eeab0af8484112e1b4cc0f3d541ec727f7c47b9b202da738af9dfd6c325"),
    PREPARED: ("sha256", "5bccbbd6f6872fa3d494419ad4912a5e593be6f7a2732757136d0e5ecf7aca8c"),
}
DRAWINGS, SIDE = 20, 105  # of a character; pixels
STROKES = 4  # at most, of a generated character, which lies in the square from −1 to 1
MARGIN, JITTER, SKEW, SHIFT = 0.75, 0.15, 0.25, 0.22  # at most: of its points; how they and the whole of a drawing vary
PEN, DARKNESS = 0.017, 1.0  # width of a line, a standard deviation in parts of the image; of its middle
#: The order of the alphabets of the background sets: that of `PREPARED`, so that a split is the same from either file.
ALPHABETS = (
    *("Arcadian", "Armenian", "Asomtavruli_(Georgian)", "Balinese", "Bengali", "Blackfoot", "Braille", "Cyrillic"),
    *("Early_Aramaic", "Syriac_(Estrangelo)", "Anglo-Saxon_Futhorc", "Futurama", "Grantha", "Greek", "Gujarati"),
    *("Hebrew", "Japanese_(hiragana)", "Inuktitut", "Malay_(Jawi)", "Japanese_(katakana)", "Korean", "Latin"),
    *("Alphabet_of_the_Magi", "Mkhedruli_(Georgian)", "Burmese_(Myanmar)", "N_Ko", "Ojibwe", "Sanskrit", "Tagalog"),
    "Tifinagh",
)


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


class OneShotRuns(NamedTuple):
    """Tests of one-shot classification: a drawing each of twenty characters, and twenty others to be named by them.

    Attributes:
        training, test: intensities as in `Characters`, uint8, shape (runs, 20, height, width).
        answer: for each test drawing the index of the training drawing of its character, int64, shape (runs, 20).
    """

    training: Tensor
    test: Tensor
    answer: Tensor


def omniglot(part: str = "background", size: int = 28) -> Characters:
    """Handwritten characters of the world's alphabets (Lake, Salakhutdinov and Tenenbaum 2015).

    An archive that is not in `$WORKEDPAPERS_DATA/omniglot`, where that is set, is named in a warning and taken from the
    cache or downloaded. At size 28 the background set may also stand in that folder as `background_28.npz`, which
    lacks some drawings. A damaged file is never replaced silently.

    Args:
        part: "background" (964 characters, 30 alphabets), "evaluation" (659 characters, 20 alphabets), or "small1" or
            "small2", parts of the background set (5 alphabets each).
        size: height and width; the archives' drawings have 105 pixels a side, which are averaged.
    Raises:
        ValueError: an unknown part; a size outside [1, 105]; a file that is truncated, altered or another one, with its
            path, its digest and the expected one.
        ConnectionError: the archive cannot be downloaded, with the reason.
        OSError: the cache cannot be written, or a file cannot be read.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    _check_size(size)
    folder = folder_from("WORKEDPAPERS_DATA")
    if part == "background" and size == 28 and folder and (folder / FOLDER / PREPARED).exists():
        content = _verified(PREPARED, folder / FOLDER / PREPARED)
        with np.load(io.BytesIO(content)) as file:
            images, mask, alphabet = (torch.from_numpy(file[name]) for name in ("images", "mask", "alphabet"))
            return Characters(images, mask, alphabet, tuple(file["names"].tolist()))
    with _archive(PARTS[part]) as archive:
        return _characters(archive, size)


def oneshot_runs(size: int = 28) -> OneShotRuns:
    """The twenty official runs, each with characters of one alphabet of the evaluation set.

    Args: size: as for `omniglot`, which also says what is raised.
    """
    _check_size(size)
    with _archive(RUNS) as archive:
        runs = [f"run{i:02}" for i in range(1, 21)]
        training = _images(archive, [f"{run}/training/class{i:02}.png" for run in runs for i in range(1, 21)], size)
        test = _images(archive, [f"{run}/test/item{i:02}.png" for run in runs for i in range(1, 21)], size)
        answer = []
        for run in runs:
            pairs = dict(line.split() for line in archive.read(f"{run}/class_labels.txt").decode().splitlines())
            right = [pairs[f"{run}/test/item{i:02}.png"] for i in range(1, 21)]
            answer.append([int(name.removeprefix(f"{run}/training/class").removesuffix(".png")) - 1 for name in right])
    shape = (20, 20, size, size)
    return OneShotRuns(training.view(shape), test.view(shape), torch.tensor(answer))


def strokes(classes: int, drawings: int, *, alphabets: int, size: int = 28, seed: int) -> Characters:
    """Characters of our own, for machines without Omniglot: two to four smooth strokes each, the same on every machine.

    A stroke is the parabola through three random points. A drawing moves every point, and the whole by an affine map;
    nearest neighbours in pixels find these characters about as hard to tell apart as Omniglot's.

    Args:
        classes, drawings: characters, drawings of each.
        alphabets: that the characters are dealt to in equal shares, in order; nothing else tells alphabets apart.
        size: height and width.
        seed: another seed gives other characters.
    Raises: ValueError: a count below one, more alphabets than classes, a size below 8.
    """
    if min(classes, drawings, alphabets) < 1 or alphabets > classes or size < 8:
        raise ValueError(
            f"classes, drawings and alphabets must be at least 1, alphabets at most classes and size at least 8, "
            f"got {classes}, {drawings}, {alphabets} and {size}"
        )
    rng = np.random.RandomState(seed)
    points = rng.uniform(-MARGIN, MARGIN, (classes, 1, STROKES, 3, 2))
    drawn = np.arange(STROKES) < rng.randint(2, STROKES + 1, (classes, 1, 1))
    moved = points + rng.uniform(-JITTER, JITTER, (classes, drawings, STROKES, 3, 2))
    turned = np.eye(2) + rng.uniform(-SKEW, SKEW, (classes, drawings, 1, 1, 2, 2))
    placed = (turned * moved[..., None, :]).sum(-1) + rng.uniform(-SHIFT, SHIFT, (classes, drawings, 1, 1, 2))
    images = [_draw(part, lines, size) for part, lines in zip(placed, drawn, strict=True)]
    return Characters(
        torch.from_numpy(np.stack(images)),
        torch.ones(classes, drawings, dtype=torch.bool),
        torch.arange(classes) * alphabets // classes,
        tuple(f"strokes {i + 1}" for i in range(alphabets)),
    )


def features(characters: Characters, size: int = 14) -> Tensor:
    """Images averaged down to size × size, as networks see them: float32 from 0 to 1, (classes, drawings, size²).

    Raises: ValueError: a size that does not divide that of the images.
    """
    images = characters.images
    if images.shape[-1] % size:
        raise ValueError(f"size {size} must divide that of the images, {images.shape[-1]}")
    pixels = images.float().flatten(0, 1).unsqueeze(1) / 255
    return F.avg_pool2d(pixels, images.shape[-1] // size).flatten(1).view(*images.shape[:2], -1)


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


def _check_size(size: int) -> None:
    if not 1 <= size <= SIDE:
        raise ValueError(f"size must lie in [1, {SIDE}], got {size}")


def _archive(name: str) -> zipfile.ZipFile:
    file = locate(FOLDER, name, [URL], lambda file: _content(name, file), stacklevel=4)  # whoever called `omniglot`
    return zipfile.ZipFile(io.BytesIO(_verified(name, file)))


def _verified(name: str, file: Path) -> bytes:
    try:
        return _content(name, file)
    except ValueError as error:
        advice = (
            "or delete it to have the archive downloaded" if name == PREPARED else "or delete it to have it downloaded"
        )
        raise ValueError(f"{file} {error}. Replace it, {advice}") from error


def _content(name: str, file: Path) -> bytes:
    """The bytes of a file; ValueError if they are not those of `name`."""
    algorithm, expected = DIGESTS[name]
    content = file.read_bytes()
    found = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if found != expected:
        label = {"md5": "MD5", "sha256": "SHA-256"}[algorithm]
        raise ValueError(f"has {len(content)} bytes with {label} {found}; expected {expected}")
    return content


def _characters(archive: zipfile.ZipFile, size: int) -> Characters:
    """Of drawings that are named part/alphabet/character01/0001_01.png, number of the character and of the drawing."""
    drawings: dict[tuple[str, str], list[str]] = {}
    for name in sorted(name for name in archive.namelist() if name.endswith(".png")):
        _, alphabet, character, _ = name.split("/")
        drawings.setdefault((alphabet, character), []).append(name)
    order = {alphabet: place for place, alphabet in enumerate(ALPHABETS)}
    names = sorted({alphabet for alphabet, _ in drawings}, key=lambda name: (order.get(name, len(order)), name))
    classes = sorted(drawings, key=lambda key: (names.index(key[0]), key[1]))
    images = _images(archive, [name for key in classes for name in drawings[key]], size)
    shape = (len(classes), DRAWINGS)
    numbers = torch.tensor([names.index(alphabet) for alphabet, _ in classes])
    return Characters(images.view(*shape, size, size), torch.ones(shape, dtype=torch.bool), numbers, tuple(names))


def _images(archive: zipfile.ZipFile, names: Sequence[str], size: int) -> Tensor:
    """Drawings with bright ink, which is black in the archive."""
    found = np.empty((len(names), size, size), np.uint8)
    for name, place in zip(names, found, strict=True):
        with archive.open(name) as file, Image.open(file) as image:
            ink = Image.fromarray(255 - np.asarray(image.convert("L")))
        place[:] = np.asarray(ink.resize((size, size), Image.Resampling.BOX))
    return torch.from_numpy(found)


def _draw(points: NDArray[np.float64], drawn: NDArray[np.bool_], size: int) -> NDArray[np.uint8]:
    """Drawings of one character with a soft pen.

    Positions are rounded to sixteenths of a pixel; from there on all sums are exact, whatever their order.

    Args: points: (drawings, strokes, 3, 2), in the square from −1 to 1; drawn: which strokes there are, (1, strokes).
    Returns: (drawings, size, size).
    """
    t = np.linspace(0, 1, 2 * size + 1)
    through = np.stack(((1 - t) * (1 - 2 * t), 4 * t * (1 - t), t * (2 * t - 1)))  # parabolas: one at 0, ½ or 1
    curve: NDArray[np.float64] = (through[..., None] * points[:, drawn[0], :, None]).sum(-3).clip(-1, 1)
    curve = np.rint((curve + 1) / 2 * (size - 1) * 16) / 16
    ink = np.rint(np.sqrt((np.diff(curve, axis=-2) ** 2).sum(-1)) * 16) / 16  # as much as the pen moves
    place, part = np.divmod(curve[..., 1:, :], 1)
    reach = size // 7
    width = size + 2 * reach + 1
    corner = place.astype(np.int64) + reach
    which = np.arange(len(points))[:, None, None] * width
    flat = np.zeros(len(points) * width * width)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):  # the four pixels around a position
        share = ink * np.abs(1 - row - part[..., 1]) * np.abs(1 - column - part[..., 0])
        index = ((which + corner[..., 1] + row) * width + corner[..., 0] + column).ravel()
        flat += np.bincount(index, share.ravel(), len(flat))
    profile = np.rint(64 * np.exp(-0.5 * (np.arange(-reach, reach + 1) / (PEN * size)) ** 2))
    ground = flat.reshape(len(points), width, width)
    for axis in (1, 2):
        windows = np.lib.stride_tricks.sliding_window_view(ground, len(profile), axis)
        ground = (windows[:, :size] if axis == 1 else windows[:, :, :size]) @ profile
    found: NDArray[np.uint8] = np.rint(255 * np.minimum(DARKNESS * ground / (64 * profile.sum()), 1)).astype(np.uint8)
    return found
