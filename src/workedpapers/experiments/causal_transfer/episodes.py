"""Episodes of online adaptation: thousands of tables at once, both directions on the same examples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import pandas as pd
import torch
from torch import Tensor

from workedpapers.causal_transfer import TabularModel, adapt
from workedpapers.lab import Experiment
from workedpapers.tasks.pairs import INTERVENTIONS, PRIORS, draw_pairs, intervene, random_joint

#: Numbers that are held at once: cells of tables, examples.
NUMBERS = 2_000_000
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
ROUNDING = 1e-9  # Δ is zero until a model has learned


@dataclass(frozen=True)
class Episodes:
    """Pairs A → B, an intervention, and two models that adapt to it.

    Args:
        values: N, of A and of B.
        prior: the law of the training distribution, one of `tasks.pairs.PRIORS`.
        intervention: one of `tasks.pairs.INTERVENTIONS`.
        start: what both models hold before the episode: "exact", the training distribution; "uniform"; or a number
            of training examples, whose counts plus one a cell are taken for it.
        steps, batch: the episode, `batch` examples scored and learned from at a time.
        learning_rate: of SGD, for the model A → B.
        reverse_rate: for the model B → A; None: the same.
        runs: independent episodes, each with a training distribution of its own.
    """

    values: int = 10
    prior: str = "rows"
    intervention: str = "cause"
    start: str | int = "exact"
    steps: int = 400
    batch: int = 1
    learning_rate: float = 1.0
    reverse_rate: float | None = None
    runs: int = 10_000


def start_table(joint: Tensor, start: str | int, generator: torch.Generator) -> Tensor:
    """The joint table that both models hold before an episode.

    Args: joint: the training distribution, (runs, values, values); start: as in `Episodes`.
    Raises: ValueError: another start.
    """
    cells = joint.shape[-1] * joint.shape[-2]
    if start == "exact":
        return joint
    if start == "uniform":
        return torch.full_like(joint, 1 / cells)
    if not isinstance(start, int):
        raise ValueError(f"start must be 'exact', 'uniform' or a number of examples, got {start!r}")
    drawn = draw_pairs(joint, start, generator=generator).flatten(-3, -2)
    cell = drawn[..., 0] * joint.shape[-1] + drawn[..., 1]
    counts = torch.ones(len(joint), cells, dtype=joint.dtype).scatter_add_(-1, cell, torch.ones_like(cell).double())
    return (counts / counts.sum(-1, keepdim=True)).view_as(joint)


def moments(steps: int) -> list[int]:
    """Numbers of steps after which a curve is kept: all up to ten, then seven a factor of ten, and the last."""
    round_ones = (k * 10**e for e in range(1, 7) for k in (1, 1.5, 2, 3, 4, 5, 7))
    return sorted({*range(min(steps, 10) + 1), *(int(step) for step in round_ones if step <= steps), steps})


def at(rows: pd.DataFrame, metric: str, steps: int) -> pd.Series:
    """A curve of each row after so many steps; what is kept from the first step on leaves the start out.

    Raises: ValueError: no curve is kept there; IndexError: the start, of curves that leave it out.
    """
    values = [curve[after.index(steps) - len(after)] for after, curve in zip(rows.after, rows[metric], strict=True)]
    return pd.Series(values, rows.index)


def chunks(runs: int, size: int) -> Iterator[int]:
    """How many runs at a time, where one takes `size` numbers."""
    at_once = max(1, min(runs, NUMBERS // size))
    yield from (at_once for _ in range(runs // at_once))
    if runs % at_once:
        yield runs % at_once


def quantiles(values: Tensor) -> list[list[float]]:
    """`QUANTILES` over the first axis, a list for each place of the second."""
    return [row.tolist() for row in values.quantile(torch.tensor(QUANTILES, dtype=torch.float64), 0).mT]


def follow(config: Episodes, seed: int, device: torch.device) -> dict[str, object]:
    """Both directions through every episode.

    Returns: over the runs, at the numbers of steps `after` (a list): quantiles (`QUANTILES`) of the excess, the
        Kullback-Leibler divergence of the model from the transfer distribution in nats, of either direction, as lists
        `causal` and `anticausal`; `gap`, the quantiles of the difference in a run (anticausal less causal), and
        `mean_gap`. Of Δ, the difference of the online log-likelihoods so far, at the same numbers of steps, the first
        left out: `mean_delta`, `sd_delta`, `delta` (quantiles), `negative` (the share of runs with Δ < 0), `mean_ratio`
        (of e^−Δ, at most 1e300) and `sd_ratio`; Δ of the first batch is rounding, since no model has learned yet.
        `regret_causal`, `regret_anticausal`: mean online excess a step so far.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    size = max(10 * config.values**2, config.steps * config.batch)
    parts = [_chunk(config, runs, generator, device) for runs in chunks(config.runs, size)]
    causal, anticausal, deltas, *regrets = (torch.cat(values).cpu() for values in zip(*parts, strict=True))
    ratio = torch.exp(-deltas).clamp(max=1e300)
    return {
        "after": moments(config.steps),
        "causal": quantiles(causal),
        "anticausal": quantiles(anticausal),
        "gap": quantiles(anticausal - causal),
        "mean_gap": (anticausal - causal).mean(0).tolist(),
        "mean_delta": deltas.mean(0).tolist(),
        "sd_delta": deltas.std(0).tolist(),
        "delta": quantiles(deltas),
        "negative": (deltas < -ROUNDING).double().mean(0).tolist(),
        "mean_ratio": ratio.mean(0).tolist(),
        "sd_ratio": ratio.std(0).tolist(),
        "regret_causal": regrets[0].mean(0).tolist(),
        "regret_anticausal": regrets[1].mean(0).tolist(),
    }


def _chunk(config: Episodes, runs: int, generator: torch.Generator, device: torch.device) -> tuple[Tensor, ...]:
    """Excess of both directions (runs, moments), Δ and mean regrets of both (runs, moments − 1)."""
    before = random_joint(runs, config.values, config.prior, generator=generator)
    after = intervene(before, config.intervention, generator=generator)
    table = start_table(before, config.start, generator).to(device)
    samples = draw_pairs(after, config.steps, config.batch, generator=generator).to(device)
    after = after.to(device)
    best = torch.special.xlogy(after, after).sum((-2, -1)).unsqueeze(-1)
    at = torch.tensor(moments(config.steps), device=device)
    excess, online, regret = [], [], []
    other = config.learning_rate if config.reverse_rate is None else config.reverse_rate
    for joint, held, drawn, rate in (
        (after, table, samples, config.learning_rate),
        (after.mT, table.mT, samples.flip(-1), other),
    ):
        found = adapt(TabularModel.from_joint(held), drawn, rate, joint=joint)
        assert found.expected is not None
        curve = best - found.expected
        excess.append(curve[:, at])
        online.append(found.log_likelihood.cumsum(-1)[:, at[1:] - 1])
        regret.append(curve[:, :-1].cumsum(-1)[:, at[1:] - 1] / at[1:])
    return *excess, online[0] - online[1], *regret


def _table(configs: Sequence[Episodes], seeds: Sequence[int] = range(3)) -> Experiment[Episodes]:
    """A table of the book."""
    return Experiment("causal_transfer", Episodes, follow, {"book": configs}, {"book": seeds})


#: The paper's figure, at both sizes, with other rates and batches.
ADAPTATION = _table(
    [
        Episodes(),
        Episodes(learning_rate=0.1),
        Episodes(batch=100, steps=100),
        Episodes(values=100, steps=500, runs=4000),
    ]
)
SIZES = (2, 3, 5, 10, 20, 50, 100)
CAPACITY = _table([Episodes(values=size, runs=4000 if size > 20 else 10_000) for size in SIZES])
INTERVENED = _table([Episodes(prior=prior, intervention=on) for prior, on in product(PRIORS, INTERVENTIONS)])
#: In batches of 100, which follow the expected gradient.
BATCHES = _table(
    [
        Episodes(prior=prior, intervention=on, batch=100, steps=100, runs=2000)
        for prior, on in product(PRIORS, INTERVENTIONS)
    ]
)
#: From uniform tables on the training distribution itself.
SCRATCH = _table(
    [
        Episodes(prior=prior, intervention="nothing", start="uniform", batch=batch, steps=200)
        for prior, batch in product(PRIORS, (1, 10))
    ]
)
EXAMPLES = (100, 1000, 10_000)
STARTS = _table([Episodes(start=examples) for examples in EXAMPLES])
RATES = (0.01, 0.03, 0.1, 0.3, 0.5, 1.0, 3.0, 10.0, 30.0)
SEARCHED_SIZES = (2, 5, 10, 30, 100)
SEARCH_RATES = _table(
    [Episodes(values=size, learning_rate=rate, runs=1000) for size, rate in product(SEARCHED_SIZES, RATES)], (100,)
)
HORIZON = 20  # examples over which a rate is chosen
#: By size: rates of A → B and of B → A with the lowest own regret over `HORIZON` examples in the search.
TUNED_RATES: dict[int, tuple[float, float]] = {
    2: (0.5, 0.5),
    5: (0.5, 0.5),
    10: (0.5, 0.5),
    30: (1.0, 0.1),
    100: (1.0, 0.03),
}
TUNED = _table(
    [
        Episodes(values=size, steps=HORIZON, learning_rate=rate, reverse_rate=other)
        for size, (rate, other) in TUNED_RATES.items()
    ]
)
CHECK = Experiment(
    "causal_transfer",
    Episodes,
    follow,
    {
        "check": [
            Episodes(values=3, steps=12, runs=40),
            Episodes(values=4, prior="cells", intervention="both", start=50, steps=6, batch=5, runs=40),
            Episodes(values=3, intervention="nothing", start="uniform", steps=5, reverse_rate=0.3, runs=40),
            Episodes(values=3, intervention="mirror", steps=5, runs=40),
            Episodes(values=3, intervention="mechanism", steps=5, runs=40),
        ]
    },
    {"check": range(1)},
)
