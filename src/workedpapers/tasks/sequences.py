"""Sequences whose later frames can be told from earlier ones, if those were kept.

The tasks of Gemici et al. 2017 (arXiv 1702.04649), as they are defined here: its text was not at hand. Every episode
is drawn anew from a stock of images and a generator.
"""

from typing import NamedTuple

import torch
from torch import Tensor

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # up, down, left, right: rows and columns of a map


class Episodes(NamedTuple):
    """A batch of sequences.

    Attributes:
        frames: (time, batch, pixels).
        new: frames that nobody could know, (time, batch), bool.
        told: frames that follow from the past, whole, (time, batch), bool. A cue is neither new nor told.
        context: what is known of a frame beforehand, (time, batch, entries); None where there is nothing.
    """

    frames: Tensor
    new: Tensor
    told: Tensor
    context: Tensor | None = None


def recall(images: Tensor, batch: int, stored: int, recalled: int, generator: torch.Generator) -> Episodes:
    """Random images, then the first of them again, in order.

    Args: images: (stock, pixels); batch: sequences; stored, recalled: frames of either kind, recalled ≤ stored.
    """
    _check(stored, recalled)
    shown = _draw(len(images), (stored, batch), generator)
    return _told(images[torch.cat((shown, shown[:recalled]))], stored)


def parity(
    images: Tensor,
    labels: Tensor,
    batch: int,
    stored: int,
    recalled: int,
    generator: torch.Generator,
    *,
    told: bool = False,
) -> Episodes:
    """Random digits, then for each of the first of them, in order, a random one where it is odd, else a random zero.

    Args:
        images: (stock, pixels); labels: their digits, (stock,); the rest as for `recall`.
        told: whether the context tells of each frame whether it is a random digit, a zero or a one (one-hot).
    """
    _check(stored, recalled)
    shown = _draw(len(images), (stored, batch), generator)
    answers = shown.new_empty(recalled, batch)
    odd = labels[shown[:recalled]] % 2 == 1
    for digit in (0, 1):
        stock = (labels == digit).nonzero()[:, 0]
        drawn = stock[_draw(len(stock), (recalled, batch), generator)]
        answers = torch.where(odd == bool(digit), drawn, answers)
    episodes = _told(images[torch.cat((shown, answers))], stored)
    if told:
        kind = torch.cat((torch.zeros_like(shown), 1 + odd.long()))
        episodes = episodes._replace(context=torch.nn.functional.one_hot(kind, 3).to(images.dtype))
    return episodes


def pointer(
    images: Tensor, labels: Tensor, batch: int, stored: int, recalled: int, generator: torch.Generator
) -> Episodes:
    """Digits in a chain: the first is shown again, then the one at the place that it names, and so on.

    The digits, 0 to stored − 1, each once, make the places one cycle.

    Args: stored: at most ten; the rest as for `parity`.
    """
    _check(stored, recalled)
    if stored > 10:
        raise ValueError(f"stored must be at most 10, one place a digit, got {stored}")
    tour = torch.rand(stored, batch, generator=generator).argsort(0)  # the places, in the order of the visits
    names = torch.empty_like(tour).scatter(0, tour, tour.roll(-1, 0))
    stocks = [(labels == digit).nonzero()[:, 0] for digit in range(stored)]
    drawn = torch.stack([stock[_draw(len(stock), (batch,), generator)] for stock in stocks])
    shown = drawn.gather(0, names)
    place, again = torch.zeros(1, batch, dtype=torch.long), []
    for _ in range(recalled):
        again.append(shown.gather(0, place))
        place = names.gather(0, place)
    return _told(images[torch.cat((shown, *again))], stored)


def cue(images: Tensor, batch: int, stored: int, recalled: int, generator: torch.Generator) -> Episodes:
    """Distinct images, one of them again, and then those that followed it.

    Args: as for `recall`, recalled < stored.
    """
    if not 1 <= recalled < stored <= len(images):
        raise ValueError(
            f"1 <= recalled < stored <= number of images must hold, got {recalled}, {stored}, {len(images)}"
        )
    shown = torch.rand(batch, len(images), generator=generator).topk(stored).indices.T
    first = _draw(stored - recalled, (batch,), generator)
    again = torch.stack([shown.gather(0, first[None] + i)[0] for i in range(recalled + 1)])
    episodes = _told(images[torch.cat((shown, again))], stored)
    episodes.told[stored] = False
    return episodes


def walk(images: Tensor, batch: int, side: int, steps: int, generator: torch.Generator) -> Episodes:
    """A random walk on a map of images, side by side, whose edges meet; the move to each place is the context.

    Args: images: (stock, pixels); batch: walks, each on a map of its own; side: of the map; steps: frames.
    """
    maps = _draw(len(images), (batch, side * side), generator)
    rows, columns = _draw(side, (2, batch), generator)
    moves = _draw(len(MOVES), (steps, batch), generator)
    change = torch.tensor(MOVES)[moves]
    change[0] = 0
    rows = (rows + change[..., 0].cumsum(0)) % side
    columns = (columns + change[..., 1].cumsum(0)) % side
    places = rows * side + columns
    told = torch.stack([(places[:t] == places[t]).any(0) for t in range(steps)])
    context = torch.nn.functional.one_hot(moves, len(MOVES)).to(images.dtype)
    context[0] = 0
    return Episodes(images[maps.gather(1, places.T).T], ~told, told, context)


def panorama(
    batch: int, ring: int, window: int, steps: int, generator: torch.Generator, *, noise: float = 0.1
) -> Episodes:
    """A view that turns in a ring of random brightness; the angle that was turned by is the context.

    The ring holds independent standard normal values, smoothed over three neighbours and scaled back. Each step turns
    by 1 to window pixels to one side, as the context tells (one-hot); normal noise comes on top of each frame.

    Args: ring, window: pixels around, pixels seen; steps: frames; noise: its deviation.
    """
    raw = torch.randn(batch, ring, generator=generator)
    around = (raw.roll(1, 1) + raw + raw.roll(-1, 1)) / 3**0.5
    turns = 1 + _draw(window, (steps, batch), generator)
    turns[0] = 0
    begin = turns.cumsum(0)
    seen = (begin.unsqueeze(-1) + torch.arange(window)) % ring  # (steps, batch, window)
    frames = around.T.gather(0, seen.permute(0, 2, 1).reshape(-1, batch)).unflatten(0, (steps, window)).mT
    frames = frames + noise * torch.randn(frames.shape, generator=generator)
    told = begin >= ring  # a turn is complete
    context = torch.nn.functional.one_hot(turns, window + 1)[..., 1:].to(frames.dtype)
    return Episodes(frames, begin + window <= ring, told, context)


def _told(frames: Tensor, stored: int) -> Episodes:
    told = torch.zeros(frames.shape[:2], dtype=torch.bool)
    told[stored:] = True
    new = torch.zeros_like(told)
    new[:stored] = True
    return Episodes(frames, new, told)


def _check(stored: int, recalled: int) -> None:
    if not 1 <= recalled <= stored:
        raise ValueError(f"1 <= recalled <= stored must hold, got {recalled} and {stored}")


def _draw(count: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(count, shape, generator=generator)
