"""Sequences whose later frames can be told from earlier ones, if those were kept.

The tasks of Gemici et al. 2017 (arXiv 1702.04649), as they are defined here: its text was not at hand. Every episode
is drawn anew from a stock of images and a generator, both on the CPU; the same generator gives the same episodes. An
image is drawn with equal chances from the whole stock, so the same one may come twice where nothing else is said.
"""

from typing import NamedTuple

import torch
from torch import Tensor

MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # up, down, left, right: rows and columns of a map


class Episodes(NamedTuple):
    """A batch of sequences.

    Attributes:
        frames: (time, batch, pixels), of the images' dtype.
        new: frames that the past says nothing of, or of a panorama not all, (time, batch), bool.
        told: frames that follow from the past, (time, batch), bool: as they are, in `parity` their digit, in `panorama`
            all but the noise. None is new as well; a cue is neither.
        context: what is known of a frame beforehand, (time, batch, entries), of the frames' dtype; None where there is
            nothing.
    """

    frames: Tensor
    new: Tensor
    told: Tensor
    context: Tensor | None = None


def recall(images: Tensor, batch: int, stored: int, recalled: int, generator: torch.Generator) -> Episodes:
    """Random images, then the first of them again, in order.

    Args:
        images: (stock, pixels).
        batch: sequences.
        stored, recalled: frames of either kind, recalled at most stored.
        generator: of the draws.
    Returns: frames of shape (stored + recalled, batch, pixels), the last `recalled` told; no context.
    Raises: ValueError: no images; batch or recalled below 1, or recalled above stored.
    """
    _check(images, batch, stored, recalled)
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
    """Random digits, then for each of the first of them, in order, a random 1 where it is odd, else a random 0.

    Args:
        images, batch, stored, recalled, generator: as for `recall`.
        labels: the digits of the images, (stock,), integers.
        told: whether the context tells of each frame whether it is a random digit, a zero or a one (one-hot).
    Returns: as of `recall`; with `told` a context of three entries.
    Raises: ValueError: as of `recall`; labels that are not one an image; no zero or no one among them.
    """
    _check(images, batch, stored, recalled)
    stocks = _by_digit(images, labels, 2)
    shown = _draw(len(images), (stored, batch), generator)
    answers = shown.new_empty(recalled, batch)
    odd = labels[shown[:recalled]] % 2 == 1
    for digit, stock in enumerate(stocks):
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

    The digits, 0 to stored − 1, each once, make the places one cycle, each of them as likely as the others.

    Args: images, labels, batch, recalled, generator: as for `parity`; stored: at most 10, recalled at most as many.
    Returns: as of `recall`.
    Raises: ValueError: as of `recall`; labels that are not one an image; stored above 10; a digit without an image.
    """
    _check(images, batch, stored, recalled)
    if stored > 10:
        raise ValueError(f"stored must be at most 10, one place a digit, got {stored}")
    stocks = _by_digit(images, labels, stored)
    tour = torch.rand(stored, batch, generator=generator).argsort(0)  # the places, in the order of the visits
    names = torch.empty_like(tour).scatter(0, tour, tour.roll(-1, 0))
    drawn = torch.stack([stock[_draw(len(stock), (batch,), generator)] for stock in stocks])
    shown = drawn.gather(0, names)
    place, again = torch.zeros(1, batch, dtype=torch.long), []
    for _ in range(recalled):
        again.append(shown.gather(0, place))
        place = names.gather(0, place)
    return _told(images[torch.cat((shown, *again))], stored)


def cue(images: Tensor, batch: int, stored: int, recalled: int, generator: torch.Generator) -> Episodes:
    """Distinct images, one of them again, and then those that followed it.

    Args: as for `recall`, recalled below stored, stored at most the images of the stock.
    Returns: frames of shape (stored + 1 + recalled, batch, pixels); frame `stored` is the cue. No context.
    Raises: ValueError: batch below 1, or sizes outside these.
    """
    _check_counts(batch=batch)
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
    """A random walk on a map of images, side × side, whose edges meet; the move to each place is the context.

    Args:
        images: (stock, pixels).
        batch: walks, each on a map of its own, from a place of its own.
        side: of the map.
        steps: frames.
        generator: of the draws.
    Returns: frames of shape (steps, batch, pixels), told where the place has been visited, else new; the context, of
        four entries, is one-hot in the order of `MOVES`, and zero for the first frame.
    Raises: ValueError: no images; batch or steps below 1, side below 2.
    """
    _check_stock(images)
    _check_counts(batch=batch, steps=steps)
    if side < 2:
        raise ValueError(f"side must be at least 2, for a move to lead elsewhere, got {side}")
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
    by 1 to window pixels to one side, as the context tells; normal noise comes on top of each frame.

    Args:
        batch: views, each of a ring of its own.
        ring, window: pixels around, pixels seen.
        steps: frames.
        generator: of the draws.
        noise: its deviation.
    Returns: frames of shape (steps, batch, window). Told: all from a full turn on. New: until the view passes the end
        of the ring; such a frame shows again what has not left the view. Frames in between are neither. The context, of
        `window` entries, is one-hot, a turn by one pixel first, and zero for the first frame.
    Raises: ValueError: batch, steps or window below 1; ring below 3 or below window; negative noise.
    """
    _check_counts(batch=batch, steps=steps, window=window)
    if ring < max(3, window):
        raise ValueError(f"ring must be at least 3, and at least window, {window}, got {ring}")
    if not noise >= 0:
        raise ValueError(f"noise must not be negative, got {noise}")
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


def _check(images: Tensor, batch: int, stored: int, recalled: int) -> None:
    _check_stock(images)
    _check_counts(batch=batch)
    if not 1 <= recalled <= stored:
        raise ValueError(f"1 <= recalled <= stored must hold, got {recalled} and {stored}")


def _check_stock(images: Tensor) -> None:
    if not len(images):
        raise ValueError(f"images must hold at least one, got shape {tuple(images.shape)}")


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def _by_digit(images: Tensor, labels: Tensor, digits: int) -> list[Tensor]:
    """Which images show a digit, for each of the first digits."""
    if labels.shape != images.shape[:1]:
        raise ValueError(f"labels must be one an image, {tuple(images.shape[:1])}, got {tuple(labels.shape)}")
    stocks = [(labels == digit).nonzero()[:, 0] for digit in range(digits)]
    for digit, stock in enumerate(stocks):
        if not len(stock):
            raise ValueError(f"images must hold every digit below {digits}, there is no {digit}")
    return stocks


def _draw(count: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(count, shape, generator=generator)
