"""Catch, many boards at once, in eight looks: what stands in for Pong and its variants.

A ball falls one row a step down a board of 10 × 10; a paddle of three cells moves along the bottom row. After nine
steps the ball has landed: reward 1 if the paddle is under it, else −1. The paddle can always arrive: it needs at most
seven moves, so the best score is 1.

Rusu et al. 2016 (arXiv 1606.04671) show Pong to an agent as it is or changed; the looks here have the names of theirs:

- `catch`: light ball and paddle on grey; the paper's Pong.
- `noisy`: plus noise that never changes.
- `black`, `white`: the background black, or white with ball and paddle black.
- `zoom`: three quarters of the size, moved to the lower right corner.
- `hflip`, `vflip`, `vhflip`: left and right, top and bottom, or both change places; the actions do not.
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
    """The noise of `noisy`, before it is centred and halved: uniform in [0, 1), float32, (10, 10)."""
    # Neither torch's default device nor its default type may change the draws.
    return torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(7), device="cpu", dtype=torch.float32)


def render(ball: Tensor, paddle: Tensor, variant: str) -> Tensor:
    """Pictures of boards.

    Args:
        ball: row and column of each ball, int64, shape (boards, 2).
        paddle: column of the middle of each paddle, 1 to 8, int64, shape (boards,).
        variant: one of `VARIANTS`.
    Returns: of torch's default dtype, shape (boards, 1, 10, 10).
    Raises: ValueError: shapes that do not agree, a ball or a paddle off the board, an unknown variant.
    """
    _known(variant)
    if ball.dim() != 2 or ball.shape[1] != 2 or paddle.shape != ball.shape[:1]:
        raise ValueError(f"expected ball (boards, 2) and paddle (boards,), got {(*ball.shape,)} and {(*paddle.shape,)}")
    if bool(((ball < 0) | (ball >= SIZE)).any()):
        raise ValueError(f"ball must lie in [0, {SIZE - 1}], got {ball.min()} to {ball.max()}")
    if bool(((paddle < 1) | (paddle > SIZE - 2)).any()):
        raise ValueError(f"paddle must lie in [1, {SIZE - 2}], got {paddle.min()} to {paddle.max()}")
    return _picture(ball[:, 0], ball[:, 1], paddle, variant)


def _picture(row: Tensor, column: Tensor, paddle: Tensor, variant: str) -> Tensor:
    image = torch.zeros(len(paddle), SIZE, SIZE, device=paddle.device)
    board = torch.arange(len(paddle), device=paddle.device)
    for shift in (-1, 0, 1):
        image[board, -1, paddle + shift] = 1.0
    image[board, row, column] = 1.0
    return SHOWN[variant](image).unsqueeze(1)


def _grey(image: Tensor) -> Tensor:
    return GREY + (1 - GREY) * image


def _zoom(image: Tensor) -> Tensor:
    """Three quarters as large, in the lower right corner, with the light it had."""
    small = F.interpolate(
        image.unsqueeze(1), scale_factor=0.75, mode="bilinear", align_corners=False, antialias=True
    ).squeeze(1)
    gap = SIZE - small.shape[-1]
    light = (SIZE / small.shape[-1]) ** 2
    return _grey(F.pad((light * small).clamp(max=1), (gap, 0, gap, 0)))


#: What a look makes of boards (boards, 10, 10) with ones where ball and paddle are.
SHOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "catch": _grey,
    "noisy": lambda image: _grey(image) + 0.5 * (frozen_noise().to(image) - 0.5),
    "black": lambda image: image,
    "white": lambda image: 1 - image,
    "zoom": _zoom,
    "hflip": lambda image: _grey(image.flip(-1)),
    "vflip": lambda image: _grey(image.flip(-2)),
    "vhflip": lambda image: _grey(image.flip(-1, -2)),
}


class Catch:
    """Boards that begin together, each with a ball and a paddle at random.

    Args:
        variant: one of `VARIANTS`.
        boards: how many.
        generator: of the CPU, for the columns where the balls fall and where the paddles begin.
        device: of the boards; torch's default if None.
    Attributes:
        row: of all balls.
        column: of each ball, int64, shape (boards,).
        paddle: column of the middle of each paddle, 1 to 8, int64, shape (boards,).
    Raises: ValueError: an unknown variant, fewer than one board.
    """

    def __init__(
        self,
        variant: str,
        boards: int,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if boards < 1:
            raise ValueError(f"boards must be at least 1, got {boards}")
        device = torch.get_default_device() if device is None else device
        self.variant = _known(variant)
        self.row = 0
        self.column = torch.randint(SIZE, (boards,), generator=generator, device="cpu").to(device)
        self.paddle = torch.randint(1, SIZE - 1, (boards,), generator=generator, device="cpu").to(device)

    def observe(self) -> Tensor:
        """The boards as they look now, shape (boards, 1, 10, 10)."""
        return _picture(torch.full_like(self.column, self.row), self.column, self.paddle, self.variant)

    def step(self, action: Tensor) -> Tensor | None:
        """Move every paddle by a cell or not, and let every ball fall by a row.

        Args: action: 0 left, 1 stay, 2 right, int64, shape (boards,). At the edge a paddle stays.
        Returns: the rewards, shape (boards,), when the balls have landed; before that None.
        Raises:
            ValueError: actions of another shape or number.
            RuntimeError: the balls have landed before.
        """
        if self.row == STEPS:
            raise RuntimeError("the balls have landed: begin with new boards")
        if action.shape != self.paddle.shape:
            raise ValueError(f"action must have the shape {(*self.paddle.shape,)}, got {(*action.shape,)}")
        if action.is_floating_point() or bool(((action < 0) | (action >= ACTIONS)).any()):
            raise ValueError(
                f"action must be 0, 1 or 2, an integer, got {action.dtype}, {action.min()} to {action.max()}"
            )
        self.paddle = (self.paddle + action - 1).clamp(1, SIZE - 2)
        self.row += 1
        if self.row < STEPS:
            return None
        return torch.where((self.paddle - self.column).abs() <= 1, 1.0, -1.0)


def random_score() -> float:
    """Mean reward where every action is drawn uniformly: exactly, from the last row upwards.

    It is −0.4: wherever a paddle ends, it is under three of the ten columns.
    """
    places = range(1, SIZE - 1)  # of the paddle
    value = {(ball, paddle): 1.0 if abs(ball - paddle) <= 1 else -1.0 for ball in range(SIZE) for paddle in places}
    for _ in range(STEPS):
        value = {
            (ball, paddle): sum(value[ball, min(max(paddle + move, 1), SIZE - 2)] for move in (-1, 0, 1)) / ACTIONS
            for ball, paddle in value
        }
    return sum(value.values()) / len(value)


def _known(variant: str) -> str:
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    return variant
