"""The Pong soup at the paper's scale: a policy for one look of Atari's Pong, with or without one for another look.

The paper trains with A3C: many workers that play and change shared weights whenever each is ready. Here the games run
side by side and wait for one another, a synchronous advantage actor-critic with the same n-step returns.
"""

import math
from collections import deque
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from workedpapers.lab import Experiment, progress
from workedpapers.progressive_nets import Lateral, ProgressiveNetwork, average_fisher_sensitivity
from workedpapers.tasks.pong import ACTIONS, SKIP, STACK, VARIANTS, Pong

from .arms import begin, seeded, summary

ARMS = ("scratch", "head", "finetune", "random", "progressive")
POINTS = 100  # of a curve
WATCHED = 200  # steps of every game that sensitivities are taken over, of which every fourth counts


@dataclass(frozen=True)
class PongRun:
    """One column's training.

    Args:
        target: look of Pong that is learned.
        source: look that is learned before, if any.
        arm: `scratch`, a network of its own (the paper's baseline 1); `head`, the network of the source, of which only
            the output layer is trained (2); `finetune`, all of it (3); `random`, a column beside one that is random and
            frozen (4); `progressive`, a column beside that of the source.
        new_head: whether the output layer of `head` and `finetune` is drawn anew.
        lateral, scale_init: of the progressive network; the paper's adapters, α from its grid {1, 0.1, 0.01}.
        frames, source_frames: of the emulator, four for an action.
        environments, steps: games, and actions in each between two updates.
        learning_rate: of RMSprop.
        entropy, clip: weight of the policy's entropy; largest norm of the gradient.
        discount: for a step.
    """

    target: str = "pong"
    source: str | None = None
    arm: str = "scratch"
    new_head: bool = True
    lateral: Lateral = "adapter"
    scale_init: float = 0.1
    frames: int = 20_000_000
    source_frames: int = 20_000_000
    environments: int = 16
    steps: int = 5
    learning_rate: float = 7e-4
    entropy: float = 0.01
    clip: float = 0.5
    discount: float = 0.99

    def __post_init__(self) -> None:
        if self.arm not in ARMS:
            raise ValueError(f"arm must be one of {', '.join(ARMS)}, got {self.arm!r}")
        if (self.source is None) != (self.arm in ("scratch", "random")):
            raise ValueError(f"a source belongs to head, finetune and progressive, got {self.source!r} for {self.arm}")


def column(_: int) -> nn.Sequential:
    """Hidden layers of a column for frames (batch, 4, 84, 84).

    The paper's nets for Pong have two layers of convolutions, the first of 8 maps; twice as many in the second, and 256
    units as in its other Atari nets, are our choice.
    """
    return nn.Sequential(
        nn.Conv2d(STACK, 8, 8, 4),
        nn.ReLU(),
        nn.Conv2d(8, 16, 4, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 9 * 9, 256),
        nn.ReLU(),
    )


def actor_critic_loss(logits: Tensor, values: Tensor, actions: Tensor, returns: Tensor, entropy: float) -> Tensor:
    """What advantage actor-critic descends: ½ (R − v)² − (R − v) log π(a) − entropy · H(π), mean over a batch.

    In the second term R − v is a constant.

    Args: logits: (batch, actions). values, actions, returns: (batch,). entropy: weight.
    """
    log_policy = logits.log_softmax(1)
    error = returns - values
    gained = error.detach() * log_policy.gather(1, actions.unsqueeze(1)).squeeze(1)
    spread = -(log_policy.exp() * log_policy).sum(1)
    return (0.5 * error.square() - gained - entropy * spread).mean()


def n_step_returns(rewards: Tensor, over: Tensor, value: Tensor, discount: float) -> Tensor:
    """Discounted sums of rewards to the end of the game or, if it goes on, to what is expected of the last state.

    Args: rewards, over: (steps, games); over: whether that step was a game's last. value: after the steps, (games,).
    Returns: (steps, games).
    """
    returns = torch.empty_like(rewards)
    for step in reversed(range(len(rewards))):
        value = rewards[step] + discount * value * ~over[step]
        returns[step] = value
    return returns


class Player:
    """A network that plays a look of Pong.

    Attributes: scores: of the last games that ended, as many as are played at once.
    """

    def __init__(
        self, network: ProgressiveNetwork, task: str, look: str, config: PongRun, seed: int, device: torch.device
    ) -> None:
        self.network, self.task = network, task
        self.games = Pong(look, config.environments, seed, device)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.score = torch.zeros(config.environments, device=device)
        self.scores: deque[float] = deque(maxlen=config.environments)

    @torch.no_grad()
    def step(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw an action in every game.

        Returns: what was seen, the actions, the rewards, which games are over.
        """
        seen = self.games.observe()
        policy = self.network(seen, self.task)[:, :ACTIONS].softmax(1)
        action = torch.multinomial(policy, 1, generator=self.generator).squeeze(1)
        reward, over = self.games.step(action)
        self.score += reward
        self.scores.extend(self.score[over].tolist())
        self.score[over] = 0
        return seen, action, reward, over

    @torch.no_grad()
    def value(self) -> Tensor:
        """What is expected of the games as they stand."""
        value: Tensor = self.network(self.games.observe(), self.task)[:, ACTIONS]
        return value


def learn(
    network: ProgressiveNetwork,
    task: str,
    look: str,
    parameters: list[nn.Parameter],
    config: PongRun,
    seed: int,
    device: torch.device,
) -> tuple[list[int], list[float]]:
    """Train a column on a look.

    Returns: frames played, and the mean score of the last games, NaN before one has ended; at most `POINTS` of each.
    """
    player = Player(network, task, look, config, seed, device)
    optimiser = torch.optim.RMSprop(parameters, config.learning_rate, alpha=0.99, eps=1e-5)
    played = config.environments * config.steps * SKIP
    updates = math.ceil(config.frames / played)
    frames, curve = [], []
    for update in progress(range(1, updates + 1), f"{look}, {config.arm}"):
        seen, action, reward, over = zip(*(player.step() for _ in range(config.steps)), strict=True)
        returns = n_step_returns(torch.stack(reward), torch.stack(over), player.value(), config.discount)
        output = network(torch.cat(seen), task)
        logits, value = output[:, :ACTIONS], output[:, ACTIONS]
        loss = actor_critic_loss(logits, value, torch.cat(action), returns.flatten(), config.entropy)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, config.clip)
        optimiser.step()
        if update * POINTS // updates > (update - 1) * POINTS // updates:
            frames.append(update * played)
            curve.append(sum(player.scores) / len(player.scores) if player.scores else math.nan)
    return frames, curve


@lru_cache(maxsize=9)
def pretrained(config: PongRun, seed: int, device: torch.device) -> ProgressiveNetwork:
    """The network of a source, which `config.target` names; the same object at every call."""
    network, task, parameters = prepare(config, seed, device)
    learn(network, task, config.target, parameters, config, seed, device)
    return network


def prepare(config: PongRun, seed: int, device: torch.device) -> tuple[ProgressiveNetwork, str, list[nn.Parameter]]:
    """The network of an arm before it learns the target, the task to train, and the parameters that are trained."""
    if config.source is None:
        network = ProgressiveNetwork(column, lateral=config.lateral, scale_init=config.scale_init)
    else:
        start = replace(
            config, target=config.source, source=None, arm="scratch", new_head=True, frames=config.source_frames
        )
        network = deepcopy(pretrained(start, 1000 + seed, device))
    with seeded(seed, device):
        if config.arm == "random":
            network.add_column("random", ACTIONS + 1)
        name = "progressive" if network.tasks else "alone"
        task, parameters = begin(network, config.arm, config.new_head, name, ACTIONS + 1)
    network.to(device)
    return network, task, parameters


def train(config: PongRun, seed: int, device: torch.device) -> dict[str, object]:
    """Learn the target.

    Returns: `frames` and the `curve` of mean scores after them, from −21 to 21; its mean `area`; the `final` score,
        mean of its last five points; with two columns their `sensitivity`, a list for each layer (Eq. PNN.13).
    """
    network, task, parameters = prepare(config, seed, device)
    frames, curve = learn(network, task, config.target, parameters, config, seed, device)
    metrics: dict[str, object] = {"frames": frames, **summary(curve, 5)}
    if len(network.columns) > 1:
        player = Player(network, task, config.target, config, 2000 + seed, device)
        seen = [player.step()[0] for _ in range(WATCHED)][::4]
        shares = average_fisher_sensitivity(network, seen, task, logits=lambda output: output[:, :ACTIONS])
        metrics["sensitivity"] = shares.tolist()
    return metrics


#: The looks that the paper's first columns learn.
SOURCES = ("pong", "noisy", "hflip")
_pairs = [PongRun(target, source, "head") for source in SOURCES for target in VARIANTS if target != source]
#: Every arm on every pair, one setting. The paper draws learning rate, entropy, clipping and α at random in 25 runs of
#: each and takes the best three; its scores are the higher for it.
PONG = Experiment(
    "progressive_nets_pong",
    PongRun,
    train,
    {
        "paper": [PongRun(target, arm=arm) for arm in ("scratch", "random") for target in VARIANTS]
        + [replace(pair, arm=arm) for pair in _pairs for arm in ("head", "finetune", "progressive")]
    },
    {"paper": range(3)},
)
