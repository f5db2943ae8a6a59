"""Causal transfer: of two factorisations of a pair, the causal one adapts faster to an intervention on the cause.

Bengio, Deleu, Rahaman, Ke, Lachapelle, Bilaniuk, Goyal, Pal, "A Meta-Transfer Objective for Learning to Disentangle
Causal Mechanisms", 2019 (arXiv 1901.10912). Equations up to (CT.12) are those of `notebooks/causal_transfer`, from
(CT.13) on of `notebooks/causal_transfer_theory`.
"""

import math
from numbers import Integral, Real
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.types import Device

FLOATS = torch.float32, torch.float64
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class TabularModel(NamedTuple):
    """One factorisation P(cause) P(effect | cause) of a pair of categorical variables, for every run of a batch.

    Which of the two variables is the cause is up to you: for B → A the values of B are the rows. A logit of −inf is a
    probability of zero and stays one; each row needs a finite maximum.

    Attributes:
        logits_cause: shape (*runs, N).
        logits_effect_given_cause: a row for each value of the cause, shape (*runs, N, M), of the same dtype and device.
    """

    logits_cause: Tensor
    logits_effect_given_cause: Tensor

    @classmethod
    def from_joint(cls, joint: Tensor) -> Self:
        """The exact fit of a joint distribution; the other direction's is `from_joint(joint.mT)`. Eq. (CT.1).

        The logits are log-probabilities. A value of the cause that has probability zero leaves its row open: uniform.

        Args:
            joint: probabilities, a row for each value of the cause, shape (*runs, N, M), float32 or float64.
        Raises: ValueError, TypeError: a joint that is no such table, negative, or whose sum is not 1.
        """
        _check_tensor("joint", joint, 2, *FLOATS)
        _check_probabilities(joint)
        joint = joint.contiguous()  # the same digits for the same numbers, whatever their layout
        log_marginal = joint.sum(-1).log()
        rows = joint.log() - log_marginal.unsqueeze(-1)
        return cls(log_marginal, rows.masked_fill(rows.isnan(), -math.log(joint.shape[-1])))

    def log_joint(self) -> Tensor:
        """log P(cause, effect), shape (*runs, N, M), differentiable in the logits."""
        _check_model(self)
        return self.logits_cause.log_softmax(-1).unsqueeze(-1) + self.logits_effect_given_cause.log_softmax(-1)

    def log_prob(self, cause: Tensor, effect: Tensor) -> Tensor:
        """log P of pairs of values, differentiable in the logits.

        Args:
            cause, effect: values, int64, shape (*runs, n) each; leading axes broadcast against the model's runs.
        Returns: shape (*runs, n).
        Raises: ValueError, TypeError: shapes that do not agree, another dtype, a value outside the table.
        """
        log_joint = self.log_joint()
        _check_tensor("cause", cause, 1, torch.int64)
        _check_tensor("effect", effect, 1, torch.int64)
        _check_range("cause", cause, log_joint.shape[-2])
        _check_range("effect", effect, log_joint.shape[-1])
        if cause.shape != effect.shape:
            raise ValueError(f"cause has shape {tuple(cause.shape)}, effect {tuple(effect.shape)}")
        runs = _broadcast(model=log_joint.shape[:-2], cause=cause.shape[:-1])
        cell = (cause * log_joint.shape[-1] + effect).expand(*runs, cause.shape[-1])
        return log_joint.flatten(-2).expand(*runs, -1).gather(-1, cell)

    def expected_log_likelihood(self, joint: Tensor) -> Tensor:
        """Σ q(cause, effect) log P(cause, effect), exact, differentiable in the logits; −KL(q‖P) − H(q), eq. (CT.3).

        Args:
            joint: q, shape (*runs, N, M), of the model's dtype; leading axes broadcast against the model's runs.
        Returns: shape (*runs,), in nats; −inf where q has a value that P excludes.
        Raises: ValueError, TypeError: a joint of other sizes, dtype or device, negative, or whose sum is not 1.
        """
        _check_model(self)
        _check_joint(joint, self)
        return _expectation(joint, self.log_joint()).sum(-1)


class Adaptation(NamedTuple):
    """What `adapt` returns.

    Attributes:
        log_likelihood: of each step's batch, summed over the batch, before the step, shape (*runs, steps). Its sum over
            steps is log L of eq. (CT.8).
        model: after the last step.
        expected: `expected_log_likelihood` before each step and after the last, shape (*runs, steps + 1), or None.
    """

    log_likelihood: Tensor
    model: TabularModel
    expected: Tensor | None


@torch.no_grad()
def adapt(model: TabularModel, samples: Tensor, lr: float | Tensor, *, joint: Tensor | None = None) -> Adaptation:
    """Score a stream of samples, one step of SGD after each batch, eqs. (CT.5) and (CT.8); the model stays as it is.

    The step goes up the gradient of the batch's mean log-likelihood, in closed form. It reads and writes only the rows
    of the batch where these are fewer than the rows of the table, so a single example costs O(N + M) a run, `expected`
    included; larger batches go through counts, O(N · M + batch). Nothing here has a gradient.

    Args:
        model: the start.
        samples: int64, shape (*runs, steps, batch, 2), the last axis (cause, effect): `samples.flip(-1)` for B → A.
        lr: learning rate, at least 0; a tensor of the model's dtype gives each run its own.
        joint: q, shape (*runs, N, M), for `expected`; None leaves it out.
        The runs of model, samples, lr and joint broadcast against each other.
    Raises: ValueError, TypeError: shapes, dtypes or devices that do not agree, a value outside the table, an empty
        batch, a row of logits without a finite maximum, a rate that is negative or not finite, a joint that is negative
        or whose sum is not 1.
    """
    runs, rate = _check_adapt(model, samples, lr, joint)
    count, (N, M), (steps, batch) = math.prod(runs), model.logits_effect_given_cause.shape[-2:], samples.shape[-3:-1]
    rate = rate.expand(runs).reshape(count, 1) / batch
    weights = None if joint is None else joint.expand(*runs, N, M).reshape(count, N, M).contiguous()
    marginal = None if weights is None else weights.sum(-1).unsqueeze(-2)
    cause = _Table(model.logits_cause.expand(*runs, N).reshape(count, 1, N), marginal)
    kind = _Rows if batch < N else _Table
    effect = kind(model.logits_effect_given_cause.expand(*runs, N, M).reshape(count, N, M), weights)

    log_likelihood = rate.new_empty(steps, count)
    expected = rate.new_empty(steps + 1, count)
    for t, step in enumerate(samples.movedim(-3, 0).contiguous()):
        if joint is not None:
            expected[t] = cause.expected() + effect.expected()
        a, b = step.expand(*runs, batch, 2).reshape(count, batch, 2).unbind(-1)
        log_likelihood[t] = cause.step(torch.zeros_like(a), a, rate) + effect.step(a, b, rate)
    if joint is not None:
        expected[steps] = cause.expected() + effect.expected()
    return Adaptation(
        log_likelihood.T.contiguous().view(*runs, steps),
        TabularModel(cause.logits.reshape(*runs, N), effect.logits.reshape(*runs, N, M)),
        None if joint is None else expected.T.contiguous().view(*runs, steps + 1),
    )


class _Table:
    """P(value | row) while it adapts: logits of shape (runs, rows, K). Every step computes the whole table."""

    def __init__(self, logits: Tensor, weights: Tensor | None) -> None:
        self.logits, self.weights = logits.clone(memory_format=torch.contiguous_format), weights
        self.log_p, self.p = _softmax(logits)

    def step(self, row: Tensor, value: Tensor, rate: Tensor) -> Tensor:
        """Log-likelihood (runs,) of the pairs (runs, batch), then a step; rate (runs, 1), for the sum of the batch."""
        runs, rows, K = self.logits.shape
        cell = row * K + value
        scores = self.log_p.flatten(1).gather(1, cell).sum(-1)
        counts = rate.new_zeros(runs, rows * K).scatter_add_(1, cell, rate.expand(cell.shape)).view(runs, rows, K)
        self.logits += counts - counts.sum(-1, keepdim=True) * self.p
        self.log_p, self.p = _softmax(self.logits)
        return scores

    def expected(self) -> Tensor:
        """Σ weights · log P, shape (runs,)."""
        assert self.weights is not None
        return _expectation(self.weights, self.log_p).sum(-1)


class _Rows:
    """The same, where every step computes only the rows of its batch."""

    def __init__(self, logits: Tensor, weights: Tensor | None) -> None:
        self.logits, self.weights = logits.clone(memory_format=torch.contiguous_format), weights
        runs, rows, _ = logits.shape
        self.first = rows * torch.arange(runs, device=logits.device).unsqueeze(1)  # row of each run in one long table
        if weights is not None:
            self.expectations = _expectation(weights, _softmax(logits)[0])  # of each row, (runs, rows)

    def step(self, row: Tensor, value: Tensor, rate: Tensor) -> Tensor:
        table = self.logits.flatten(0, 1)
        index = (self.first + row).flatten()
        value = value.reshape(len(index), 1)
        log_p, p = _softmax(table.index_select(0, index))
        scores = log_p.gather(1, value).view(row.shape).sum(-1)
        rates = rate.expand(row.shape).reshape(len(index), 1)
        move = (-rates * p).scatter_add_(1, value, rates)
        table.index_add_(0, index, move)  # a row that the batch holds twice moves twice
        if self.weights is not None:
            log_p, _ = _softmax(table.index_select(0, index))
            weights = self.weights.flatten(0, 1).index_select(0, index)
            self.expectations.view(-1)[index] = _expectation(weights, log_p)
        return scores

    def expected(self) -> Tensor:
        return self.expectations.sum(-1)


def _softmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Log-softmax and softmax over the last axis; on rows of ten, a third of the time of torch's log-softmax alone."""
    shifted = logits - logits.amax(-1, keepdim=True)
    exponentials = shifted.exp()
    total = exponentials.sum(-1, keepdim=True)
    return shifted - total.log(), exponentials / total


def _expectation(weights: Tensor, log_p: Tensor) -> Tensor:
    """Σ weights · log_p over the last axis, where 0 · −∞ is 0."""
    return (weights * log_p.masked_fill(weights == 0, 0)).sum(-1)


def structural_loss(log_likelihood_ab: Tensor, log_likelihood_ba: Tensor, gamma: Tensor) -> Tensor:
    """R = −log(σ(γ) L_{A→B} + σ(−γ) L_{B→A}) of an episode; eq. (CT.9), eq. 2 of the paper.

    Differentiable in all three. Where both models exclude the data it is +inf and its gradient NaN.

    Args:
        log_likelihood_ab, log_likelihood_ba: log L of the episode, `adapt(…).log_likelihood.sum(-1)`.
        gamma: structural parameter γ; σ(γ) is the belief in A → B.
    Shape: all three broadcast.
    """
    return -torch.logaddexp(F.logsigmoid(gamma) + log_likelihood_ab, F.logsigmoid(-gamma) + log_likelihood_ba)


def structural_gradient(log_likelihood_ab: Tensor, log_likelihood_ba: Tensor, gamma: Tensor) -> Tensor:
    """dR/dγ = σ(γ) − σ(γ + Δ), the belief before the episode less the belief after it; eqs. (CT.10), (CT.11).

    Written without a difference of nearly equal numbers: small results keep all their digits.

    Args:
        log_likelihood_ab, log_likelihood_ba, gamma: as for `structural_loss`; Δ is the first less the second.
    Shape: all three broadcast.
    """
    delta = log_likelihood_ab - log_likelihood_ba
    after = gamma + delta
    toward = torch.sigmoid(after) * torch.sigmoid(-gamma) * torch.expm1(-delta.clamp(min=0))
    away = torch.sigmoid(gamma) * torch.sigmoid(-after) * torch.expm1(delta.clamp(max=0))
    return torch.where(delta > 0, toward, -away)


@torch.no_grad()
def optimal_belief(deltas: Tensor) -> Tensor:
    """The belief β = σ(γ) of least mean structural loss over episodes, eqs. (CT.12) and (CT.14).

    1 where the mean of e^−Δ is at most 1, 0 where that of e^Δ is; between them the one root of the slope. Where every Δ
    is 0, every belief is optimal, and 1/2 is returned.

    Args:
        deltas: Δ of each episode, shape (*, episodes); infinities are allowed. Computed in double precision.
    Returns: shape (*,), dtype of deltas.
    Raises: ValueError, TypeError: no episode, NaN, not floating point.
    """
    _check_tensor("deltas", deltas, 1, *FLOATS)
    if deltas.shape[-1] == 0:
        raise ValueError(f"deltas needs at least one episode, got shape {tuple(deltas.shape)}")
    if not (deltas == deltas).all():
        raise ValueError("deltas must not hold NaN")
    delta = deltas.double()
    one, zero = torch.expm1(-delta).mean(-1) <= 0, torch.expm1(delta).mean(-1) <= 0
    low, high = torch.full_like(delta[..., :1], -100), torch.full_like(delta[..., :1], 100)
    for _ in range(64):  # to 200 / 2^64
        middle = (low + high) / 2
        falling = structural_gradient(delta, torch.zeros_like(delta), middle).mean(-1, keepdim=True) < 0
        low, high = torch.where(falling, middle, low), torch.where(falling, high, middle)
    belief = torch.sigmoid(low.squeeze(-1)).masked_fill(one, 1).masked_fill(zero, 0)
    return belief.masked_fill(one & zero, 0.5).to(deltas.dtype)


class MixtureDensityNetwork(nn.Module):
    """Conditional density of a scalar given a scalar: a mixture of normals whose parameters a small network computes.

    p(y | x) = Σ_k softmax(w)_k N(y; m_k, e^{s_k}), with (w, m, s) linear in tanh of a linear layer of x: the model of
    the paper's continuous example. The runs share no parameter: train all by the sum of their losses.

    Args:
        components: normals of the mixture.
        hidden_size: units of the hidden layer.
        runs: leading shape of every parameter: so many networks side by side.
        generator: of the starting values, on the parameters' device; None for torch's own.
        device, dtype: of the parameters, as for torch's layers.
    Raises: ValueError, TypeError: sizes that are no positive integers.
    """

    def __init__(
        self,
        components: int = 10,
        hidden_size: int = 32,
        *,
        runs: tuple[int, ...] = (),
        generator: torch.Generator | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(components=components, hidden_size=hidden_size)
        self.components, self.hidden_size, self.runs = components, hidden_size, torch.Size(runs)

        def parameter(*sizes: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(*self.runs, *sizes, device=device, dtype=dtype))

        self.weight_hidden, self.bias_hidden = parameter(1, hidden_size), parameter(1, hidden_size)
        self.weight_out, self.bias_out = parameter(hidden_size, 3 * components), parameter(1, 3 * components)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Start as `torch.nn.Linear` does: U(±1/√fan_in) for weights and biases."""
        for bound, parameters in (
            (1.0, (self.weight_hidden, self.bias_hidden)),
            (1 / math.sqrt(self.hidden_size), (self.weight_out, self.bias_out)),
        ):
            for parameter in parameters:
                nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def extra_repr(self) -> str:
        """The arguments, for `print(model)`."""
        return f"components={self.components}, hidden_size={self.hidden_size}, runs={tuple(self.runs)}"

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, means and log standard deviations, shape (*runs, n, components) each, for given (*runs, n)."""
        if given.dim() == 0 or given.shape[:-1] != self.runs:
            raise ValueError(f"given must have shape {_shape((*self.runs, 'n'))}, got {tuple(given.shape)}")
        hidden = torch.tanh(given.unsqueeze(-1) * self.weight_hidden + self.bias_hidden)  # (*runs, n, hidden_size)
        logits, means, log_scales = (hidden @ self.weight_out + self.bias_out).chunk(3, -1)
        return logits, means, log_scales

    def log_prob(self, target: Tensor, given: Tensor) -> Tensor:
        """log p(target | given), differentiable in both; all of shape (*runs, n)."""
        if target.shape != given.shape:
            raise ValueError(f"target has shape {tuple(target.shape)}, given {tuple(given.shape)}")
        return _log_mixture(target, *self(given)).logsumexp(-1)


class GaussianMixture(NamedTuple):
    """Density of a scalar as a mixture of normals, for every run of a batch.

    Attributes:
        logits: unnormalised log weights, shape (*runs, components); −inf for a component that is off.
        loc: means, of the same shape.
        scale: standard deviations, > 0, of the same shape.
    """

    logits: Tensor
    loc: Tensor
    scale: Tensor

    @classmethod
    @torch.no_grad()
    def fit(
        cls,
        samples: Tensor,
        components: int = 10,
        iterations: int = 100,
        *,
        start: "GaussianMixture | None" = None,
        floor: float = 1e-3,
    ) -> "GaussianMixture":
        """Maximise the likelihood of samples by expectation maximisation; it falls in no iteration.

        Without a start, the means are samples at equal distances in rank, all weights are equal, and each scale is that
        of the samples over the number of components: nothing is drawn. A component that no sample falls to stays where
        it is, with weight 0.

        Args:
            samples: shape (*runs, n).
            components: of the mixture, where there is no start.
            iterations: how many, at least 0.
            start: the mixture before the first iteration, for the same runs, no scale below floor.
            floor: least standard deviation, > 0; without one a component could shrink to a single sample.
        Returns: a mixture without a gradient.
        Raises: ValueError, TypeError: no sample, samples that are not finite, a start of other shape or dtype, numbers
            outside what is listed.
        """
        _check_tensor("samples", samples, 1, *FLOATS)
        _check_sizes(components=components)
        if not isinstance(iterations, Integral) or iterations < 0:
            raise ValueError(f"iterations must be an int of at least 0, got {iterations!r}")
        if not (isinstance(floor, Real) and 0 < floor < math.inf):
            raise ValueError(f"floor must be positive and finite, got {floor!r}")
        if samples.shape[-1] == 0:
            raise ValueError(f"samples needs at least one value, got shape {tuple(samples.shape)}")
        if not samples.isfinite().all():
            raise ValueError("samples must be finite")
        if start is None:
            ranks = (torch.arange(components, device=samples.device) * 2 + 1) * samples.shape[-1] // (2 * components)
            loc = samples.sort(-1).values[..., ranks]  # torch.quantile takes at most 16 million numbers
            spread = (samples - samples.mean(-1, keepdim=True)).square().mean(-1, keepdim=True).sqrt()
            start = cls(torch.zeros_like(loc), loc, (spread / components).clamp(min=floor).expand(loc.shape))
        else:
            _check_start(start, samples, floor)
        mixture = start
        x = samples.unsqueeze(-1)
        for _ in range(iterations):
            _, shares = _softmax(_log_mixture(samples, *mixture._parameters()))  # responsibilities, (*runs, n, K)
            total = shares.sum(-2)
            filled = total > torch.finfo(total.dtype).eps ** 2  # a mean of less has no digits
            divisor = total.where(filled, torch.ones_like(total))
            loc = torch.where(filled, (shares * x).sum(-2) / divisor, mixture.loc)
            variance = (shares * (x - loc.unsqueeze(-2)).square()).sum(-2) / divisor
            scale = torch.where(filled, variance.sqrt().clamp(min=floor), mixture.scale)
            mixture = cls(total.log() - math.log(samples.shape[-1]), loc, scale)
        return mixture

    def _parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """As `_log_mixture` takes them."""
        return self.logits.unsqueeze(-2), self.loc.unsqueeze(-2), self.scale.log().unsqueeze(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density, differentiable in value and the parameters; value (*runs, n) → the same."""
        return _log_mixture(value, *self._parameters()).logsumexp(-1)


def _log_mixture(value: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
    """Log weight plus log density of each component, shape (*runs, n, K), for value (*runs, n)."""
    z = (value.unsqueeze(-1) - means) * torch.exp(-log_scales)
    return logits.log_softmax(-1) - 0.5 * z.square() - log_scales - HALF_LOG_2PI


def _check_adapt(
    model: TabularModel, samples: Tensor, lr: float | Tensor, joint: Tensor | None
) -> tuple[tuple[int, ...], Tensor]:
    """The runs, and the rate as a tensor, of arguments that fit."""
    _check_model(model)
    logits, table = model
    for name, values in model._asdict().items():
        if not values.amax(-1).isfinite().all():
            raise ValueError(f"each row of {name} must have a finite maximum")
    _check_tensor("samples", samples, 3, torch.int64)
    _check_device("samples", samples, model)
    if samples.shape[-1] != 2 or samples.shape[-2] == 0:
        raise ValueError(
            f"samples must have shape (*runs, steps, batch, 2), batch at least 1, got {tuple(samples.shape)}"
        )
    _check_range("the cause in samples", samples[..., 0], table.shape[-2])
    _check_range("the effect in samples", samples[..., 1], table.shape[-1])
    if not isinstance(lr, Real | Tensor):
        raise TypeError(f"lr must be a number or a tensor, got {lr!r}")
    rate = lr if isinstance(lr, Tensor) else torch.tensor(lr, dtype=logits.dtype, device=logits.device)
    _check_tensor("lr", rate, 0, logits.dtype)
    _check_device("lr", rate, model)
    if not ((rate >= 0) & (rate < math.inf)).all():
        raise ValueError(f"lr must be finite and at least 0, got {lr}")
    shapes = {"model": logits.shape[:-1], "samples": samples.shape[:-3], "lr": rate.shape}
    if joint is not None:
        _check_joint(joint, model)
        shapes["joint"] = joint.shape[:-2]
    return _broadcast(**shapes), rate


def _check_model(model: TabularModel) -> None:
    if not isinstance(model, TabularModel):
        raise TypeError(f"model must be a TabularModel, got {type(model).__name__}")
    logits, table = model
    _check_tensor("logits_cause", logits, 1, *FLOATS)
    _check_tensor("logits_effect_given_cause", table, 2, *FLOATS)
    if table.shape[:-1] != logits.shape or 0 in table.shape[-2:]:
        raise ValueError(
            f"logits_cause (*runs, N) and logits_effect_given_cause (*runs, N, M) do not agree: "
            f"{tuple(logits.shape)} and {tuple(table.shape)}"
        )
    if (table.dtype, table.device) != (logits.dtype, logits.device):
        raise TypeError(
            f"logits_cause is {logits.dtype} on {logits.device}, "
            f"logits_effect_given_cause {table.dtype} on {table.device}"
        )


def _check_joint(joint: Tensor, model: TabularModel) -> None:
    table = model.logits_effect_given_cause
    _check_tensor("joint", joint, 2, table.dtype)
    _check_device("joint", joint, model)
    if joint.shape[-2:] != table.shape[-2:]:
        raise ValueError(f"joint must have shape {_shape(('*runs', *table.shape[-2:]))}, got {tuple(joint.shape)}")
    _check_probabilities(joint)


def _check_probabilities(joint: Tensor) -> None:
    if not (joint >= 0).all():
        raise ValueError("joint must hold probabilities, got a negative number or NaN")
    total = joint.sum((-2, -1))
    if not torch.isclose(total, torch.ones_like(total), rtol=0, atol=1e-5).all():
        raise ValueError(f"joint must have the sum 1 in each run, got {total}")


def _check_device(name: str, tensor: Tensor, model: TabularModel) -> None:
    if tensor.device != model.logits_cause.device:
        raise ValueError(f"{name} is on {tensor.device}, the model on {model.logits_cause.device}")


def _check_tensor(name: str, tensor: Tensor, least: int, *dtypes: torch.dtype) -> None:
    """Refuse what is no tensor of one of these dtypes and of at least so many axes."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if tensor.dtype not in dtypes:
        raise TypeError(f"{name} must be {' or '.join(map(str, dtypes))}, got {tensor.dtype}")
    if tensor.dim() < least:
        raise ValueError(f"{name} must have at least {least} axes, got shape {tuple(tensor.shape)}")


def _check_range(name: str, values: Tensor, count: int) -> None:
    if not ((values >= 0) & (values < count)).all():
        raise ValueError(f"{name} must lie in [0, {count - 1}], got {int(values.min())} to {int(values.max())}")


def _check_start(start: GaussianMixture, samples: Tensor, floor: float) -> None:
    if not isinstance(start, GaussianMixture):
        raise TypeError(f"start must be a GaussianMixture or None, got {type(start).__name__}")
    for name, values in start._asdict().items():
        _check_tensor(f"start.{name}", values, 1, samples.dtype)
        if values.shape != start.loc.shape or values.shape[:-1] != samples.shape[:-1]:
            expected = _shape((*samples.shape[:-1], "components"))
            raise ValueError(f"start.{name} must have shape {expected} as the others, got {tuple(values.shape)}")
    if not (start.scale >= floor).all():
        raise ValueError(f"start.scale must be at least floor, {floor}, got {float(start.scale.min())}")


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool):
            raise TypeError(f"{name} must be an int, got {size!r}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")


def _broadcast(**shapes: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return tuple(torch.broadcast_shapes(*shapes.values()))
    except RuntimeError:
        given = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        raise ValueError(f"runs do not broadcast: {given}") from None


def _shape(sizes: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, sizes))})"
