"""Cause and effect are not observed but mixed by a rotation: an encoder learns to turn them back.

The two are rotated by −π/4, the encoder rotates by θ: at π/4 it recovers (A, B), at −π/4 the same with exchanged roles,
(B, −A). Every odd multiple of π/4 is one of the two up to signs, and θ and θ + π/2 differ by which of them is called
the first; so nothing changes but the sign of γ when θ moves by π/2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workedpapers.causal_transfer import GaussianMixture, MixtureDensityNetwork, structural_gradient
from workedpapers.lab import Experiment

from .continuous import COMPONENTS, SHIFT, Models, copies, draw, rounded, worlds

DECODER = -math.pi / 4
TOLERANCE = 0.1  # of an angle that counts as found
FIRST = 20
POINTS = 100  # of a recorded path


@dataclass(frozen=True)
class Encoder:
    """A batch of runs, each with its own world, models, θ and γ.

    Args:
        start: of θ.
        gamma: start of γ; 1e9 makes the loss that of U → V alone.
        gamma_rate: of Adam, 0: γ is fixed.
        rate: of Adam, for θ.
        samples: examples of every step.
        preheat: steps of the conditionals on encoded training data before each episode, with one Adam throughout;
            `FIRST` times as many before the first.
        preheat_rate, step_rate: of Adam for the conditionals, before and in an episode.
        steps: of an episode.
        rounds: of EM for the marginals of an episode, from those of the last one.
        iterations: episodes, each with a step of θ and γ.
        runs: side by side.
        intervention: what an episode changes, as for `Continuous`: "nothing" is the control.
    """

    start: float = 0.0
    gamma: float = 0.0
    gamma_rate: float = 1e-3
    rate: float = 1e-2
    samples: int = 250
    preheat: int = 10
    preheat_rate: float = 1e-2
    step_rate: float = 1e-3
    steps: int = 5
    rounds: int = 5
    iterations: int = 500
    runs: int = 20
    intervention: str = "cause"


def rotate(pairs: Tensor, angle: Tensor | float) -> Tensor:
    """Pairs (…, 2, runs, n), rotated counterclockwise by an angle of each run, in radians."""
    angle = torch.as_tensor(angle, dtype=pairs.dtype, device=pairs.device).expand(pairs.shape[-2])
    cosine, sine = angle.cos().unsqueeze(-1), angle.sin().unsqueeze(-1)
    first, second = pairs.unbind(-3)
    return torch.stack((cosine * first - sine * second, sine * first + cosine * second), -3)


def episode(models: Models, batches: Sequence[Tensor], angle: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Online log-likelihood of observed batches under both models, and its slope for the angle, (2, runs) each.

    The slope is that through the encoded examples: the steps of the conditionals, which it changes, count as given.
    """
    parameters = list(models.conditionals.parameters())
    optimizer = torch.optim.Adam(parameters, rate)
    angles = angle.detach().repeat(2, 1).requires_grad_()  # one for each model: a single pass gives both slopes
    total, slope = torch.zeros_like(angles), torch.zeros_like(angles)
    for observed in batches:
        forward, backward = (rotate(observed, one) for one in angles)
        given, target = torch.stack((forward[0], backward[1])), torch.stack((forward[1], backward[0]))
        values = models.marginals.log_prob(given) + models.conditionals.log_prob(target, given)
        slopes, *steps = torch.autograd.grad(values.sum(), [angles, *parameters])
        total, slope = total + values.detach().sum(-1), slope + slopes
        for parameter, step in zip(parameters, steps, strict=True):
            parameter.grad = step / -observed.shape[-1]
        optimizer.step()
    return total.detach(), slope


def distance(angle: Tensor) -> Tensor:
    """Of angles to the nearest solution, an odd multiple of π/4."""
    return (angle.remainder(math.pi / 2) - math.pi / 4).abs()


def direction(angle: Tensor) -> Tensor:
    """1 where U → V is right at the nearest solution, −1 where V → U is."""
    return (2 * angle).sin().sign()


def train(config: Encoder, seed: int, device: torch.device) -> dict[str, object]:
    """Learn θ and γ together.

    θ follows the slope of R, which is that of both log-likelihoods weighed by the belief after the episode.

    Returns: `distance`: at the end, of θ to the nearest solution; `success`: share of runs with a distance below 0.1
        and with the sign of γ that this solution asks for; `angle_path`, `gamma_path`: run after run, each at `POINTS`
        even iterations from the start to the end; `right`: share of the last tenth of the episodes in which Δ has the
        sign that the nearest solution asks for; `decided`: iteration from which the sign of γ stays, `arrived`: from
        which the distance stays below 0.1, both `iterations` where that never happens.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        curve = worlds("spline", config.runs, device)
        still = torch.zeros(config.runs, device=device)
        angle = torch.full((config.runs,), config.start, device=device)
        gamma = torch.full((config.runs,), config.gamma, device=device)
        learned = [torch.optim.Adam([angle], config.rate), torch.optim.Adam([gamma], config.gamma_rate)]
        network = MixtureDensityNetwork(COMPONENTS, runs=(2, config.runs), device=device)
        preheating = torch.optim.Adam(network.parameters(), config.preheat_rate)
        marginals = None
        angles, gammas, deltas = [angle.clone()], [gamma.clone()], []
        for iteration in range(config.iterations):
            for _ in range(config.preheat * (1 if iteration else FIRST)):
                encoded = rotate(rotate(draw(curve, "nothing", still, config.samples), DECODER), angle)
                loss = -network.log_prob(encoded.flip(0), encoded).mean(-1).sum()
                preheating.zero_grad()
                loss.backward()
                preheating.step()
            means = SHIFT * (2 * torch.rand(config.runs, device=device) - 1)
            drawn = rotate(
                draw(curve, config.intervention, means.expand(config.steps + 1, -1), config.samples), DECODER
            )
            marginals = GaussianMixture.fit(rotate(drawn[0], angle), COMPONENTS, config.rounds, start=marginals)
            models = Models(marginals, copies(network))
            total, slope = episode(models, drawn[1:].unbind(), angle, config.step_rate)
            delta = total[0] - total[1]
            weight = (gamma + delta).sigmoid()
            angle.grad = -(weight * slope[0] + (1 - weight) * slope[1])
            gamma.grad = structural_gradient(delta, torch.zeros_like(delta), gamma)
            for optimizer in learned:
                optimizer.step()
            angles.append(angle.clone())
            gammas.append(gamma.clone())
            deltas.append(delta)
    return summary(torch.stack(angles), torch.stack(gammas), torch.stack(deltas))


def summary(angles: Tensor, gammas: Tensor, deltas: Tensor) -> dict[str, object]:
    """What `train` returns, from paths (iterations + 1, runs) and Δ (iterations, runs)."""
    iterations = len(deltas)
    right = direction(angles[-1])
    late = deltas[-max(1, iterations // 10) :]
    near = distance(angles) < TOLERANCE
    shown = torch.linspace(0, iterations, min(POINTS, iterations + 1)).round().long()
    return {
        "success": float((near[-1] & (gammas[-1].sign() == right)).float().mean()),
        "distance": distance(angles[-1]).tolist(),
        "right": (late.sign() == right).float().mean(0).tolist(),
        "decided": _since(gammas[1:].sign() == gammas[-1].sign()),
        "arrived": _since(near[1:]),
        "angle_path": rounded(angles[shown].T.flatten()),
        "gamma_path": rounded(gammas[shown].T.flatten()),
    }


def _since(holds: Tensor) -> list[int]:
    """The iteration from which on something holds in each run (iterations, runs), or their number if it never does."""
    return holds.flip(0).cumprod(0).sum(0).neg().add(len(holds)).tolist()


START = math.pi / 8
#: π/8 and −π/8 lie as near to a solution, on its two sides: −π/8 is 3π/8 with exchanged roles.
ENCODER = Experiment(
    "causal_transfer_encoder",
    Encoder,
    train,
    {
        "check": [
            Encoder(start, gamma, rate, 0.01, 20, 2, steps=2, rounds=2, iterations=4, runs=2, intervention=intervention)
            for start, gamma, rate, intervention in ((0.0, 0.0, 1e-3, "cause"), (START, 1e9, 0.0, "nothing"))
        ],
        "book": [
            *(Encoder(start) for start in (0.0, START, -START)),
            Encoder(intervention="nothing"),
            Encoder(gamma=1e9, gamma_rate=0.0),
            Encoder(iterations=1_000),
        ],
    },
    {"check": range(1), "book": range(1)},
)
