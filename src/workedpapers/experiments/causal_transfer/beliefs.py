"""Where the belief in A → B goes over many episodes in one world."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workedpapers.causal_transfer import TabularModel, adapt, optimal_belief, structural_gradient
from workedpapers.lab import Experiment
from workedpapers.tasks.pairs import draw_pairs, intervene, random_joint

from .episodes import quantiles

OPTIMIZERS: dict[str, Callable[[list[Tensor], float], torch.optim.Optimizer]] = {
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr),
    "rmsprop": lambda parameters, lr: torch.optim.RMSprop(parameters, lr=lr),
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr=lr),
}
KEPT = 101  # points of a curve


@dataclass(frozen=True)
class Belief:
    """Episodes in worlds that keep their training distribution, and a belief that climbs in each.

    Args:
        values, prior: of the worlds, as in `Episodes`.
        intervention: of most episodes.
        other, share: a share of the episodes has this intervention instead.
        steps, batch, learning_rate: of an episode's adaptation.
        optimizer, structural_rate: of γ, which starts at 0.
        worlds, episodes: how many.
    """

    values: int = 10
    prior: str = "rows"
    intervention: str = "cause"
    other: str = "effect"
    share: float = 0.0
    steps: int = 2
    batch: int = 10
    learning_rate: float = 0.1
    optimizer: str = "rmsprop"
    structural_rate: float = 0.01
    worlds: int = 100
    episodes: int = 1000


def climb(deltas: Tensor, optimizer: str, lr: float, decay: float = 1.0) -> Tensor:
    """γ before every episode and after the last, from 0 on, by the structural gradient.

    An episode does not depend on γ, so all Δ are known before the climb begins.

    Args:
        deltas: Δ of every episode, (*worlds, episodes).
        optimizer: of `OPTIMIZERS`.
        lr, decay: its rate, and what it is multiplied by every 50 episodes.
    Returns: shape (*worlds, episodes + 1).
    """
    gamma = torch.zeros(deltas.shape[:-1], dtype=deltas.dtype)
    nothing = torch.zeros(())
    descent = OPTIMIZERS[optimizer]([gamma], lr)
    schedule = torch.optim.lr_scheduler.StepLR(descent, 50, decay)
    path = [gamma.clone()]
    for delta in deltas.unbind(-1):
        gamma.grad = structural_gradient(delta, nothing, gamma)
        descent.step()
        schedule.step()
        path.append(gamma.clone())
    return torch.stack(path, -1)


def summary(deltas: Tensor, optimizer: str, lr: float, decay: float = 1.0) -> dict[str, object]:
    """What is kept of the episodes of many worlds.

    Args: deltas: Δ, float64, shape (worlds, episodes).
    Returns: `after`, numbers of episodes; `belief`, at each the 5, 25, 50, 75 and 95% quantiles of σ(γ) over worlds;
        by world: `first_95`, episodes until σ(γ) > .95, or -1; `last`, σ(γ) at the end; `optimum`, the best constant
        belief for the world's own Δ; `mean_delta`, `negative` (share of Δ < 0), `mean_ratio`, of e^−Δ.
    """
    path = climb(deltas, optimizer, lr, decay).sigmoid()
    episodes = deltas.shape[-1]
    at = torch.linspace(0, episodes, min(KEPT, episodes + 1)).round().long()
    above = path > 0.95
    first = torch.where(above.any(-1), above.double().argmax(-1), torch.tensor(-1))
    return {
        "after": at.tolist(),
        "belief": quantiles(path[:, at]),
        "first_95": first.tolist(),
        "last": path[:, -1].tolist(),
        "optimum": optimal_belief(deltas).tolist(),
        "mean_delta": deltas.mean(-1).tolist(),
        "negative": (deltas < 0).double().mean(-1).tolist(),
        "mean_ratio": torch.exp(-deltas).clamp(max=1e300).mean(-1).tolist(),
    }


def believe(config: Belief, seed: int, device: torch.device) -> dict[str, object]:
    """Episodes of tables in many worlds; returns `summary`."""
    generator = torch.Generator().manual_seed(seed)
    deltas = torch.stack([_deltas(config, generator, device) for _ in range(config.worlds)])
    return summary(deltas, config.optimizer, config.structural_rate)


def _deltas(config: Belief, generator: torch.Generator, device: torch.device) -> Tensor:
    """Δ of all episodes in one world, (episodes,)."""
    before, after = world(config, generator)
    samples = draw_pairs(after, config.steps, config.batch, generator=generator).to(device)
    before = before.to(device)
    online = [
        adapt(TabularModel.from_joint(joint), drawn, config.learning_rate).log_likelihood.sum(-1)
        for joint, drawn in ((before, samples), (before.mT, samples.flip(-1)))
    ]
    delta: Tensor = online[0] - online[1]
    return delta.cpu()


def world(config: Belief, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A training distribution, (values, values), and a transfer distribution for each episode."""
    before = random_joint(1, config.values, config.prior, generator=generator)[0]
    many = before.expand(config.episodes, *before.shape)
    after = intervene(many, config.intervention, generator=generator)
    if config.share:
        others = intervene(many, config.other, generator=generator)
        is_other = torch.rand(config.episodes, generator=generator, dtype=torch.float64) < config.share
        after = torch.where(is_other[:, None, None], others, after)
    return before, after


SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: The settings of the authors' notebook, and single examples at rate 1.
BELIEFS = Experiment(
    "causal_transfer_belief",
    Belief,
    believe,
    {
        "check": [
            Belief(values=3, share=0.3, worlds=3, episodes=20),
            Belief(values=3, prior="cells", optimizer="sgd", steps=3, batch=1, worlds=2, episodes=20),
        ],
        "book": [
            Belief(),
            Belief(values=100),
            Belief(steps=20, batch=1, learning_rate=1.0),
            Belief(steps=20, batch=1, learning_rate=1.0, intervention="effect"),
            Belief(steps=20, batch=1, learning_rate=1.0, intervention="mirror"),
        ],
    },
    {"check": range(1), "book": range(3)},
)
#: A share of the episodes intervenes on the effect.
MIXED = Experiment(
    "causal_transfer_belief",
    Belief,
    believe,
    {
        "book": [
            Belief(prior="cells", steps=20, batch=1, learning_rate=1.0, share=share, other="mirror") for share in SHARES
        ]
    },
    {"book": range(3)},
)
