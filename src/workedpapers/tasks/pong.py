"""Atari's Pong, many games at once, in eight looks: what Rusu et al. 2016 (arXiv 1606.04671) call the Pong soup.

The games run in the Arcade Learning Environment, an optional dependency: `pip install "workedpapers[pong]"`. A frame is
prepared as is usual: grey, the brighter of two neighbours, every fourth, 84 × 84 pixels, the last four together. The
looks work on such frames and need no emulator. As we remember the paper:

- `pong`: the game as it is.
- `noisy`: plus Gaussian noise that never changes.
- `black`, `white`: another background. How the rest stays visible on it is left open; here light is measured from the
  grey of the court, which becomes black, and `white` is the negative of that.
- `zoom`: three quarters of the size, moved; here to the lower right corner.
- `hflip`, `vflip`, `vhflip`: left and right, top and bottom, or both change places; the actions do not.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SIZE = 84
STACK = 4  # frames that are seen together
SKIP = 4  # frames of the emulator for an action
ACTIONS = 6  # nothing, fire, up, down, up and fire, down and fire

VARIANTS = ("pong", "noisy", "black", "white", "zoom", "hflip", "vflip", "vhflip")
COURT = 87 / 255  # grey of the background
NOISE = 0.15  # standard deviation; white is 1


def frozen_noise() -> Tensor:
    """The noise of `noisy`, float32, (84, 84)."""
    # Neither torch's default device nor its default type may change the draws.
    generator = torch.Generator().manual_seed(7)
    return NOISE * torch.randn(SIZE, SIZE, generator=generator, device="cpu", dtype=torch.float32)


def look(frames: Tensor, variant: str) -> Tensor:
    """Frames as an agent is shown them.

    Args:
        frames: grey, uint8, shape (..., 84, 84).
        variant: one of `VARIANTS`.
    Returns: of torch's default dtype and the same shape; white is 1.
    Raises: ValueError: frames of another dtype or size, an unknown variant.
    """
    _known(variant)
    if frames.dtype != torch.uint8 or frames.shape[-2:] != (SIZE, SIZE):
        raise ValueError(f"frames must be uint8 of {SIZE} × {SIZE}, got {frames.dtype}, {(*frames.shape,)}")
    return SHOWN[variant](frames.to(torch.get_default_dtype()) / 255)


def _black(frames: Tensor) -> Tensor:
    return ((frames - COURT) / (1 - COURT)).clamp(min=0)


def _zoom(frames: Tensor) -> Tensor:
    single = frames.reshape(-1, 1, SIZE, SIZE)
    small = F.interpolate(single, scale_factor=0.75, mode="bilinear", align_corners=False, antialias=True)
    gap = SIZE - small.shape[-1]
    return F.pad(small, (gap, 0, gap, 0), value=COURT).view(frames.shape)


#: What a look makes of frames (..., 84, 84) between 0 and 1.
SHOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "pong": lambda frames: frames,
    "noisy": lambda frames: frames + frozen_noise().to(frames),
    "black": _black,
    "white": lambda frames: 1 - _black(frames),
    "zoom": _zoom,
    "hflip": lambda frames: frames.flip(-1),
    "vflip": lambda frames: frames.flip(-2),
    "vhflip": lambda frames: frames.flip(-1, -2),
}


class Pong:
    """Games that run side by side; one that is over begins anew by itself, after some idle frames.

    Args:
        variant: one of `VARIANTS`.
        environments: games.
        seed: of the idle frames that each game begins with, 0 to 30.
        device: of what is returned; torch's default if None.
    Raises:
        ValueError: an unknown variant, no game.
        ImportError: the emulator is not installed.
    """

    def __init__(
        self, variant: str, environments: int, seed: int = 0, device: torch.device | str | None = None
    ) -> None:
        if environments < 1:
            raise ValueError(f"environments must be at least 1, got {environments}")
        self.variant = _known(variant)
        self.device = torch.get_default_device() if device is None else torch.device(device)
        try:
            from ale_py.vector_env import AtariVectorEnv
        except ImportError as error:
            raise ImportError('Pong needs an emulator of Atari games: pip install "workedpapers[pong]"') from error
        self._games: Any = AtariVectorEnv(
            "pong",
            environments,
            img_height=SIZE,
            img_width=SIZE,
            stack_num=STACK,
            frameskip=SKIP,
            autoreset_mode="SameStep",
        )
        self._frames = self._games.reset(seed=seed)[0]

    def observe(self) -> Tensor:
        """The last four frames of every game, shape (environments, 4, 84, 84)."""
        return look(torch.from_numpy(self._frames).to(self.device), self.variant)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Hold an action for four frames.

        Args: action: 0 to 5, see `ACTIONS`, int64, shape (environments,).
        Returns: rewards, 1 for a point won and −1 for one lost, of torch's default dtype, and whether the game is over
            (then what is observed next belongs to a new one), bool; each of shape (environments,).
        Raises: ValueError: actions of another shape or number.
        """
        if action.shape != (self._games.num_envs,):
            raise ValueError(f"action must have the shape ({self._games.num_envs},), got {(*action.shape,)}")
        if action.is_floating_point() or bool(((action < 0) | (action >= ACTIONS)).any()):
            raise ValueError(f"action must be an integer in [0, {ACTIONS - 1}], got {action.dtype}, {action.tolist()}")
        self._frames, reward, over, cut, _ = self._games.step(action.long().cpu().numpy())
        rewards = torch.from_numpy(reward).to(self.device, torch.get_default_dtype())
        return rewards, torch.from_numpy(over | cut).to(self.device)


def _known(variant: str) -> str:
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    return variant
