"""Pairs modelled by small networks in place of tables: all worlds and all episodes side by side."""

from dataclasses import dataclass, replace
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from workedpapers.lab import Experiment
from workedpapers.tasks.pairs import draw_pairs, intervene, random_joint

from .beliefs import summary

Weights = dict[str, Tensor]
BATCH = 256  # examples of an update before the transfer
BLOCK = 100  # updates whose examples are drawn at once
SHARED = ("hidden_bias", "bias")
TRUTHS = ("tables", "network")


@dataclass(frozen=True)
class Networks:
    """Marginals and conditionals as networks with one hidden layer, fitted to samples before the episodes.

    Args:
        values, prior, intervention: as in `Episodes`.
        truth: what draws the pairs: "tables", of that prior, or "network", a random one with as many units, whose
            marginal an intervention on the cause draws anew, as in the authors' script; it has neither of the above.
        hidden: units of the layer.
        shared: whether the biases of the conditional, which all causes share, learn in an episode; the fit has them.
        updates: Adam's before the transfer, of 256 examples, at the rate `fit_rate`, which falls linearly to zero
            unless `constant`.
        steps, batch: of an episode.
        learning_rate, reverse_rate: of SGD in an episode, for A → B and B → A.
        optimizer, structural_rate, structural_decay: of γ, as in `beliefs.climb`.
        worlds, episodes: how many.
    """

    values: int = 10
    prior: str = "rows"
    intervention: str = "cause"
    truth: str = "tables"
    hidden: int = 8
    shared: bool = True
    updates: int = 3000
    fit_rate: float = 0.01
    constant: bool = False
    steps: int = 20
    batch: int = 1
    learning_rate: float = 0.1
    reverse_rate: float = 0.1
    optimizer: str = "adam"
    structural_rate: float = 0.1
    structural_decay: float = 1.0
    worlds: int = 50
    episodes: int = 400


def start(worlds: int, values: int, hidden: int, generator: torch.Generator) -> Weights:
    """Starting weights of a marginal and a conditional network, each tensor with the leading shape (worlds,)."""

    def uniform(bound: float, *shape: int) -> Tensor:
        return (2 * torch.rand(worlds, *shape, generator=generator) - 1) * bound

    bound = hidden**-0.5
    return {
        "marginal_hidden": uniform(1, 1, hidden),
        "marginal_out": uniform(bound, hidden, values),
        "marginal_bias": uniform(bound, 1, values),
        "embedding": uniform(1, values, hidden),
        "hidden_bias": uniform(bound, 1, hidden),
        "out": uniform(bound, hidden, values),
        "bias": uniform(bound, 1, values),
    }


def random_network(worlds: int, values: int, hidden: int, generator: torch.Generator) -> Tensor:
    """Joint tables of networks with random weights, float64, (worlds, values, values), as in the authors' script."""
    embedding, out = (2 / hidden) ** 0.5, (2 / values) ** 0.5  # He's standard deviations
    weights = {
        "marginal_hidden": 2 * torch.rand(worlds, 1, hidden, generator=generator) - 1,
        "marginal_out": out * torch.randn(worlds, hidden, values, generator=generator),
        "marginal_bias": 2 * torch.rand(worlds, 1, values, generator=generator) - 1,
        "embedding": embedding * torch.randn(worlds, values, hidden, generator=generator),
        "hidden_bias": 2 * torch.rand(worlds, 1, hidden, generator=generator) - 1,
        "out": out * torch.randn(worlds, hidden, values, generator=generator),
        "bias": 2 * torch.rand(worlds, 1, values, generator=generator) - 1,
    }
    marginal, conditional = log_tables({name: value.double() for name, value in weights.items()})
    return (marginal.unsqueeze(-1) + conditional).exp()


def random_marginals(count: int, values: int, hidden: int, generator: torch.Generator) -> Tensor:
    """P(A) after an intervention of the authors' script, float64, (count, values): biases within ±0.1, so near even."""
    biases = 0.2 * torch.rand(count, 1, hidden + values, generator=generator, dtype=torch.float64) - 0.1
    units, bias = biases.split((hidden, values), -1)
    out = (2 / values) ** 0.5 * torch.randn(count, hidden, values, generator=generator, dtype=torch.float64)
    return torch.baddbmm(bias, F.leaky_relu(units), out).squeeze(-2).softmax(-1)


def log_tables(weights: Weights) -> tuple[Tensor, Tensor]:
    """log P(cause), (runs, values), and log P(effect|cause), (runs, values, values)."""
    hidden = F.leaky_relu(weights["marginal_hidden"])
    marginal = torch.baddbmm(weights["marginal_bias"], hidden, weights["marginal_out"]).squeeze(-2)
    hidden = F.leaky_relu(weights["embedding"] + weights["hidden_bias"])
    return marginal.log_softmax(-1), torch.baddbmm(weights["bias"], hidden, weights["out"]).log_softmax(-1)


def log_prob(weights: Weights, cause: Tensor, effect: Tensor) -> Tensor:
    """log P(cause, effect) of examples, all of shape (runs, batch)."""
    marginal, conditional = log_tables(weights)
    cell = cause * conditional.shape[-1] + effect
    return marginal.gather(-1, cause) + conditional.flatten(-2).gather(-1, cell)


def fit(joint: Tensor, config: Networks, generator: torch.Generator, device: torch.device) -> Weights:
    """Networks fitted to fresh samples of joint, (worlds, values, values); the cause is its row."""
    fresh = start(len(joint), joint.shape[-1], config.hidden, generator)
    weights = {k: v.to(device).requires_grad_() for k, v in fresh.items()}
    descent = torch.optim.Adam(weights.values(), lr=config.fit_rate)
    decay = torch.optim.lr_scheduler.LinearLR(descent, 1.0, 1.0 if config.constant else 0.0, config.updates)
    for update in range(config.updates):
        if update % BLOCK == 0:
            block = draw_pairs(joint, min(BLOCK, config.updates - update), BATCH, generator=generator).to(device)
        samples = block[:, update % BLOCK]
        descent.zero_grad()
        loss = -log_prob(weights, samples[..., 0], samples[..., 1]).mean(-1).sum()
        loss.backward()
        descent.step()
        decay.step()
    return {name: value.detach() for name, value in weights.items()}


def follow(weights: Weights, samples: Tensor, learning_rate: float, *, shared: bool = True) -> Tensor:
    """Online log-likelihood of an episode, (runs,): each batch is scored, then learned from by a step of SGD.

    Args:
        weights: with the leading shape (runs,).
        samples: (runs, steps, batch, 2).
        learning_rate: of all weights.
        shared: whether the biases of the conditional learn, too.
    """
    learned = [name for name in weights if shared or name not in SHARED]
    total = torch.zeros(len(samples), device=samples.device)
    for step in samples.unbind(1):
        free = [weights[name].requires_grad_() for name in learned]
        scores = log_prob(weights, step[..., 0], step[..., 1])
        total += scores.detach().sum(-1)
        grads = torch.autograd.grad(scores.mean(-1).sum(), free)
        moved = {
            name: value.detach() + learning_rate * grad for name, value, grad in zip(learned, free, grads, strict=True)
        }
        weights = weights | moved
    return total


def run(config: Networks, seed: int, device: torch.device) -> dict[str, object]:
    """Fit both directions, then all episodes of all worlds.

    Returns: of `beliefs.summary`, and `start_causal`, `start_anticausal`: by world, the divergence of the fitted
        networks from the training distribution, nats; `regret_causal`, `regret_anticausal`: by world, too, what an
        example of an episode cost online beyond its entropy under the transfer distribution.
    Raises: ValueError: another truth.
    """
    generator = torch.Generator().manual_seed(seed)
    if config.truth not in TRUTHS:
        raise ValueError(f"truth must be one of {', '.join(TRUTHS)}, got {config.truth!r}")
    sizes = config.values, config.hidden
    if config.truth == "network":
        before = random_network(config.worlds, *sizes, generator)
    else:
        before = random_joint(config.worlds, config.values, config.prior, generator=generator)
    fitted = [fit(joint, config, generator, device) for joint in (before, before.mT)]
    deltas, scores = [], []
    for index in range(config.worlds):
        if config.truth == "network":
            rows = before[index] / before[index].sum(-1, keepdim=True)
            after = random_marginals(config.episodes, *sizes, generator).unsqueeze(-1) * rows
        else:
            after = intervene(before[index].expand(config.episodes, -1, -1), config.intervention, generator=generator)
        samples = draw_pairs(after, config.steps, config.batch, generator=generator).to(device)
        online = []
        for weights, drawn, rate in (
            (fitted[0], samples, config.learning_rate),
            (fitted[1], samples.flip(-1), config.reverse_rate),
        ):
            copies = {k: v[index].expand(config.episodes, *v.shape[1:]).clone() for k, v in weights.items()}
            online.append(follow(copies, drawn, rate, shared=config.shared))
        deltas.append((online[0] - online[1]).double().cpu())
        best = torch.special.xlogy(after, after).sum((-2, -1)).mean() * config.steps * config.batch
        scores.append([float(best - total.double().mean()) / (config.steps * config.batch) for total in online])
    found = summary(torch.stack(deltas), config.optimizer, config.structural_rate, config.structural_decay)
    for name, joint, weights in zip(("start_causal", "start_anticausal"), (before, before.mT), fitted, strict=True):
        marginal, conditional = log_tables(weights)
        log_p = (marginal.unsqueeze(-1) + conditional).double().cpu()
        found[name] = (torch.special.xlogy(joint, joint) - joint * log_p).sum((-2, -1)).tolist()
    found["regret_causal"], found["regret_anticausal"] = (list(values) for values in zip(*scores, strict=True))
    return found


WIDTHS = (4, 8, 16, 32, 64)
NETWORK_RATES = (0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 1.0)
#: The authors' script: a short fit, ten single examples at rate .01.
SHORT = Networks(
    truth="network",
    updates=1000,
    fit_rate=0.001,
    constant=True,
    steps=10,
    learning_rate=0.01,
    reverse_rate=0.01,
    structural_decay=0.9,
    episodes=1000,
)
SEARCH_NETWORKS = Experiment(
    "causal_transfer_networks",
    Networks,
    run,
    {
        "book": [
            Networks(hidden=hidden, shared=shared, learning_rate=rate, reverse_rate=rate, worlds=20, episodes=200)
            for shared, hidden, rate in product((True, False), WIDTHS, NETWORK_RATES)
        ]
    },
    {"book": (100,)},
)
#: Worlds that are networks themselves, of eight units.
SEARCH_TRUTH = Experiment(
    "causal_transfer_networks",
    Networks,
    run,
    {
        "book": [
            Networks(truth="network", learning_rate=rate, reverse_rate=rate, worlds=20, episodes=200)
            for rate in NETWORK_RATES
        ]
    },
    {"book": (100,)},
)
TUNED_TRUTH = 0.1, 0.1
#: The narrow and the wide one where the law of the tables is the same for A and B.
SEARCH_CELLS = Experiment(
    "causal_transfer_networks",
    Networks,
    run,
    {
        "book": [
            Networks(
                prior="cells",
                hidden=hidden,
                shared=shared,
                learning_rate=rate,
                reverse_rate=rate,
                worlds=20,
                episodes=200,
            )
            for hidden, shared, rate in product((8, 64), (True, False), NETWORK_RATES)
        ]
    },
    {"book": (100,)},
)
TUNED_CELLS: dict[tuple[int, bool], tuple[float, float]] = {
    (8, True): (0.03, 0.05),
    (8, False): (0.05, 0.1),
    (64, True): (0.1, 0.1),
    (64, False): (0.1, 0.1),
}
#: By width, and whether shared biases learn: rates of A → B and of B → A with the lowest own regret of the search.
TUNED_NETWORKS: dict[tuple[int, bool], tuple[float, float]] = {
    (4, True): (0.1, 0.1),
    (8, True): (0.1, 0.1),
    (16, True): (0.1, 0.1),
    (32, True): (0.1, 0.1),
    (64, True): (0.1, 0.2),
    (4, False): (0.1, 0.1),
    (8, False): (0.1, 0.2),
    (16, False): (0.1, 0.2),
    (32, False): (0.1, 0.2),
    (64, False): (0.2, 0.2),
}
NETWORKS = Experiment(
    "causal_transfer_networks",
    Networks,
    run,
    {
        "book": [
            SHORT,
            replace(SHORT, truth="tables"),
            Networks(truth="network", learning_rate=TUNED_TRUTH[0], reverse_rate=TUNED_TRUTH[1]),
            *(
                Networks(prior="cells", hidden=hidden, shared=shared, learning_rate=rate, reverse_rate=other)
                for (hidden, shared), (rate, other) in TUNED_CELLS.items()
            ),
            *(
                Networks(hidden=hidden, shared=shared, learning_rate=rate, reverse_rate=other)
                for (hidden, shared), (rate, other) in TUNED_NETWORKS.items()
            ),
        ]
    },
    {"book": range(3)},
)
CHECK_NETWORKS = Experiment(
    "causal_transfer_networks",
    Networks,
    run,
    {
        "check": [
            Networks(values=3, hidden=4, updates=20, steps=4, worlds=2, episodes=6),
            Networks(values=3, hidden=4, shared=False, truth="network", updates=20, steps=4, worlds=2, episodes=6),
        ]
    },
    {"check": range(1)},
)
