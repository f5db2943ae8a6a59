"""Catch soup: a policy for one look of Catch, with or without what was learned on others."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from workedpapers.progressive_nets import (
    Lateral,
    ProgressiveNetwork,
    average_fisher_sensitivity,
    average_perturbation_sensitivity,
)
from workedpapers.tasks import catch

from .arms import begin, seeded, summary


@dataclass(frozen=True)
class Soup:
    """One column's training.

    Args:
        target: look of Catch that is learned.
        sources: looks learned before, in this order, each for `source_updates`; `random` is a column that is never
            trained.
        arm: `scratch`, a network of its own (the paper's baseline 1); `head`, the network of the source, of which only
            the output layer is trained (2); `finetune`, all of it (3); `progressive`, a column beside those of the
            sources; with the source `random`, baseline 4.
        new_head: whether the output layer of `head` and `finetune` is drawn anew.
        lateral, lateral_gain, scale_init, gate: of the progressive network.
        updates, source_updates: of the target and of each source.
        boards: episodes an update.
        learning_rate, source_rate: of Adam, for the target and for the sources.
        entropy, discount: of the actor-critic.
        perturbed: whether sensitivities to noise are asked for, of a network with earlier columns.
    """

    target: str = "catch"
    sources: tuple[str, ...] = ()
    arm: str = "scratch"
    new_head: bool = True
    lateral: Lateral = "linear"
    lateral_gain: float = 1.0
    scale_init: float = 0.1
    gate: float | None = None
    updates: int = 500
    source_updates: int = 1000
    boards: int = 128
    learning_rate: float = 0.003
    source_rate: float = 0.003
    entropy: float = 0.01
    discount: float = 0.9
    perturbed: bool = False

    def __post_init__(self) -> None:
        if self.perturbed and not (self.sources and self.arm == "progressive"):
            raise ValueError(f"only a column beside others can be perturbed, got {self}")


MAPS, UNITS = (8, 16), 64
OUTPUTS = catch.ACTIONS + 1  # and the value
EVERY = 10  # updates between two points of a curve
LAST = 5  # points of a curve that make the final score
COPIES = 4  # of every board, each with noise of its own
SMALL, PART = 0.01, 0.05  # divergence of a policy that has hardly moved; part of a score that is lost


def policy_of(output: Tensor) -> Tensor:
    """The actions' logits, without the value."""
    return output[:, : catch.ACTIONS]


def column(_: int) -> nn.Sequential:
    """Hidden layers of a column: two of convolutions, one of units."""
    return nn.Sequential(
        nn.Conv2d(1, MAPS[0], 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(MAPS[0], MAPS[1], 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(MAPS[1] * 9, UNITS),
        nn.ReLU(),
    )


PADDLES = catch.SIZE - 2  # places of a paddle; its middle is one further right than its number here
_cell = torch.arange(catch.STEPS * catch.SIZE * PADDLES)
#: Of every board that an agent may see, by number: the ball's row and column, the paddle.
ROWS, COLUMNS, PADDLE = _cell // (catch.SIZE * PADDLES), _cell // PADDLES % catch.SIZE, _cell % PADDLES
#: Where each action takes each paddle, (paddles, actions).
MOVED = (torch.arange(PADDLES)[:, None] + torch.arange(3) - 1).clamp(0, PADDLES - 1)
#: Of a ball that has landed, (columns, paddles).
REWARD = torch.where((torch.arange(catch.SIZE)[:, None] - torch.arange(PADDLES) - 1).abs() <= 1, 1.0, -1.0)


def boards(look: str) -> Tensor:
    """Every board there is, (rows · columns · paddles, 1, height, width): so few that a policy is a table."""
    return catch.render(torch.stack((ROWS, COLUMNS), 1), PADDLE + 1, look)


def expected_score(policy: Tensor) -> float:
    """Mean reward of an episode, exactly: from the last row upwards.

    Args: policy: probabilities of the actions on every board, shape (boards, 3).
    """
    table = policy.view(catch.STEPS, catch.SIZE, PADDLES, catch.ACTIONS)
    value = REWARD.to(policy)
    for row in reversed(table):
        value = (row * value[:, MOVED]).sum(-1)
    return float(value.mean())


def play(policy: Tensor, episodes: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Episodes side by side, from their first row to the last.

    Args: policy: as for `expected_score`; generator: of the CPU, for the beginnings and the actions.
    Returns: numbers of the boards seen and the actions, (episodes, steps); the rewards, (episodes,).
    """
    device = policy.device
    where = torch.randint(catch.SIZE, (episodes,), generator=generator).to(device)
    paddle = torch.randint(PADDLES, (episodes,), generator=generator).to(device)
    draws = torch.rand(catch.STEPS, episodes, generator=generator).to(device)
    thresholds, moved = policy.cumsum(1)[:, :-1], MOVED.to(device)
    seen, acted = [], []
    for row in range(catch.STEPS):
        board = (row * catch.SIZE + where) * PADDLES + paddle
        action = (draws[row, :, None] > thresholds[board]).sum(1)
        paddle = moved[paddle, action]
        seen.append(board)
        acted.append(action)
    return torch.stack(seen, 1), torch.stack(acted, 1), REWARD.to(device)[where, paddle]


def learn(
    network: ProgressiveNetwork,
    task: str,
    look: str,
    parameters: list[nn.Parameter],
    config: Soup,
    generator: torch.Generator,
) -> list[float]:
    """Advantage actor-critic on whole episodes; every board is shown to the network once an update.

    Advantages are divided by their standard deviation, gradients cut to norm one.
    Returns: the expected score before every tenth update and at the end.
    """
    x = boards(look).to(parameters[0].device)
    features = network.features(x, task) if task != network.tasks[0] else None
    optimiser = torch.optim.Adam(parameters, config.learning_rate)
    weight = (config.discount ** torch.arange(catch.STEPS - 1, -1, -1.0)).to(x)
    curve = []
    for update in range(config.updates + 1):
        output = network(x, task, features)
        log_policy, value = policy_of(output).log_softmax(1), output[:, catch.ACTIONS]
        policy = log_policy.detach().exp()
        if update % EVERY == 0:
            curve.append(expected_score(policy))
        if update == config.updates:
            break
        board, action, reward = play(policy, config.boards, generator)
        error = reward[:, None] * weight - value[board]
        advantage = error.detach()
        advantage = advantage / (advantage.std() + 1e-3)
        gained = (log_policy[board, action] * advantage).mean()
        spread = -(log_policy.exp() * log_policy).sum(1)[board].mean()
        loss = 0.5 * (error**2).mean() - gained - config.entropy * spread
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    return curve


def pretrained(config: Soup, seed: int, device: torch.device) -> ProgressiveNetwork:
    """A network with columns of the sources, each beside those before; the caller's own.

    Args: config: what is asked of the target makes no difference.
    """
    start = replace(
        config,
        target="",
        arm="",
        new_head=True,
        perturbed=False,
        sources=() if config.arm == "scratch" else config.sources,
        updates=config.source_updates,
        learning_rate=config.source_rate,
    )
    return deepcopy(_pretrained(start, seed, device))


@lru_cache(maxsize=8)
def _pretrained(config: Soup, seed: int, device: torch.device) -> ProgressiveNetwork:
    if not config.sources:
        return ProgressiveNetwork(
            column,
            lateral=config.lateral,
            lateral_gain=config.lateral_gain,
            scale_init=config.scale_init,
            gate=config.gate,
        )
    *before, look = config.sources
    network = deepcopy(_pretrained(replace(config, sources=tuple(before)), seed, device))
    own, task = 1000 * seed + len(before) + 1, f"{len(before)} {look}"
    with seeded(own, device):
        parameters = network.add_column(task, OUTPUTS)
    network.to(device)
    if look != "random":
        learn(network, task, look, parameters, config, torch.Generator().manual_seed(own))
    return network


def train(config: Soup, seed: int, device: torch.device) -> dict[str, object]:
    """Learn the target.

    Returns: `curve` of expected scores, their mean `area`, the `final` score (mean of the last five points); for
        `head` and `finetune` the scores `source_before` and `source_after` on the source; with earlier columns their
        `sensitivity`, a list for each layer (Eq. PNN.13); where asked for, what `noise` returns.
    """
    network = pretrained(config, seed, device)
    metrics: dict[str, object] = {}
    tuned = config.arm in ("head", "finetune")
    if tuned:
        metrics["source_before"] = score(network, network.tasks[-1], config.sources[-1])
    with seeded(1000 * seed, device):
        task, parameters = begin(network, config.arm, config.new_head, "target", OUTPUTS)
    network.to(device)
    generator = torch.Generator().manual_seed(1000 * seed)
    metrics |= summary(learn(network, task, config.target, parameters, config, generator), LAST)
    if tuned:
        metrics["source_after"] = score(network, task, config.sources[-1])
    elif len(network.columns) > 1:
        shown = [boards(config.target).to(device)]
        metrics["sensitivity"] = average_fisher_sensitivity(network, shown, task, logits=policy_of).tolist()
        if config.perturbed:
            metrics |= noise(network, task, config.target)
    return metrics


def noise(network: ProgressiveNetwork, task: str, look: str) -> dict[str, object]:
    """Shares of every column by other measures than PNN.13, lists by layer as `sensitivity` is.

    Returns: `sensitivity_pixels`, as PNN.13, but slopes are squared pixel by pixel and then summed; `noise_policy`, APS
        where the policy moves by a divergence of `SMALL`, the mean over all boards; `noise_part`, where the expected
        score above that of a random player is down by `PART`; `noise_half`, by a half, as in the paper. The last two
        differ in nothing else, and are NaN for a policy that is no better than a random one.
    """
    x = boards(look).to(next(network.parameters()).device)
    many = x.repeat(COPIES, 1, 1, 1)
    with torch.no_grad():
        clean = policy_of(network(x, task)).log_softmax(1).repeat(COPIES, 1)

    def unmoved(predict: Callable[[Tensor], Tensor]) -> float:
        moved = policy_of(predict(many)).log_softmax(1)
        return 1 - float((clean.exp() * (clean - moved)).sum(1).mean())

    def scored(predict: Callable[[Tensor], Tensor]) -> float:
        return expected_score(policy_of(predict(many)).softmax(1).view(COPIES, len(x), -1).mean(0))

    chance = catch.random_score()
    shares = {
        "sensitivity_pixels": by_pixel(network, x, task),
        "noise_policy": average_perturbation_sensitivity(network, unmoved, task, SMALL),
    }
    able = score(network, task, look) > chance
    for name, drop in (("noise_part", PART), ("noise_half", 0.5)):
        found = average_perturbation_sensitivity(network, scored, task, drop, chance=chance) if able else None
        shares[name] = torch.full_like(shares["noise_policy"], torch.nan) if found is None else found
    return {name: values.tolist() for name, values in shares.items()}


def by_pixel(network: ProgressiveNetwork, x: Tensor, task: str) -> Tensor:
    """Shares as PNN.13's, of maps whose slopes are squared pixel by pixel, as noise that differs by pixel adds up.

    Returns: (layers, columns).
    """
    output, hidden = network.run(x, task, tap=lambda i, j, h: h if h.requires_grad else h.requires_grad_())
    log_p = policy_of(output).log_softmax(1)
    info = torch.zeros(len(hidden), len(hidden[0])).to(x)
    for i, row in enumerate(hidden):
        for action in log_p.unbind(1):
            slopes = torch.autograd.grad(action.sum(), row, retain_graph=True)
            for j, (h, slope) in enumerate(zip(row, slopes, strict=True)):
                # Units of a map have one variance; those of the second layer are flat by now, map after map.
                maps = h.detach().reshape(len(h), MAPS[i] if i < len(MAPS) else UNITS, -1)
                part = slope.view_as(maps).square().sum(2) * action.detach().exp()[:, None]
                info[i, j] += (maps.var((0, 2), correction=0) * part.mean(0)).sum()
    return info / info.sum(1, keepdim=True)


@torch.no_grad()
def score(network: ProgressiveNetwork, task: str, look: str) -> float:
    """Expected score on a look of the policy that a task has."""
    x = boards(look).to(next(network.parameters()).device)
    return expected_score(policy_of(network(x, task)).softmax(1))
