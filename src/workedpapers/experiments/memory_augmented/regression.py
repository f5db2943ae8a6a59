"""Regression on functions drawn from a Gaussian process: how near do networks come to what can be known?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workedpapers.lab import Experiment, progress
from workedpapers.memory_augmented import MemoryAugmentedNetwork
from workedpapers.tasks.processes import (
    Kernel,
    Points,
    draw_functions,
    fit_kernel,
    learned_predictive,
    negative_log_density,
    predictive,
)

from .rivals import Recurrent, Transformer

NETWORKS = ("mann", "lstm", "transformer")
#: References that know the form of the kernel: the true one; with three times or a third of the length scale; learned
#: from an episode while it lasts, without and with a prior around `START`; learned once, from ten batches of episodes.
PROCESSES = ("true", "long", "short", "learned", "prior", "pooled")
START = Kernel(1.0, 1.0, 0.3)  # of the learned kernels
#: Units of a network with as many parameters as the memory-augmented one.
AS_MANY = {"lstm": 122, "transformer": 60}


@dataclass(frozen=True)
class Regression:
    """One configuration.

    At each step of an episode the model sees an input and the value of the input before, and says a normal
    distribution for the value.

    Args:
        model: one of `NETWORKS` or `PROCESSES`.
        dims: of the inputs.
        length: of an episode, in points.
        length_scale, noise: of the process, whose variance is one.
        hidden_size: units of the controller, of the LSTM, of a transformer's layer.
        slots, width, reads: of the memory.
        learning_rate: of Adam's first update; the rate falls linearly to zero.
        updates, batch_size: of gradient descent on new episodes; gradients are clipped at norm 1.
        steps: of Adam for a learned kernel, after each point; a pooled one takes ten times as many, once.
        test_size: new episodes for a test.
    """

    model: str = "mann"
    dims: int = 1
    length: int = 20
    length_scale: float = 0.5
    noise: float = 0.1
    hidden_size: int = 100
    slots: int = 64
    width: int = 20
    reads: int = 2
    learning_rate: float = 3e-3
    updates: int = 1_200
    batch_size: int = 16
    steps: int = 20
    test_size: int = 400


class Network(nn.Module):
    """Mean and log-variance of every value of an episode, each (length, batch)."""

    def __init__(self, config: Regression) -> None:
        super().__init__()
        size = config.dims + 1
        self.body: nn.Module
        if config.model == "mann":
            shape = {name: getattr(config, name) for name in ("hidden_size", "slots", "width", "reads")}
            self.body = MemoryAugmentedNetwork(size, 2, **shape)
        elif config.model == "lstm":
            self.body = Recurrent(size, 2, config.hidden_size)
        else:
            self.body = Transformer(size, 2, config.hidden_size, config.length)

    def forward(self, points: Points) -> tuple[Tensor, Tensor]:
        """What is said of each value, given those before it."""
        before = F.pad(points.y[:-1], (0, 0, 1, 0)).unsqueeze(-1)
        found = self.body(torch.cat((points.x, before), -1).float())
        mean, log_variance = (found[0] if isinstance(found, tuple) else found).unbind(-1)
        return mean, log_variance


def parameters(config: Regression) -> int:
    """How many a network has."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Network(config).parameters())


def train(config: Regression, seed: int, device: torch.device) -> dict[str, object]:
    """Train one network, or evaluate one reference, which learns nothing but a kernel; the metrics of the row.

    Returns: `nll`: mean −log density of a value, in nats, by how many points were seen, a list; `mean_nll`: its mean;
        `median_nll`: the median over episodes, by how many points were seen; `rmse`: of the predicted mean, likewise;
        for a network also `parameters`, and `loss`: mean of the last 50 updates; for a kernel that does not change
        `kernel`, its three numbers.
    Raises: ValueError: an unknown model.
    """
    if config.model not in NETWORKS + PROCESSES:
        raise ValueError(f"model must be one of {', '.join(NETWORKS + PROCESSES)}, got {config.model!r}")
    kernel = Kernel(config.length_scale, 1.0, config.noise)

    def episodes(size: int, generator: torch.Generator) -> Points:
        drawn = draw_functions(size, config.length, config.dims, kernel, generator=generator)
        return Points(*(part.to(device) for part in drawn))

    source = torch.Generator().manual_seed(seed)
    test = episodes(config.test_size, torch.Generator().manual_seed(10_000 + seed))
    if config.model in PROCESSES:
        known = {"true": 1.0, "long": 3.0, "short": 1 / 3}
        if config.model in ("learned", "prior"):
            around = START if config.model == "prior" else None
            mean, variance = learned_predictive(test, START, config.steps, around=around)
            return _score(test, mean, variance.log())
        if config.model == "pooled":
            learned = fit_kernel(episodes(10 * config.batch_size, source), START, 10 * config.steps)
        else:
            learned = kernel._replace(length_scale=known[config.model] * config.length_scale)
        mean, variance = predictive(test, learned)
        return _score(test, mean, variance.log()) | {"kernel": [float(value) for value in learned]}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        network = Network(config).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / config.updates)
        losses = []
        for _ in progress(range(config.updates), f"{config.model}, {config.dims} dimensions"):
            points = episodes(config.batch_size, source)
            loss = negative_log_density(points.y.float(), *network(points)).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        with torch.no_grad():
            score = _score(test, *network(test))
        last = losses[-50:]
        return score | {"parameters": parameters(config), "loss": sum(last) / len(last)}


def _score(points: Points, mean: Tensor, log_variance: Tensor) -> dict[str, object]:
    nll = negative_log_density(points.y, mean.double(), log_variance.double())
    rmse = (points.y - mean).square().mean(1).sqrt()
    return {
        "nll": nll.mean(1).tolist(),
        "mean_nll": float(nll.mean()),
        "median_nll": nll.quantile(0.5, 1).tolist(),
        "rmse": rmse.tolist(),
    }


def regressions(arms: Sequence[Regression], seeds: Sequence[int] = range(3)) -> Experiment[Regression]:
    """A table of the scale "book"."""
    return Experiment("memory_augmented_regression", Regression, train, {"book": arms}, {"book": seeds})


RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
#: The four rates that the search of an arm starts with.
FIRST_RATES = {"mann": RATES[2:6], "lstm": RATES[2:6], "transformer": RATES[1:5]}


def searched(best: Mapping[Regression, float]) -> Experiment[Regression]:
    """The search: every arm at four rates on a seed that no table of results has.

    Args: best: what it chose; where that is the first or last rate tried, the next one follows.
    """
    arms = []
    for arm, rate in best.items():
        place = RATES.index(rate)
        rates = {*FIRST_RATES[arm.model], *RATES[place - 1 : place + 2]}
        arms += [replace(arm, learning_rate=value) for value in sorted(rates)]
    return regressions(arms, range(100, 101))


#: Inputs of one, two and three dimensions: the further points lie apart, the longer the scale and the episode.
TASKS = (
    Regression(),
    Regression(dims=2, length=25, length_scale=0.7),
    Regression(dims=3, length=30, length_scale=0.9),
)
#: What `SEARCH_REGRESSION` chose in one dimension; the arms have the same rate in two and three.
TUNED_REGRESSION = {
    Regression("mann"): 0.03,
    Regression("lstm"): 0.03,
    Regression("lstm", hidden_size=AS_MANY["lstm"]): 0.03,
    Regression("transformer", hidden_size=AS_MANY["transformer"]): 0.003,
}
SEARCH_REGRESSION = searched(TUNED_REGRESSION)
REGRESSION = regressions(
    [
        replace(task, model=arm.model, hidden_size=arm.hidden_size, learning_rate=rate)
        for task in TASKS
        for arm, rate in TUNED_REGRESSION.items()
    ]
)
REFERENCES = regressions([replace(task, model=model) for model in PROCESSES for task in TASKS])
_check = Regression(length=6, hidden_size=8, slots=5, width=3, updates=5, batch_size=4, steps=3, test_size=10)
#: Seconds: every model once.
CHECK_REGRESSION = Experiment(
    "memory_augmented_regression",
    Regression,
    train,
    {"check": [replace(_check, model=model, dims=1 + i % 3) for i, model in enumerate(NETWORKS + PROCESSES)]},
    {"check": range(1)},
)
