"""Catch soup: a policy for one look of Catch, with or without what was learned on others."""

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from workedpapers.progressive_nets import Lateral, ProgressiveNetwork, average_fisher_sensitivity
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
LAST = 5  # points of a curve that make the final score


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
        `sensitivity`, a list for each layer (Eq. PNN.13).
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
    return metrics


@torch.no_grad()
def score(network: ProgressiveNetwork, task: str, look: str) -> float:
    """Expected score on a look of the policy that a task has."""
    x = boards(look).to(next(network.parameters()).device)
    return expected_score(policy_of(network(x, task)).softmax(1))
