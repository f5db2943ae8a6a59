"""Catch soup: a policy for one look of Catch, with or without what was learned on others."""

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from workedpapers.progressive_nets import (
    Features,
    Lateral,
    ProgressiveNetwork,
    average_fisher_sensitivity,
)
from workedpapers.tasks import catch


@dataclass(frozen=True)
class Soup:
    """One column's training.

    Args:
        target: look of Catch that is learned.
        sources: looks learned before, in this order, each at `source_updates`.
        arm: `scratch`, a network of its own (the paper's baseline 1); `head`, the network of the source, of which only
            the output layer is trained (2); `finetune`, all of it (3); `progressive`, a column beside those of the
            sources; with the source `random`, which is never trained, baseline 4.
        new_head: whether the output layer of `head` and `finetune` is drawn anew.
        lateral, lateral_gain, scale_init, gate: of the progressive network.
        updates, boards, learning_rate, entropy, discount: of the actor-critic.
        source_rate: learning rate of the sources.
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


MAPS, UNITS = (8, 16), 64
OUTPUTS = catch.ACTIONS + 1  # and the value
EVERY = 10  # updates between two points of a curve


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


PADDLES = catch.SIZE - 2
_cell = torch.arange(catch.STEPS * catch.SIZE * PADDLES)
ROWS, COLUMNS, PADDLE = (
    _cell // (catch.SIZE * PADDLES),
    _cell // PADDLES % catch.SIZE,
    _cell % PADDLES,
)


def boards(look: str) -> Tensor:
    """Every board there is, (rows · columns · paddles, 1, height, width): so few that a policy is a table."""
    return catch.render(torch.stack((ROWS, COLUMNS), 1), PADDLE + 1, look)


_MOVED = (torch.arange(PADDLES)[:, None] + torch.arange(3) - 1).clamp(0, PADDLES - 1)
_REWARD = torch.where(
    (torch.arange(catch.SIZE)[:, None] - torch.arange(PADDLES) - 1).abs() <= 1,
    1.0,
    -1.0,
)


def expected_score(policy: Tensor) -> float:
    """Mean reward of an episode, exactly: from the last row upwards.

    Args: policy: probabilities of the actions on every board, shape (boards, 3).
    """
    table = policy.view(catch.STEPS, catch.SIZE, PADDLES, 3)
    value = _REWARD.to(policy)
    for row in reversed(table):
        value = (row * value[:, _MOVED]).sum(-1)
    return float(value.mean())


def learn(
    network: ProgressiveNetwork,
    task: str,
    look: str,
    parameters: list[nn.Parameter],
    config: Soup,
    generator: torch.Generator,
) -> list[float]:
    """Advantage actor-critic on whole episodes; every board is shown to the network once an update.

    Returns: the expected score before every tenth update and at the end.
    """
    x = boards(look)
    cached: Features | None = network.features(x, task) if task != network.tasks[0] else None
    optimiser = torch.optim.Adam(parameters, config.learning_rate)
    weight = config.discount ** torch.arange(catch.STEPS - 1, -1, -1.0)
    curve = []
    for update in range(config.updates + 1):
        output = network(x, task, cached)
        log_policy, value = output[:, :3].log_softmax(1), output[:, 3]
        policy = log_policy.detach().exp()
        if update % EVERY == 0:
            curve.append(expected_score(policy))
        if update == config.updates:
            break
        where = torch.randint(catch.SIZE, (config.boards,), generator=generator)
        paddle = torch.randint(PADDLES, (config.boards,), generator=generator)
        draws = torch.rand(catch.STEPS, config.boards, generator=generator)
        thresholds = policy.cumsum(1)[:, :2]
        seen, acted = [], []
        for row in range(catch.STEPS):
            board = (row * catch.SIZE + where) * PADDLES + paddle
            action = (draws[row, :, None] > thresholds[board]).sum(1)
            paddle = _MOVED[paddle, action]
            seen.append(board)
            acted.append(action)
        board, action = torch.stack(seen, 1), torch.stack(acted, 1)
        returns = _REWARD[where, paddle][:, None] * weight
        error = returns - value[board]
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


@lru_cache(maxsize=8)
def pretrained(config: Soup, seed: int) -> ProgressiveNetwork:
    """Columns of the sources, each beside those before."""
    if not config.sources:
        return ProgressiveNetwork(
            column,
            lateral=config.lateral,
            lateral_gain=config.lateral_gain,
            scale_init=config.scale_init,
            gate=config.gate,
        )
    *before, look = config.sources
    network = deepcopy(pretrained(replace(config, sources=tuple(before)), seed))
    generator = torch.Generator().manual_seed(1000 * seed + len(before) + 1)
    torch.manual_seed(1000 * seed + len(before) + 1)
    parameters = network.add_column(f"{len(before)} {look}", OUTPUTS)
    if look != "random":
        learn(network, network.tasks[-1], look, parameters, config, generator)
    return network


def train(config: Soup, seed: int, device: torch.device) -> dict[str, object]:
    """Learn the target.

    Returns: `curve` of expected scores, their mean `area`, the `final` score (mean of the last five points); for
        fine-tuning `source_before` and `source_after`, the source's score; with earlier columns their `sensitivity`
        by layer.
    """
    start = replace(
        config,
        target="",
        arm="",
        new_head=True,
        sources=() if config.arm == "scratch" else config.sources,
        updates=config.source_updates,
        learning_rate=config.source_rate,
    )
    network = deepcopy(pretrained(start, seed))
    torch.manual_seed(1000 * seed)
    generator = torch.Generator().manual_seed(1000 * seed)
    metrics: dict[str, object] = {}
    if config.arm in ("head", "finetune"):
        task = network.tasks[-1]
        look = config.sources[-1]
        metrics["source_before"] = _score(network, task, look)
        head = network.columns[-1].layers[-1].own
        if config.new_head:
            head.reset_parameters()
        parameters = list(head.parameters()) if config.arm == "head" else list(network.columns[-1].parameters())
        metrics["curve"] = learn(network, task, config.target, parameters, config, generator)
        metrics["source_after"] = _score(network, task, look)
    else:
        task = "target"
        parameters = network.add_column(task, OUTPUTS)
        metrics["curve"] = learn(network, task, config.target, parameters, config, generator)
        if len(network.columns) > 1:
            metrics["sensitivity"] = average_fisher_sensitivity(
                network, [boards(config.target)], task, logits=policy_of
            ).tolist()
    curve = metrics["curve"]
    metrics["area"] = sum(curve) / len(curve)
    metrics["final"] = sum(curve[-5:]) / 5
    return metrics


def _score(network: ProgressiveNetwork, task: str, look: str) -> float:
    with torch.no_grad():
        return expected_score(network(boards(look), task)[:, :3].softmax(1))
