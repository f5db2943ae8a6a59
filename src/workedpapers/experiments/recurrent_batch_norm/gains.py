"""How gradients travel through time before any training: the paper's first figure, and steps without variance."""

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.lab import Experiment
from workedpapers.recurrent_batch_norm import BatchNormLSTM
from workedpapers.tasks.splits import Split

from .descent import seeded

WEIGHTS = ("orthogonal", "identity")
INPUTS = ("none", "white", "pixels")
GAMMAS = (0.1, 0.3, 0.5, 0.7, 1.0)


@dataclass(frozen=True)
class Gain:
    """A network h_t = tanh(BN(W h_{t−1}; γ) + BN(x_t; γ)), or a batch-normalised LSTM, and the gradient of a random
    linear loss of its last state h.

    Args:
        gamma: γ of all norms.
        weights: W, "orthogonal" or "identity".
        inputs: "none"; "white": standard normal, of its own for each unit and step; "pixels": digits, one pixel a step,
            times ±1 for each unit, from the end of the picture backwards as many steps as there are.
        units, batch_size, steps: of the run.
        back: steps over which the gradient is followed.
        cell: "tanh", or "lstm" with the starting values of `BatchNormLSTM`: W has 4 · units rows, orthonormal columns,
            or the identity in its block of g and three orthogonal gates.
    """

    gamma: float = 0.1
    weights: str = "orthogonal"
    inputs: str = "none"
    units: int = 100
    batch_size: int = 100
    steps: int = 200
    back: int = 100
    cell: str = "tanh"


def standardize(x: Tensor) -> Tensor:
    """Every column over the batch, without ε; 0 where all are equal."""
    return (x - x.mean(0)) / x.var(0, correction=0).clamp_min(1e-20).sqrt()


def norms(config: Gain, seed: int, device: torch.device) -> dict[str, object]:
    """Follow one gradient, in float64.

    Returns: `curve_norm`: log10 of |∂L/∂h_{T−k}| over |∂L/∂h_T| for k = 0, 1, … `back`, in an LSTM with ∂L/∂c in it
        for k above 0; `gain`: of one step, the geometric mean over them; `kurtosis`: of a unit's last values over the
        batch, mean over units (3: normal, 1: two points).
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    size, rows = (config.batch_size, config.units), config.units * (4 if config.cell == "lstm" else 1)
    weight = torch.eye(config.units, dtype=torch.float64)
    if config.weights == "orthogonal":
        weight = torch.linalg.qr(normal(rows, config.units))[0]
    elif config.cell == "lstm":
        i, f, o = torch.linalg.qr(normal(3 * config.units, config.units))[0].chunk(3)
        weight = torch.cat((i, f, weight, o))
    if config.inputs == "pixels":
        pixels = Split.load("digits", "train", torch.device("cpu")).images[: config.batch_size].flatten(1)
        pixels = pixels[:, -config.steps :].double()
        signs = normal(rows).sign()

    def step(t: int, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        z = config.gamma * standardize(h @ weight.T)
        if config.inputs == "white":
            z = z + config.gamma * standardize(normal(config.batch_size, rows))
        elif config.inputs == "pixels":
            z = z + config.gamma * standardize(pixels[:, t, None]) * signs
        if config.cell == "tanh":
            return torch.tanh(z), c
        i, f, g, o = z.chunk(4, -1)
        c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)  # forget bias 1
        return torch.sigmoid(o) * torch.tanh(config.gamma * standardize(c)), c

    h = normal(*size).mul_(config.gamma).tanh_()
    c = torch.zeros_like(h)
    kept: list[tuple[Tensor, Tensor]] = []
    for t in range(config.steps):
        if t == config.steps - config.back:
            h, c = h.detach().requires_grad_(), c.detach().requires_grad_()
        if t >= config.steps - config.back:
            h.retain_grad()
            c.retain_grad()
            kept.append((h, c))
        h, c = step(t, h, c)
    slope = normal(*size)
    (h * slope).sum().backward()

    def length(*state: Tensor) -> float:
        squares = [float(part.grad.square().sum()) for part in state if part.grad is not None]
        return math.sqrt(sum(squares))

    found = [float(slope.norm()), *(length(*state) for state in reversed(kept))]
    logs = torch.tensor(found, dtype=torch.float64).log10()
    logs = (logs - logs[0]).clamp_min(-300)
    last = standardize(h.detach())
    return {
        "curve_norm": [round(float(value), 5) for value in logs],
        "gain": float(10 ** (logs[-1] / config.back)),
        "kurtosis": float(last.pow(4).mean()),
    }


@dataclass(frozen=True)
class Dead:
    """Gradients of a batch-normalised LSTM before training, on digits behind some steps at which all examples agree.

    Weights are orthogonal as a whole, so that the block of g halves a vector's length: a dead step multiplies the
    gradient by about σ(f) + σ(o) σ(i) γ² / 2ε, about half of what the identity in that block would give.

    Args:
        blanks: such steps, pixels of value zero; the digits' own first pixel, blank in all of them, is left out.
        noise: standard deviation of the starting state.
        eps: under every root.
        normalize_cell: whether the cell is normalised.
        weight_init: of every γ.
        double: float64 instead of float32.
        units, batch_size: of the run.
    """

    blanks: int = 0
    noise: float = 0.0
    eps: float = 1e-5
    normalize_cell: bool = True
    weight_init: float = 0.1
    double: bool = False
    units: int = 64
    batch_size: int = 64


def dead(config: Dead, seed: int, device: torch.device) -> dict[str, object]:
    """One backward pass.

    Returns: `gradient`: log10 of its norm over all parameters; `first`: log10 of that for the starting state; None for
        what is zero or not finite.
    """
    cpu = torch.device("cpu")
    with seeded(seed, cpu):
        batches = Split.load("digits", "train", cpu).batches(config.batch_size, torch.Generator().manual_seed(seed))
        images, labels = next(batches)
        pixels = F.pad(images.flatten(1)[:, 1:], (config.blanks, 0)).t().unsqueeze(-1)
        layer = BatchNormLSTM(
            1,
            config.units,
            max_length=len(pixels),
            eps=config.eps,
            weight_init=config.weight_init,
            normalize_cell=config.normalize_cell,
        )
        model = nn.ModuleList([layer, nn.Linear(config.units, 10)])
        state = config.noise * torch.randn(2, config.batch_size, config.units)
        if config.double:
            model, state, pixels = model.double(), state.double(), pixels.double()
        state.requires_grad_()
        outputs, _ = layer(pixels, tuple(state.unbind()))
        F.cross_entropy(model[1](outputs[-1]), labels).backward()
        everything = torch.cat([value.grad.flatten() for value in model.parameters() if value.grad is not None])
        assert state.grad is not None
        return {"gradient": _log(everything), "first": _log(state.grad)}


def _log(gradient: Tensor) -> float | None:
    norm = gradient.double().norm()
    return float(norm.log10()) if norm.isfinite() and norm > 0 else None


_pixels, _lstm = Gain(inputs="pixels", steps=64, back=60), Gain(cell="lstm")
GAINS = Experiment(
    "recurrent_batch_norm_gains",
    Gain,
    norms,
    {
        "check": [
            Gain(weights=weights, inputs=inputs, units=10, batch_size=12, steps=8, back=5)
            for weights, inputs in product(WEIGHTS, INPUTS)
        ]
        + [
            Gain(weights=weights, inputs="pixels", units=10, batch_size=12, steps=8, back=5, cell="lstm")
            for weights in WEIGHTS
        ],
        "book": [
            *(Gain(*settings) for settings in product(GAMMAS, WEIGHTS, INPUTS[:2])),
            *(replace(_pixels, gamma=gamma, weights=weights) for gamma, weights in product(GAMMAS, WEIGHTS)),
            *(replace(_lstm, gamma=g, weights=w, inputs=i) for g, w, i in product(GAMMAS[::2], WEIGHTS, INPUTS[:2])),
            *(replace(_pixels, gamma=g, weights=w, cell="lstm") for g, w in product(GAMMAS[::2], WEIGHTS)),
        ],
    },
    {"check": range(1), "book": range(5)},
)
BLANKS = (0, 1, 2, 4, 8, 12, 16)
CURES: tuple[dict[str, Any], ...] = ({}, {"noise": 0.1}, {"noise": 1.0}, {"eps": 0.1}, {"normalize_cell": False})
DEAD = Experiment(
    "recurrent_batch_norm_dead",
    Dead,
    dead,
    {
        "check": [
            Dead(2, units=8, batch_size=8),
            Dead(2, noise=0.1, units=8, batch_size=8, double=True),
            Dead(2, eps=0.1, normalize_cell=False, units=8, batch_size=8),
        ],
        "book": [Dead(blanks, **cure) for blanks, cure in product(BLANKS, CURES)],
    },
    {"check": range(1), "book": range(5)},
)
