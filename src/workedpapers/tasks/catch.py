"""Catch, many boards at once, and variants of how it looks.

A ball falls one row a step down a board of 10 × 10; a paddle of three cells moves along the bottom row. After nine steps the
ball has landed: reward 1 if the paddle is under it, else −1.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

SIZE = 10
STEPS = SIZE - 1
ACTIONS = 3  # left, stay, right

VARIANTS = ("catch", "noisy", "black", "white", "zoom", "hflip", "vflip", "vhflip")
GREY = 0.35


def frozen_noise() -> Tensor:
    return torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(7))


def render(ball: Tensor, paddle: Tensor, variant: str) -> Tensor:
    """Images (boards, 1, 10, 10) from cells of ball (boards, 2) and paddle (boards,)."""
    n = len(ball)
    image = torch.zeros(n, SIZE, SIZE, device=ball.device)
    index = torch.arange(n, device=ball.device)
    for shift in (-1, 0, 1):
        image[index, -1, paddle + shift] = 1.0
    image[index, ball[:, 0], ball[:, 1]] = 1.0
    return SHOWN[variant](image).unsqueeze(1)


def _zoom(image: Tensor) -> Tensor:
    small = F.interpolate(
        image.unsqueeze(1), scale_factor=0.75, mode="bilinear", align_corners=False, antialias=True
    ).squeeze(1)
    gap = SIZE - small.shape[-1]
    return _grey(F.pad(small, (gap, 0, gap, 0)))


def _grey(image: Tensor) -> Tensor:
    return GREY + (1 - GREY) * image


SHOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "catch": _grey,
    "noisy": lambda image: _grey(image) + 0.5 * (frozen_noise().to(image.device) - 0.5),
    "black": lambda image: image,
    "white": lambda image: 1 - image,
    "zoom": _zoom,
    "hflip": lambda image: _grey(image.flip(-1)),
    "vflip": lambda image: _grey(image.flip(-2)),
    "vhflip": lambda image: _grey(image.flip(-1, -2)),
}


class Catch:
    """Boards that begin together."""

    def __init__(self, variant: str, boards: int, generator: torch.Generator) -> None:
        self.variant = variant
        self.row = 0
        self.column = torch.randint(SIZE, (boards,), generator=generator)
        self.paddle = torch.randint(1, SIZE - 1, (boards,), generator=generator)

    def observe(self) -> Tensor:
        row = torch.full_like(self.column, self.row)
        return render(torch.stack((row, self.column), 1), self.paddle, self.variant)

    def step(self, action: Tensor) -> Tensor | None:
        self.paddle = (self.paddle + action - 1).clamp(1, SIZE - 2)
        self.row += 1
        if self.row < STEPS:
            return None
        return torch.where((self.paddle - self.column).abs() <= 1, 1.0, -1.0)
