"""Gradients through samples of mixtures: how a draw moves when weights, means and scales move, by Leibniz' rule.

Graves, "Stochastic Backpropagation through Mixture Density Distributions", 2016 (arXiv 1607.05690). Equation tags are
those of the chapter `notebooks/mixture_gradients`.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    constraints,
)
from torch.nn import functional

Tail = Literal["smaller", "larger", "left"]
Sampler = Literal["exact", "rejection"]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class _Mixture(Distribution):
    """What both mixtures share: batches, ancestral draws, densities and the gradient of a draw."""

    support = constraints.real_vector
    has_rsample = True
    logits: Tensor
    loc: Tensor

    def __init__(self, logits: Tensor, loc: Tensor, validate_args: bool | None) -> None:
        super().__init__(logits.shape[:-1], loc.shape[-1:], validate_args=validate_args)
        if self._validate_args and not logits.detach().logsumexp(-1).isfinite().all():
            raise ValueError(f"each row of logits must have a finite maximum, got {logits}")

    def _locate(self, z: Tensor) -> Tensor:
        """x for z, the inverse of `_standardize`, in each component."""
        raise NotImplementedError

    def _parameters(self) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def _log_joint(self, x: Tensor) -> Tensor:
        """Logarithm of weight times density of each component, shape (*sample, *batch, K)."""
        z, scale = _standardize(x, *self._parameters())
        return self.logits.log_softmax(-1) + _log_normal(z, scale).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density, differentiable in value and in every parameter.

        Shape: value (*sample, *batch, D) → (*sample, *batch).
        """
        if self._validate_args:
            self._validate_sample(value)
        return self._log_joint(value).logsumexp(-1)

    def responsibilities(self, value: Tensor) -> Tensor:
        """Posterior probability of each component given the whole of value, γ^(D+1) of eq. (MIX.8).

        Shape: value (*sample, *batch, D) → (*sample, *batch, K).
        """
        if self._validate_args:
            self._validate_sample(value)
        return self._log_joint(value).softmax(-1)

    def reparameterize(self, value: Tensor) -> Tensor:
        """The same values, as draws whose gradient is that of eq. (MIX.9): uniforms fixed, parameters move.

        Shape: value (*sample, *batch, D) → the same. No gradient flows into value. Second derivatives and
        the transforms of `torch.func` raise.
        """
        if self._validate_args:
            self._validate_sample(value)
        return self._moving(value.detach().expand(torch.broadcast_shapes(value.shape, self.loc[..., 0, :].shape)))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws without a gradient, shape (*sample_shape, *batch, D): a component first, then its normal."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            if 0 in shape:
                return self.loc.new_empty(shape)
            component = Categorical(logits=self.logits, validate_args=False).sample(torch.Size(sample_shape))
            return self._draw(component, torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device))

    def _draw(self, component: Tensor, noise: Tensor) -> Tensor:
        raise NotImplementedError

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws as of `sample`, with the gradient of `reparameterize` for every parameter."""
        return self._moving(self.sample(sample_shape))

    def _moving(self, x: Tensor) -> Tensor:
        moved: Tensor = _Transport.apply(x, self.logits, *self._parameters())  # type: ignore[no-untyped-call]
        return moved

    @property
    def mean(self) -> Tensor:
        """Shape (*batch, D)."""
        return (self.logits.softmax(-1).unsqueeze(-1) * self.loc).sum(-2)

    @property
    def variance(self) -> Tensor:
        """Of each coordinate, shape (*batch, D)."""
        spread = self._component_variance() + (self.loc - self.mean.unsqueeze(-2)).square()
        return (self.logits.softmax(-1).unsqueeze(-1) * spread).sum(-2)

    def _component_variance(self) -> Tensor:
        raise NotImplementedError

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """The same mixture for each element of a larger batch."""
        known = MixtureNormal if isinstance(self, MixtureNormal) else MixtureMultivariateNormal
        new: Self = self._get_checked_instance(known, _instance)  # type: ignore[no-untyped-call]
        batch_shape = torch.Size(batch_shape)
        for name in self.arg_constraints:
            parameter: Tensor = getattr(self, name)
            setattr(new, name, parameter.expand(*batch_shape, *parameter.shape[len(self.batch_shape) :]))
        Distribution.__init__(new, batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new


class MixtureNormal(_Mixture):
    """Mixture of normals with diagonal covariances, whose draws have a gradient for every parameter, eq. (MIX.14).

    Unbiased if the slope of the cost grows no faster than a polynomial. For logits the variance grows like
    e^(m²/2) / m as two components part, ±m standard deviations from their middle, (MIX.28), since a draw must be
    carried through the gap between them. Depending on the cost, m = 0.5 can be too far, or m = 2 not. For means and
    scales in more than one dimension, and for logits of components that are apart, take `rao_blackwell_surrogate`.

    Args:
        logits: unnormalised log weights, shape (*batch, K); −inf for a component that is off.
        loc: means, shape (*batch, K, D).
        scale: standard deviations, shape (*batch, K, D), > 0.
        validate_args: as for every distribution of torch.
    Raises: ValueError: shapes that do not fit; with validation, NaN, a scale that is not positive, logits without a
        finite maximum. NotImplementedError: entropy, cdf.
    """

    arg_constraints: ClassVar = {
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
    }
    scale: Tensor

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        batch = _batch_shape("scale", logits, loc, scale, scale.shape)
        self.logits, self.loc, self.scale = (
            parameter.expand(*batch, *parameter.shape[-rank:])
            for parameter, rank in ((logits, 1), (loc, 2), (scale, 2))
        )
        super().__init__(self.logits, self.loc, validate_args)

    @classmethod
    def from_mixture_same_family(cls, mixture: MixtureSameFamily) -> Self:
        """The same mixture as torch's, which has no `rsample`.

        Args:
            mixture: of Independent(Normal(…), 1), or of Normal(…), which becomes D = 1, event_shape (1,).
        Raises: TypeError: other components.
        """
        components = mixture.component_distribution
        if isinstance(components, Independent) and components.reinterpreted_batch_ndims == 1:
            components = components.base_dist
        elif isinstance(components, Normal):
            components = Normal(components.loc.unsqueeze(-1), components.scale.unsqueeze(-1), validate_args=False)
        if not isinstance(components, Normal):
            raise TypeError(
                f"components must be Independent(Normal(…), 1) or Normal(…), got {mixture.component_distribution}"
            )
        logits = mixture.mixture_distribution.logits
        return cls(logits, components.loc, components.scale, validate_args=mixture._validate_args)

    def _parameters(self) -> tuple[Tensor, ...]:
        return self.loc, self.scale

    def _draw(self, component: Tensor, noise: Tensor) -> Tensor:
        return _of(component, self.loc, 1) + _of(component, self.scale, 1) * noise

    def _locate(self, z: Tensor) -> Tensor:
        return self.loc + self.scale * z

    def _component_variance(self) -> Tensor:
        return self.scale.square()


class MixtureMultivariateNormal(_Mixture):
    """Mixture of normals with full covariances L Lᵀ, whose draws have a gradient for every parameter, eq. (MIX.20).

    Time and memory of a draw's gradient grow as the K · D² numbers of scale_tril: triangular systems are solved, no
    matrix is inverted. Unbiased, but the variance can be infinite where the components' covariances lean differently
    (chapter, section 8). When to use it: as for `MixtureNormal`.

    Args:
        logits: unnormalised log weights, shape (*batch, K); −inf for a component that is off.
        loc: means, shape (*batch, K, D).
        scale_tril: lower-triangular L with positive diagonal, shape (*batch, K, D, D).
        validate_args: as for every distribution of torch.
    Raises: ValueError: shapes that do not fit; with validation, NaN, a scale_tril that is not lower-triangular with
        positive diagonal, logits without a finite maximum. NotImplementedError: entropy, cdf.
    """

    arg_constraints: ClassVar = {
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale_tril": constraints.independent(constraints.lower_cholesky, 1),
    }
    scale_tril: Tensor

    def __init__(self, logits: Tensor, loc: Tensor, scale_tril: Tensor, *, validate_args: bool | None = None) -> None:
        square = scale_tril.dim() >= 3 and scale_tril.shape[-1] == scale_tril.shape[-2]
        batch = _batch_shape("scale_tril", logits, loc, scale_tril, scale_tril.shape[:-1] if square else ())
        self.logits, self.loc, self.scale_tril = (
            parameter.expand(*batch, *parameter.shape[-rank:])
            for parameter, rank in ((logits, 1), (loc, 2), (scale_tril, 3))
        )
        super().__init__(self.logits, self.loc, validate_args)

    @classmethod
    def from_mixture_same_family(cls, mixture: MixtureSameFamily) -> Self:
        """The same mixture as torch's, which has no `rsample`.

        Args:
            mixture: of MultivariateNormal(…).
        Raises: TypeError: other components.
        """
        components = mixture.component_distribution
        if not isinstance(components, MultivariateNormal):
            raise TypeError(f"components must be MultivariateNormal(…), got {components}")
        logits = mixture.mixture_distribution.logits
        return cls(logits, components.loc, components.scale_tril, validate_args=mixture._validate_args)

    def _parameters(self) -> tuple[Tensor, ...]:
        return self.loc, self.scale_tril

    def _draw(self, component: Tensor, noise: Tensor) -> Tensor:
        return _of(component, self.loc, 1) + (_of(component, self.scale_tril, 2) @ noise.unsqueeze(-1)).squeeze(-1)

    def _locate(self, z: Tensor) -> Tensor:
        return self.loc + (self.scale_tril.tril() @ z.unsqueeze(-1)).squeeze(-1)  # no gradient above the diagonal

    def _component_variance(self) -> Tensor:
        return self.scale_tril.square().sum(-1)


class _Transport(torch.autograd.Function):
    """x as it is; backwards (MIX.13) to (MIX.15), or (MIX.19) for scale_tril. Saves only its arguments."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, logits: Tensor, loc: Tensor, spread: Tensor) -> Tensor:
        ctx.save_for_backward(x, logits, loc, spread)
        return x.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        parameters = ctx.saved_tensors[1:]
        # Half precision is too narrow for densities.
        dtype = torch.promote_types(grad_output.dtype, torch.float32)
        x, logits, loc, spread = (value.to(dtype) for value in ctx.saved_tensors)
        grad_output = grad_output.to(dtype)
        tril = spread if spread.dim() > loc.dim() else None
        z, scale = _standardize(x, loc, spread)
        later, weights = _posterior(z, scale, logits)
        cap = torch.finfo(x.dtype).max / (8 * max(z.numel(), 1))  # larger numbers saturate; their sums stay finite
        # Coordinates first: the recursion reads one after the other, from the last.
        steps, weights = (value.movedim(-1, 0).contiguous() for value in (z / scale, weights))
        carried = steps.new_zeros(len(steps) + 1, *steps.shape[1:])  # [d + 1]: gradient of the log weights that meet d
        push = torch.empty_like(steps)
        grad_x = grad_output.movedim(-1, 0).unsqueeze(-1).clone(memory_format=torch.contiguous_format)
        pulled = None if tril is None else torch.zeros_like(z)  # gradient of z by later coordinates
        for d, (step, weight, pushed, slope, entered, left) in reversed(
            [*enumerate(zip(steps, weights, push, grad_x, carried[1:], carried, strict=False))]
        ):
            torch.mul(entered, step, out=pushed).clamp_(-cap, cap)
            if pulled is not None:
                pushed.sub_(pulled[..., d] / scale[..., d]).clamp_(-cap, cap)
            slope.sub_(pushed.sum(-1, keepdim=True))
            if tril is not None and pulled is not None:
                pulled[..., :d].add_((slope * later[..., d] + pushed)[..., None] * tril[..., d, :d]).clamp_(-cap, cap)
            torch.addcmul(entered, slope, weight, value=-1, out=left).clamp_(-cap, cap)
        # What saturates is our own; an overflow that comes from the cost must be seen.
        slopes = torch.where(grad_output.isfinite(), grad_x.movedim(0, -1).squeeze(-2), grad_output)
        grad_loc = later * slopes.unsqueeze(-2) + push.movedim(0, -1)
        grad_own = (carried[1:].movedim(0, -1) / scale).clamp_(-cap, cap)
        if tril is None:
            grad_spread = (z * grad_loc).clamp_(-cap, cap) - grad_own
        else:
            outer = (grad_loc.unsqueeze(-1) * z.unsqueeze(-2)).clamp_(-cap, cap)
            grad_spread = outer.tril() - grad_own.diag_embed()
        return None, *(
            gradient.sum_to_size(parameter.shape).to(parameter.dtype)
            for gradient, parameter in zip((carried[0], grad_loc, grad_spread), parameters, strict=True)
        )


def _posterior(z: Tensor, scale: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """γ^(d+1) and w of every coordinate d, eqs. (MIX.8) and (MIX.12), both (…, K, D).

    w is computed in the smaller tail, where nothing cancels, (MIX.21); in a gap it is about 1 / f and saturates.
    """
    log_normal = _log_normal(z, scale)
    log_weights = logits.log_softmax(-1).unsqueeze(-1)
    log_joint = log_normal.cumsum(-1).add_(log_weights)
    # Shifted, not log_joint − log_normal: their difference would lose what a far or narrow component leaves of it.
    log_prior = torch.cat((log_weights.expand_as(log_joint[..., :1]), log_joint[..., :-1]), -1)
    peak = log_joint.amax(-2, keepdim=True)
    later = _exp(log_joint.sub_(peak))
    density = later.sum(-2, keepdim=True)  # of x_≤d, up to exp(peak)
    later.div_(density)
    before = torch.cat((log_weights.exp().expand_as(later[..., :1]), later[..., :-1]), -1)
    shares = _exp(log_prior.sub_(peak + density.log()))  # γ / f
    z = z * math.sqrt(0.5)
    above_median = (before * torch.erf(z)).sum(-2, keepdim=True) >= 0
    side = torch.where(above_median, 1.0, -1.0).to(z)
    beyond = z.mul_(side)
    tails = torch.erfc(beyond).mul_(0.5)
    shares.mul_(tails)
    deep = (before * tails).sum(-2, keepdim=True) < torch.finfo(z.dtype).tiny ** 0.5
    if deep.any():  # Mills' ratio, the tail over the density, neither under- nor overflows
        mills = scale * (math.sqrt(math.pi / 2) * torch.special.erfcx(beyond.clamp(min=0)))
        shares = torch.where(deep & (beyond > 0), later * mills, shares)
    return later, before.mul_(shares.sum(-2, keepdim=True)).sub_(shares).mul_(side)


def _standardize(x: Tensor, loc: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """z with x_d = m_d + s_d z_d, m and s mean and scale of x_d given x_<d in each component; and s, eq. (MIX.18).

    Shape: x (…, D), loc (…, K, D), spread the same or (…, K, D, D) → (…, K, D).
    """
    z = x.unsqueeze(-2) - loc
    if spread.dim() == loc.dim():
        return z / spread, spread
    z = torch.linalg.solve_triangular(spread, z.unsqueeze(-1), upper=False).squeeze(-1)
    return z, spread.diagonal(dim1=-2, dim2=-1)


def _log_normal(z: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(-HALF_LOG_2PI - scale.log(), z, z, value=-0.5)


def _exp(x: Tensor) -> Tensor:
    """exp(x), saturating, and 0 where that is no normal number, which processors are slow with."""
    info = torch.finfo(x.dtype)
    cap = math.log(info.max) - math.log(8 * x.shape[-2])
    return functional.threshold(x.clamp_(max=cap), math.log(info.tiny), -math.inf).exp_()


def _of(component: Tensor, parameter: Tensor, event: int) -> Tensor:
    """The drawn component's parameter: (*sample, *batch) and (*batch, K, *event) → (*sample, *batch, *event)."""
    batch = parameter.dim() - event - 1
    index = component.reshape(*component.shape, *[1] * (event + 1))
    expanded = parameter.expand(*component.shape, *parameter.shape[batch:])
    return expanded.take_along_dim(index, component.dim()).squeeze(component.dim())


def _batch_shape(name: str, logits: Tensor, loc: Tensor, spread: Tensor, shape: Sequence[int]) -> torch.Size:
    """The common batch of the parameters; shape is that of loc as spread implies it."""
    try:
        if logits.dim() and loc.shape[-2:] == shape[-2:] and loc.shape[-2] == logits.shape[-1]:
            return torch.Size(torch.broadcast_shapes(logits.shape[:-1], loc.shape[:-2], shape[:-2]))
    except (RuntimeError, IndexError):
        pass
    dimensions = "(*batch, K, D, D)" if name == "scale_tril" else "(*batch, K, D)"
    raise ValueError(
        f"logits (*batch, K), loc (*batch, K, D) and {name} {dimensions} do not fit together: "
        f"got {tuple(logits.shape)}, {tuple(loc.shape)}, {tuple(spread.shape)}"
    )


def leibniz_gradient(cdf_gradient: Tensor, density: Tensor) -> Tensor:
    """dx/dθ = −(∂F/∂θ) / f for a draw x = F⁻¹(u) of any continuous family in one dimension, eq. (MIX.2).

    Args:
        cdf_gradient: ∂F(x; θ)/∂θ with x held fixed.
        density: f(x; θ) > 0, of a shape that broadcasts.
    """
    return -cdf_gradient / density


def rao_blackwell_surrogate(
    mixture: MixtureNormal | MixtureMultivariateNormal, x: Tensor, cost: Tensor, baseline: Tensor | float | None = None
) -> Tensor:
    """A scalar with the value of cost.sum(), whose gradient does not mind gaps, eqs. (MIX.24) and (MIX.26).

    For means and scales it is the expectation, given x, of the gradient of the ordinary draw (a component, then its
    normal): never of larger variance. For logits it is the marginal score, (cost − baseline)(γ − π): give a baseline,
    as its variance grows with the level of the cost. What else cost depends on, a decoder or the mixture itself, gets
    its gradient as well. In one dimension means and scales agree with `rsample`. For logits
    `rsample` can be better where components overlap.

    Args:
        mixture: what x was drawn from.
        x: `mixture.sample(…).requires_grad_()`, shape (*sample, *batch, D).
        cost: L(x), each element a function of its own x only, shape (*sample, *batch).
        baseline: what to subtract from cost in the score, broadcast to it; it must not depend on this x. None for 0.
    Raises: ValueError: x that is no leaf or needs no gradient, a cost of another shape, a baseline of a larger one.
        RuntimeError: a cost that x does not enter.
    """
    if not x.requires_grad or x.grad_fn is not None:
        raise ValueError("x must be a leaf that requires a gradient: mixture.sample(…).requires_grad_(), not rsample")
    if cost.shape != x.shape[:-1]:
        raise ValueError(f"cost must have shape {tuple(x.shape[:-1])}, one number for each x, got {tuple(cost.shape)}")
    (slope,) = torch.autograd.grad(cost.sum(), x, retain_graph=True)
    with torch.no_grad():
        weights = mixture.responsibilities(x)
        z, _ = _standardize(x, *mixture._parameters())
        advantage = cost - (0 if baseline is None else baseline)
    if advantage.shape != cost.shape:
        raise ValueError(f"baseline must broadcast to the shape of cost, {tuple(cost.shape)}")
    # x as each component would have drawn it, with the gradient of its mean and scale.
    path = (weights * (mixture._locate(z) * slope.unsqueeze(-2)).sum(-1)).sum()
    log_weights = mixture.logits.log_softmax(-1).masked_fill(weights == 0, 0)  # 0 · −∞ is nothing here
    score = (advantage.unsqueeze(-1) * weights * log_weights).sum()
    moving = path + score
    return cost.sum() + moving - moving.detach()


def sampled_leibniz_gradient(
    x: Tensor,
    logits: Tensor,
    loc: Tensor,
    scale: Tensor,
    n: int,
    *,
    tail: Tail = "smaller",
    sampler: Sampler = "exact",
    max_proposals: int = 10_000,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """An unbiased estimate of dx/d(logits, loc, scale) in one dimension by draws of one tail of the mixture.

    The integral of ∂f/∂θ up to x is F(x) times the mean of ∂ log f/∂θ over draws below x, eq. (MIX.31); from x on, the
    same up to the sign. The paper draws from the whole mixture until a draw falls below x: of a uniform u = F(x) that
    takes infinitely many proposals on average. The exact sampler draws a component, then its truncated normal.

    Args:
        x: points, shape (*batch,).
        logits, loc, scale: of the mixture, shape (*batch, K).
        n: draws for each x, > 0; the estimate is their mean.
        tail: "left", the paper's; "smaller" or "larger", the one of less or more probability.
        sampler: "exact", or "rejection", the paper's.
        max_proposals: of rejection, for each draw.
        generator: of what is drawn, on the device of x; None for torch's own.
    Returns: estimates of dx/dlogits, dx/dloc and dx/dscale, shape (*batch, K) each, without a gradient.
    Raises: ValueError: an argument outside what is listed. RuntimeError: a draw was rejected max_proposals times; it
        names u, the probability of that tail.
    """
    for name, choice, choices in (("tail", tail, Tail), ("sampler", sampler, Sampler)):
        if choice not in get_args(choices):
            raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {choice!r}")
    if n < 1 or max_proposals < 1:
        raise ValueError(f"n and max_proposals must be at least 1, got {n} and {max_proposals}")
    shape = torch.broadcast_shapes((*x.shape, 1), logits.shape, loc.shape, scale.shape)
    with torch.no_grad():
        x = x.expand(shape[:-1])
        logits, loc, scale = (parameter.expand(shape) for parameter in (logits, loc, scale))
        log_weights = logits.log_softmax(-1)
        z = (x.unsqueeze(-1) - loc) / scale
        # Signs flip the line so that the tail in question is the left one.
        log_left, log_right = ((log_weights + torch.special.log_ndtr(sign * z)).logsumexp(-1) for sign in (1, -1))
        left = {"left": log_left < math.inf, "smaller": log_left < log_right, "larger": log_left >= log_right}[tail]
        sign = torch.where(left, 1.0, -1.0).to(x).unsqueeze(-1)
        log_tail = torch.where(left, log_left, log_right)
        if sampler == "exact":
            draws = _truncated(sign * z, log_weights, loc, scale, sign, n, generator)
        else:
            draws = _rejection(x, log_weights, loc, scale, sign, n, max_proposals, generator)
        # ∂ log f / ∂θ at the draws, (n, *batch, K).
        z = (draws.unsqueeze(-1) - loc) / scale
        share = (log_weights + _log_normal(z, scale)).softmax(-1)
        scores = share - log_weights.exp(), share * z / scale, share * (z.square() - 1) / scale
        log_density = (log_weights + _log_normal((x.unsqueeze(-1) - loc) / scale, scale)).logsumexp(-1)
        factor = -sign * (log_tail - log_density).exp().clamp(max=torch.finfo(x.dtype).max).unsqueeze(-1)
        by_logits, by_loc, by_scale = (factor * score.mean(0) for score in scores)
    return by_logits, by_loc, by_scale


def _truncated(
    bound: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor, sign: Tensor, n: int, source: torch.Generator | None
) -> Tensor:
    """n draws of the tail on the side of −sign, which ends in each component at sign · bound; (n, *batch)."""
    log_tails = torch.special.log_ndtr(bound)
    chances = (log_weights + log_tails).softmax(-1)
    component = torch.multinomial(chances.reshape(-1, chances.shape[-1]), n, replacement=True, generator=source)
    component = component.reshape(*chances.shape[:-1], n)
    uniforms = 1 - torch.rand(component.shape, dtype=bound.dtype, device=bound.device, generator=source)
    depth = uniforms.log() + log_tails.gather(-1, component)
    # Where nothing of a component is cut off, u = 1 would be drawn at infinity.
    t = _inverse_log_ndtr(depth).minimum(bound.gather(-1, component))
    draws = loc.gather(-1, component) + sign * scale.gather(-1, component) * t
    return draws.movedim(-1, 0)


def _inverse_log_ndtr(y: Tensor) -> Tensor:
    """t with log Φ(t) = y, also where exp(y) is 0 in floating point: Newton's method, which nears from the left."""
    t = -(-2 * y).sqrt()
    for _ in range(5):
        mills = math.sqrt(math.pi / 2) * torch.special.erfcx(-t * math.sqrt(0.5))
        t = t - (torch.special.log_ndtr(t) - y) * mills
    return torch.where(y < -5, t, torch.special.ndtri(y.exp()))


def _rejection(
    x: Tensor,
    log_weights: Tensor,
    loc: Tensor,
    scale: Tensor,
    sign: Tensor,
    n: int,
    max_proposals: int,
    source: torch.Generator | None,
) -> Tensor:
    """The same by draws of the whole mixture until one falls into the tail."""
    points, signs = (value.expand(n, *x.shape).reshape(-1) for value in (x, sign.squeeze(-1)))
    weights, means, scales = (
        value.expand(n, *value.shape).reshape(-1, value.shape[-1]) for value in (log_weights.exp(), loc, scale)
    )
    draws = torch.empty_like(points)
    pending = torch.arange(len(points), device=x.device)
    for _ in range(max_proposals):
        component = torch.multinomial(weights[pending], 1, generator=source)
        noise = torch.randn(len(pending), dtype=x.dtype, device=x.device, generator=source)
        draws[pending] = (
            means[pending].gather(-1, component).squeeze(-1) + scales[pending].gather(-1, component).squeeze(-1) * noise
        )
        pending = pending[signs[pending] * (draws[pending] - points[pending]) > 0]
        if not len(pending):
            return draws.reshape(n, *x.shape)
    at = points[pending[0]]
    z = signs[pending[0]] * (at - means[pending[0]]) / scales[pending[0]]
    u = float((weights[pending[0]] * torch.special.log_ndtr(z).exp()).sum())
    raise RuntimeError(
        f"none of {max_proposals:,} proposals fell into the tail at x = {float(at):g}: its share is u = {u:.3g}"
    )
