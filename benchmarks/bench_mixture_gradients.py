"""Mixture gradients: ours, Pyro's `MixtureOfDiagNormals`, and implicit reparameterisation under autograd, float32.

One process, one thread, forward and backward: a mixture is made and validated, drawn from once, and the gradient of
its parameters taken for a fixed grad_output. Each of B samples has parameters of its own: standard normal logits, means
standard normal (separation 1), scales uniform in 0.5-1.5. Every rival is interleaved with the first in a pair.
"""

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile

from workedpapers.lab.timing import interleaved, saved_bytes
from workedpapers.mixture_gradients import MixtureMultivariateNormal, MixtureNormal

try:
    from pyro.distributions import MixtureOfDiagNormals
except ImportError:
    MixtureOfDiagNormals = None

SEPARATION = 1.0
GOALS = {(256, 50, 16): 0.035, (256, 10, 16): 0.4, (1024, 10, 16): 0.25, (256, 10, 64): 0.3}  # B, K, D: time/Pyro
FULL = 256, 10, 16
ROUNDS = 20


def parameters(shape: tuple[int, int, int], seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Logits, loc and scale."""
    torch.manual_seed(seed)
    B, K, D = shape
    logits, loc, scale = torch.randn(B, K), SEPARATION * torch.randn(B, K, D), 0.5 + torch.rand(B, K, D)
    return logits.requires_grad_(), loc.requires_grad_(), scale.requires_grad_()


def ours(logits, loc, scale):
    return MixtureNormal(logits, loc, scale).rsample()


def full(logits, loc, tril):
    return MixtureMultivariateNormal(logits, loc, tril).rsample()


def pyro(logits, loc, scale):
    return MixtureOfDiagNormals(loc, scale, logits).rsample()


def implicit(mixture, spread):
    """A draw whose gradient is −J⁻¹ ∂F/∂θ: F the conditional distribution functions, J = ∂F/∂x, both by autograd."""
    x = mixture.sample().requires_grad_()
    z, scale = x.unsqueeze(-2) - mixture.loc, spread
    if spread.dim() > z.dim():
        z = torch.linalg.solve_triangular(spread, z.unsqueeze(-1), upper=False).squeeze(-1)
        scale = spread.diagonal(dim1=-2, dim2=-1)
    else:
        z = z / scale
    log_normal = -0.5 * z.square() - scale.log()
    log_weights = mixture.logits.unsqueeze(-1) + log_normal.cumsum(-1) - log_normal
    F = (log_weights.softmax(-2) * torch.special.ndtr(z)).sum(-2)
    rows = [torch.autograd.grad(value.sum(), x, retain_graph=True)[0] for value in F.unbind(-1)]
    move = torch.linalg.solve_triangular(torch.stack(rows, -2), F.unsqueeze(-1), upper=False).squeeze(-1)
    return x.detach() - move + move.detach()


def implicit_diagonal(logits, loc, scale):
    return implicit(MixtureNormal(logits, loc, scale), scale)


def implicit_full(logits, loc, tril):
    return implicit(MixtureMultivariateNormal(logits, loc, tril), tril)


def non_finite(function, inputs, rounds: int = 10) -> float:
    """Share of the samples, in per cent, whose gradient is not finite in some entry."""
    bad = []
    for _ in range(rounds):
        y = function(*inputs)
        gradients = torch.autograd.grad(y, inputs, torch.randn_like(y))
        bad.append(torch.cat([gradient.flatten(1) for gradient in gradients], 1).isfinite().logical_not().any(1))
    return 100 * torch.cat(bad).double().mean().item()


def peak_bytes(step) -> int:
    """The most that tensors made by `step` hold at once, by the profiler's record of allocations."""
    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    records = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for record in sorted(records, key=lambda record: record.start_ns()):
        held += record.nbytes()  # negative where it is given back
        peak = max(peak, held)
    return peak


def compare(shape: tuple[int, int, int], rivals: dict) -> pd.DataFrame:
    """Rivals by name: a function and its inputs."""

    def step(function, inputs):
        grad_output = torch.randn_like(function(*inputs))
        return lambda: torch.autograd.grad(function(*inputs), inputs, grad_output)

    first = next(iter(rivals))
    table = {}
    for name, rival in rivals.items():
        timing = interleaved({first: step(*rivals[first]), name + " ": step(*rival)}, ROUNDS)[name + " "]
        function, inputs = rival
        table["B{} K{} D{}".format(*shape), name] = {
            "median_ms": timing.median_ms,
            "min_ms": timing.min_ms,
            "time/first": 1 / timing.ratio,
            "goal": GOALS[shape] if (first, name) == ("Pyro", "ours") else float("nan"),
            "non_finite_%": non_finite(function, inputs),
            "saved_mb": saved_bytes(lambda function=function, inputs=inputs: function(*inputs)) / 1e6,
            "peak_mb": peak_bytes(step(*rival)) / 1e6,
        }
    return pd.DataFrame.from_dict(table, orient="index")


def assert_equal_gradients() -> None:
    """The rivals by autograd have the gradient of ours, draw by draw; in double precision, where no tail is lost."""
    logits, loc, scale = (value.detach().double().requires_grad_() for value in parameters((4, 3, 5)))
    tril = torch.diag_embed(scale.detach()).requires_grad_()
    for inputs, functions in (
        ((logits, loc, scale), (ours, implicit_diagonal)),
        ((logits, loc, tril), (full, implicit_full)),
    ):
        found = []
        for function in functions:
            torch.manual_seed(1)
            found.append(torch.autograd.grad(function(*inputs).sin().sum(), inputs))
        torch.testing.assert_close(*found)


if __name__ == "__main__":
    print(__doc__)
    torch.set_num_threads(1)
    assert_equal_gradients()
    if MixtureOfDiagNormals is None:
        print("Pyro is not here; it is left out. To time it: pip install pyro-ppl==1.9.2\n")
    tables = []
    for shape in GOALS:
        inputs = parameters(shape)
        rivals = {"ours": (ours, inputs), "implicit": (implicit_diagonal, inputs)}
        tables.append(compare(shape, {"Pyro": (pyro, inputs), **rivals} if MixtureOfDiagNormals else rivals))
    print(pd.concat(tables).round(3).to_string())
    logits, loc, scale = parameters(FULL)
    tril = (0.3 * torch.randn(*scale.shape, FULL[-1]).tril(-1) + scale.detach().diag_embed()).requires_grad_()
    rivals = {
        "full": (full, (logits, loc, tril)),
        "full, implicit": (implicit_full, (logits, loc, tril)),
        "diagonal": (ours, (logits, loc, scale)),
    }
    print("\n" + compare(FULL, rivals).round(3).to_string())
    print("\ntime/first: median over the rounds, of the first row. Goals are for the time of ours over Pyro's.")
    print("non_finite: samples in 100 with a gradient that is not finite. saved: kept for the backward pass; peak: the")
    print("most at once, forward and backward. What differs from 1 in the first row itself is the noise.")
