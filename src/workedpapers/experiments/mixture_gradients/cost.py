"""Time and memory of a draw and its gradient, ours and rivals'."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from workedpapers.lab import Experiment
from workedpapers.lab.timing import interleaved, saved_bytes
from workedpapers.mixture_gradients import MixtureMultivariateNormal, MixtureNormal


@dataclass(frozen=True)
class Timed:
    """A batch, components and dimensions at which `rsample` and its gradient are timed, float32, one thread.

    Args:
        rival: "pyro", its `MixtureOfDiagNormals`; "autograd", `implicit_sample`; "full", our full covariances.
        repeats: of each, interleaved.
    """

    batch: int
    components: int
    dimensions: int
    rival: str = "pyro"
    repeats: int = 40


def measure(config: Timed, seed: int, device: torch.device) -> dict[str, object]:
    """Construction, draw and gradient by ours and a rival.

    Returns: `ours_seconds` and `rival_seconds`, medians; `time_ratio`, the median of ours over theirs; `ours_bytes`,
        `rival_bytes`: kept for the backward pass; `ours_lost`, `rival_lost`: elements of the batch with a gradient
        that is not finite, in the mean over 20 draws.
    Raises: ValueError: an unknown rival. ModuleNotFoundError: Pyro is not installed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        k, d = config.components, config.dimensions
        logits, loc = torch.randn(config.batch, k), torch.randn(config.batch, k, d)
        scale, slope = 0.5 + torch.rand(config.batch, k, d), torch.randn(config.batch, d)
        parameters = [value.requires_grad_() for value in (logits, loc, scale)]
        draws: dict[str, Callable[[], Tensor]] = {"ours": lambda: MixtureNormal(*parameters).rsample()}
        inputs = {"ours": parameters, "rival": parameters}
        if config.rival == "pyro":
            from pyro.distributions import MixtureOfDiagNormals

            draws["rival"] = lambda: MixtureOfDiagNormals(loc, scale, logits).rsample()
        elif config.rival == "autograd":
            draws["rival"] = lambda: implicit_sample(MixtureNormal(*parameters))
        elif config.rival == "full":
            scale_tril = torch.diag_embed(scale.detach()).requires_grad_()
            inputs["rival"] = [logits, loc, scale_tril]
            draws["rival"] = lambda: MixtureMultivariateNormal(logits, loc, scale_tril).rsample()
        else:
            raise ValueError(f"rival must be one of pyro, autograd, full, got {config.rival!r}")

        def step(name: str) -> Callable[[], tuple[Tensor, ...]]:
            return lambda: torch.autograd.grad(draws[name](), inputs[name], slope)

        def lost(name: str, rounds: int = 20) -> float:
            finite = [
                torch.stack([value.isfinite().flatten(1).all(-1) for value in step(name)()]).all(0)
                for _ in range(rounds)
            ]
            return float((~torch.stack(finite)).sum()) / rounds

        timings = interleaved({"rival": step("rival"), "ours": step("ours")}, config.repeats)
        found: dict[str, object] = {"time_ratio": 1 / timings["ours"].ratio}
        for name in draws:
            found[f"{name}_seconds"] = timings[name].median_ms / 1e3
            found[f"{name}_bytes"] = saved_bytes(draws[name])
            found[f"{name}_lost"] = lost(name)
        return found


def implicit_sample(mixture: MixtureNormal) -> Tensor:
    """`mixture.rsample()` by automatic differentiation, (MIX.21): x − J⁻¹ F, where F are the conditional CDFs of x.

    Shape: (*batch, D). The Jacobian J = ∂F/∂x takes D backward passes.
    """
    x = mixture.sample()
    log_weights = mixture.logits.log_softmax(-1).unsqueeze(-1)

    def cdfs(x: Tensor) -> Tensor:
        normal = torch.distributions.Normal(mixture.loc, mixture.scale, validate_args=False)
        log_normal = normal.log_prob(x.unsqueeze(-2))
        before = (log_weights + log_normal.cumsum(-1) - log_normal).softmax(-2)
        values: Tensor = (before * normal.cdf(x.unsqueeze(-2))).sum(-2)
        return values

    free = x.clone().requires_grad_()
    values = cdfs(free)
    rows = [torch.autograd.grad(values[..., d].sum(), free, retain_graph=True)[0] for d in range(x.shape[-1])]
    jacobian = torch.stack(rows, -2).detach()
    moved = cdfs(x)
    step: Tensor = torch.linalg.solve_triangular(jacobian, (moved - moved.detach()).unsqueeze(-1), upper=False)
    return x - step.squeeze(-1)


SHAPES = ((256, 50, 16), (256, 10, 16), (1024, 10, 16), (256, 10, 64))
#: Time and memory, best on an idle machine. Needs Pyro, but for scale "check".
COST = Experiment(
    "mixture_gradients_cost",
    Timed,
    measure,
    {
        "check": [Timed(4, 3, 2, "autograd", 2), Timed(4, 3, 2, "full", 2)],
        "book": [Timed(*shape, rival) for shape, rival in product(SHAPES, ("pyro", "autograd", "full"))],
    },
    {"check": range(1), "book": range(1)},
)
