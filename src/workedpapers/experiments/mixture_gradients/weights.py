"""Pyro's gradient for weights: where it is exact, and where it is not."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from workedpapers.lab import Experiment
from workedpapers.mixture_gradients import MixtureNormal

HALF_WIDTHS = (2, 3, 4, 5, 6, 8)


@dataclass(frozen=True)
class Peer:
    """Two equal components at (±1, shift) with standard deviation `sigma`, and a cost of `COSTS` or "separable".

    Args:
        points: of the grid on each axis; it reaches eight to each side of the middle.
        samples: of Pyro's own draws.
    """

    shift: float = 0.0
    sigma: float = 1.0
    cost: str = "cos"
    points: int = 1_201
    samples: int = 200_000


def compare(config: Peer, seed: int, device: torch.device) -> dict[str, object]:
    """The gradient for the first logit: exact, by ours and by Pyro 1.9.2's `MixtureOfDiagNormals`.

    Returns: `exact`, of the closed form; `ours`, `pyro`: the expectation of each estimator by the trapezoidal rule on
        the grid; `pyro_mean`, `pyro_error`: over its draws, with the standard error; `curve_half_widths`,
        `curve_ours`, `curve_pyro`: second moments over squares of growing half-width.
    Raises: ModuleNotFoundError: Pyro is not installed.
    """
    from pyro.distributions.diag_normal_mixture import MixtureOfDiagNormals, _MixDiagNormalSample

    loc = torch.tensor([[-1.0, config.shift], [1.0, config.shift]], dtype=torch.float64, device=device)
    scale, logits = torch.full_like(loc, config.sigma), torch.zeros_like(loc[:, 0]).requires_grad_()
    damped = (-0.5 * scale.square()).exp()
    cost: Callable[[Tensor], Tensor]
    if config.cost == "separable":
        by_component = (damped * (loc + 0.3).cos()).sum(-1)

        def cost(x: Tensor) -> Tensor:
            return (x + 0.3).cos().sum(-1)
    else:
        by_component = damped.prod(-1) * (loc.sum(-1) + 0.3).cos()

        def cost(x: Tensor) -> Tensor:
            return (x.sum(-1) + 0.3).cos()

    (exact,) = torch.autograd.grad((logits.softmax(-1) * by_component).sum(), logits)
    axis = torch.linspace(-8, 8, config.points, dtype=torch.float64, device=device)
    middle = torch.tensor([0.0, config.shift], dtype=torch.float64, device=device)
    grid = torch.cartesian_prod(axis, axis) + middle
    each = [value.detach().expand(len(grid), *value.shape) for value in (logits, loc, scale)]
    slope = _slope(cost, grid)
    free = each[0].clone().requires_grad_()
    mixture = MixtureNormal(free, *each[1:], validate_args=False)
    (ours,) = torch.autograd.grad(mixture.reparameterize(grid), free, slope)
    with torch.no_grad():
        context = SimpleNamespace(saved_tensors=(grid, each[2], each[1], each[0], each[0].softmax(-1)))
        theirs = _MixDiagNormalSample.backward(context, slope)[2]
        mass = mixture.log_prob(grid).exp() * (axis[1] - axis[0]).square()
        reach = (grid - middle).abs().amax(-1)
    found: dict[str, object] = {"exact": float(exact[0]), "curve_half_widths": list(HALF_WIDTHS)}
    for name, gradient in (("ours", ours[:, 0]), ("pyro", theirs[:, 0])):
        found[name] = float((mass * gradient).sum())
        squares = mass * gradient.square()
        found[f"curve_{name}"] = [float(squares[reach <= width].sum()) for width in HALF_WIDTHS]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        free, loc, scale = (value[:1].expand(config.samples, *value.shape[1:]).clone() for value in each)
        x = MixtureOfDiagNormals(loc, scale, free.requires_grad_()).rsample()
        (drawn,) = torch.autograd.grad(x, free, _slope(cost, x.detach()))
    found["pyro_mean"] = float(drawn[:, 0].mean())
    found["pyro_error"] = float(drawn[:, 0].std() / math.sqrt(config.samples))
    return found


def _slope(cost: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    free = x.clone().requires_grad_()
    return torch.autograd.grad(cost(free).sum(), free)[0]


#: Pyro 1.9.2's gradient for weights: where it is exact, and where it is not. Needs Pyro.
PYRO = Experiment(
    "mixture_gradients_pyro",
    Peer,
    compare,
    {
        "book": [
            Peer(),
            Peer(shift=1.5),
            Peer(shift=1.5, cost="separable"),
            Peer(sigma=0.8),
            Peer(sigma=0.5),
            Peer(sigma=0.5, cost="separable"),
        ]
    },
    {"book": range(1)},
)
