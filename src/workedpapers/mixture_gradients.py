"""Gradients through samples of mixtures: how a draw moves when weights, means and scales move, by Leibniz' rule.

Graves, "Stochastic Backpropagation through Mixture Density Distributions", 2016 (arXiv 1607.05690). Equations up to
(MIX.10) are those of `notebooks/mixture_gradients`, from (MIX.11) on of `notebooks/mixture_gradients_theory`.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MixtureSameFamily, MultivariateNormal, Normal, constraints

Tail = Literal["smaller", "larger", "left"]
Sampler = Literal["exact", "rejection"]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class _Mixture(Distribution):
    """What both mixtures share: batches, ancestral draws, densities and the gradient of a draw."""

    support = constraints.real_vector
    has_rsample = True
    logits: Tensor
    loc: Tensor

    def __init__(self, validate_args: bool | None) -> None:
        validate = self._validate_args if validate_args is None else validate_args
        # One look at all parameters; only where something is odd, torch's at each of them, which names it.
        sound = not validate or bool(self._is_sound())
        super().__init__(self.logits.shape[:-1], self.loc.shape[-1:], validate_args=not sound)
        if not sound:
            if not self.logits.detach().logsumexp(-1).isfinite().all():
                raise ValueError(f"each row of logits must have a finite maximum, got {self.logits}")
            for name in self.arg_constraints:
                if name != "logits" and not getattr(self, name).isfinite().all():
                    raise ValueError(f"{name} must be finite, got {getattr(self, name)}")
        self._validate_args = validate

    @torch.no_grad()
    def _is_sound(self) -> Tensor | bool:
        """False where a parameter might be wrong; NaN and infinities survive a sum."""
        if not self.loc.numel():
            return True
        scale, others = self._scale(), (self.logits.amax(-1), *self._parameters())
        return sum(value.sum() for value in others) * 0 + scale.amin() > 0

    def _scale(self) -> Tensor:
        """Deviations of each coordinate given those before, in each component: positive."""
        raise NotImplementedError

    def _locate(self, z: Tensor) -> Tensor:
        """x for z, the inverse of `_standardize`, in each component."""
        raise NotImplementedError

    def _parameters(self) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _log_joint(self, x: Tensor) -> Tensor:
        """Logarithm of weight times density of each component, shape (*sample, *batch, K), at least float32."""
        if self._validate_args and x.numel():
            self._validate_sample(x)
        values = x, self.logits, *self._parameters()
        joint = _log_joints(*_cast(_dtype(*values), *values))
        if self._validate_args:
            off = self.logits == -math.inf
            # Squares overflow, or slopes would where a scale is tiny.
            if not ((joint > -math.inf) | off).all() & (self._scale() > torch.finfo(joint.dtype).tiny ** 0.5).all():
                joint = _log_joints(*_cast(torch.float64, *values))
            if not (joint.amax(-1) > -math.inf).all():
                raise ValueError("value is too far from every component: its density is 0 in double precision")
        return joint

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithm of the density, differentiable in value and in every parameter.

        Shape: value (*sample, *batch, D) → (*sample, *batch).
        """
        return (
            self._log_joint(value).logsumexp(-1).to(_dtype(value, self.logits, *self._parameters(), least=value.dtype))
        )

    def responsibilities(self, value: Tensor) -> Tensor:
        """Posterior probability of each component given the whole of value, γ^(D+1) of eq. (MIX.12).

        Shape: value (*sample, *batch, D) → (*sample, *batch, K).
        """
        return self._log_joint(value).softmax(-1).to(_dtype(value, self.logits, *self._parameters(), least=value.dtype))

    def reparameterize(self, value: Tensor) -> Tensor:
        """The same values, as draws whose gradient is that of eq. (MIX.13): uniforms fixed, parameters move.

        Shape: value (*sample, *batch, D) → the same. No gradient flows into value. Second derivatives, forward mode and
        the transforms of `torch.func` (vmap: with validate_args=False) are right as well, by a slower route.
        """
        if self._validate_args and value.numel():
            self._validate_sample(value)
        if not value.is_floating_point():
            value = value.to(self.loc.dtype)
        return self._moving(value.detach().expand(torch.broadcast_shapes(value.shape, self.loc[..., 0, :].shape)))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws without a gradient, shape (*sample_shape, *batch, D): a component first, then its normal."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            if 0 in shape:
                return self.loc.new_empty(shape)
            # As torch's Categorical draws, without its validation.
            chances = (self.logits - self.logits.logsumexp(-1, keepdim=True)).softmax(-1)
            n = math.prod(sample_shape)
            component = torch.multinomial(chances.reshape(-1, chances.shape[-1]), n, replacement=True).T
            return self._draw(
                component.reshape(shape[:-1]), torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
            )

    def _draw(self, component: Tensor, noise: Tensor) -> Tensor:
        raise NotImplementedError

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws as of `sample`, with the gradient of `reparameterize` for every parameter."""
        return self._moving(self.sample(sample_shape))

    def _moving(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            transforms = [level.key() for level in torch._C._functorch.get_interpreter_stack() or ()]
            if transforms.count(torch._C._functorch.TransformType.Jvp) > 1:  # torch would leave the draw in its place
                raise NotImplementedError(
                    "forward mode over forward mode: take torch.func.hessian, or jacrev for one of them"
                )
        moved: Tensor = _Transport.apply(x, self.logits, *self._parameters())  # type: ignore[no-untyped-call]
        return moved.clone()  # which may be changed in place; what is kept may not

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
    """Mixture of normals with diagonal covariances; draws have a gradient for every parameter, (MIX.17) to (MIX.19).

    Unbiased if the slope of the cost grows no faster than a polynomial. For logits the variance grows like
    e^(m²/2) / m as two components part, ±m standard deviations from their middle, (MIX.7), since a draw must be
    carried through the gap between them. Depending on the cost, m = 0.5 can be too far, or m = 2 not. For means and
    scales in more than one dimension, and for logits of components that are apart, take `rao_blackwell_surrogate`.

    Args:
        logits: unnormalised log weights, shape (*batch, K); −inf for a component that is off.
        loc: means, shape (*batch, K, D).
        scale: standard deviations, shape (*batch, K, D), > 0.
        validate_args: as for every distribution of torch; with it, densities of values too far for the dtype are taken
            in double precision.
    Raises: TypeError: parameters that are no tensors of floating point. ValueError: shapes that do not fit; with
        validation, NaN, infinities but −inf logits, a scale that is not positive, logits without a finite maximum.
        NotImplementedError: entropy, cdf.
    """

    arg_constraints: ClassVar = {
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
    }
    scale: Tensor

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits, self.loc, self.scale = _of_one_batch("scale", logits, loc, scale)
        super().__init__(validate_args)

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

    def _parameters(self) -> tuple[Tensor, Tensor]:
        return self.loc, self.scale

    def _scale(self) -> Tensor:
        return self.scale

    def _draw(self, component: Tensor, noise: Tensor) -> Tensor:
        return _of(component, self.loc, 1) + _of(component, self.scale, 1) * noise

    def _locate(self, z: Tensor) -> Tensor:
        return self.loc + self.scale * z

    def _component_variance(self) -> Tensor:
        return self.scale.square()


class MixtureMultivariateNormal(_Mixture):
    """Mixture of normals with full covariances L Lᵀ; draws have a gradient for every parameter, (MIX.23), (MIX.24).

    Time and memory of a draw's gradient grow as the K · D² numbers of scale_tril: triangular systems are solved, no
    matrix is inverted. Unbiased, but the variance can be infinite where the components' covariances lean differently.
    When to use it: as for `MixtureNormal`.

    Args:
        logits: unnormalised log weights, shape (*batch, K); −inf for a component that is off.
        loc: means, shape (*batch, K, D).
        scale_tril: lower-triangular L with positive diagonal, shape (*batch, K, D, D).
        validate_args: as for `MixtureNormal`.
    Raises: as `MixtureNormal`; ValueError, with validation: a scale_tril that is not lower-triangular with positive
        diagonal.
    """

    arg_constraints: ClassVar = {
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale_tril": constraints.independent(constraints.lower_cholesky, 1),
    }
    scale_tril: Tensor

    def __init__(self, logits: Tensor, loc: Tensor, scale_tril: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits, self.loc, self.scale_tril = _of_one_batch("scale_tril", logits, loc, scale_tril)
        super().__init__(validate_args)

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

    def _is_sound(self) -> Tensor | bool:
        with torch.no_grad():
            return super()._is_sound() and (self.scale_tril.tril() == self.scale_tril).all()

    def _parameters(self) -> tuple[Tensor, Tensor]:
        return self.loc, self.scale_tril

    def _scale(self) -> Tensor:
        return self.scale_tril.diagonal(dim1=-2, dim2=-1)

    def _draw(self, component: Tensor, noise: Tensor) -> Tensor:
        return _of(component, self.loc, 1) + (_of(component, self.scale_tril, 2) @ noise.unsqueeze(-1)).squeeze(-1)

    def _locate(self, z: Tensor) -> Tensor:
        return self.loc + (self.scale_tril.tril() @ z.unsqueeze(-1)).squeeze(-1)  # no gradient above the diagonal

    def _component_variance(self) -> Tensor:
        return self.scale_tril.square().sum(-1)


class _Transport(torch.autograd.Function):
    """x as it is, as the function of the parameters that it is while its uniforms stay."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, logits: Tensor, loc: Tensor, spread: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # The output, not the input: for a second derivative x itself moves with the parameters.
        ctx.save_for_backward(output, *inputs[1:])
        ctx.save_for_forward(output, *inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        # An overflow that comes from the cost must be seen in all of the draw's gradients.
        slope = grad_output + (grad_output * 0).sum(-1, keepdim=True)
        x, logits, loc, spread = ctx.saved_tensors
        batched = torch._C._functorch.is_legacy_batchedtensor  # as `is_grads_batched` makes them
        gradients = None
        if not (torch.is_grad_enabled() or batched(slope)):
            gradients = _gradients_in_place(x, logits, loc, spread, slope)
        return None, *(gradients or _gradients(x, logits, loc, spread, slope))

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> Tensor:
        x, *parameters = ctx.saved_tensors
        logits, loc, spread = parameters
        tangents = tuple(torch.zeros_like(p) if t is None else t for p, t in zip(parameters, tangents, strict=True))
        # The gradient is linear in the slope of the cost, and its transpose takes tangents to the tangent of x.
        transposed = torch.func.vjp(lambda slope: _gradients(x, logits, loc, spread, slope), torch.zeros_like(x))[1]
        moved: Tensor = transposed(tangents)[0]
        return moved


def _gradients(x: Tensor, logits: Tensor, loc: Tensor, spread: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
    """(MIX.17) to (MIX.19), or (MIX.23) and (MIX.24), for the slope g of the cost in x: safe, and differentiable again.

    In double precision, and no branch looks at values: neither tails nor gaps make a NaN, but gaps saturate.
    """
    parameters = logits, loc, spread
    x, logits, loc, spread, slope = _cast(torch.float64, x, *parameters, slope)
    z, scale = _standardize(x, loc, spread)
    later, weights = _posterior(z, scale, logits)
    cap = torch.finfo(z.dtype).max / (8 * max(z.numel(), 1))  # larger numbers saturate; their sums stay finite
    entered = torch.zeros_like(z[..., 0])
    pulled = torch.zeros_like(z)  # gradient of z by later coordinates, of full covariances only
    by_loc: list[Tensor] = []
    carried: list[Tensor] = []
    for d in reversed(range(z.shape[-1])):
        pushed = ((entered * z[..., d] - pulled[..., d]) / scale[..., d]).clamp(-cap, cap)
        along = (slope[..., d] - pushed.sum(-1)).unsqueeze(-1)
        by_loc.insert(0, along * later[..., d] + pushed)
        carried.insert(0, entered)
        entered = (entered - along * weights[..., d]).clamp(-cap, cap)
        if spread.dim() > loc.dim():
            pulled = (pulled + by_loc[0].unsqueeze(-1) * spread[..., d, :]).clamp(-cap, cap)
    grad_loc = torch.stack(by_loc, -1)
    grad_own = (torch.stack(carried, -1) / scale).clamp(-cap, cap)
    if spread.dim() == loc.dim():
        grad_spread = (z * grad_loc).clamp(-cap, cap) - grad_own
    else:
        grad_spread = (grad_loc.unsqueeze(-1) * z.unsqueeze(-2)).clamp(-cap, cap).tril() - grad_own.diag_embed()
    cap = torch.finfo(_dtype(*parameters)).max / (8 * max(z.numel(), 1))
    return tuple(
        gradient.clamp(-cap, cap).sum_to_size(parameter.shape).to(parameter.dtype)
        for gradient, parameter in zip((entered, grad_loc, grad_spread), parameters, strict=True)
    )


def _posterior(z: Tensor, scale: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """γ^(d+1) and w of every coordinate d, eqs. (MIX.12) and (MIX.16), both (…, K, D).

    w is computed in the smaller tail, where nothing cancels; beyond a component's middle by Mills' ratio, the tail over
    the density, (MIX.25), which neither under- nor overflows. In a gap w is about 1 / f and saturates.
    """
    log_weights = logits.log_softmax(-1).unsqueeze(-1)
    log_joint = log_weights + _log_normal(z, scale).cumsum(-1)
    # Shifted, not log_joint − log_normal: their difference would lose what a far or narrow component leaves of it.
    log_prior = torch.cat((log_weights.expand_as(log_joint[..., :1]), log_joint[..., :-1]), -1)
    later, before = log_joint.softmax(-2), log_prior.softmax(-2)
    side = torch.where((before * z.clamp(-1, 1)).sum(-2, keepdim=True) >= 0, 1.0, -1.0).to(z)
    z = z * side * math.sqrt(0.5)
    beyond = z > 0
    mills = later * scale * math.sqrt(math.pi / 2) * torch.special.erfcx(z.clamp(min=0))
    # Both branches stay finite: a NaN in the one that is not taken would reach a second derivative.
    cap = math.log(torch.finfo(z.dtype).max / (8 * z.shape[-2]))
    ratio = (log_prior - log_joint.logsumexp(-2, keepdim=True)).masked_fill(beyond, 0).clamp(max=cap).exp()
    shares = torch.where(beyond, mills, ratio * torch.erfc(z.clamp(max=0)) / 2)
    return later, side * (before * shares.sum(-2, keepdim=True) - shares)


def _gradients_in_place(
    x: Tensor, logits: Tensor, loc: Tensor, spread: Tensor, slope: Tensor
) -> tuple[Tensor, ...] | None:
    """As `_gradients` in few passes over memory, or None where a tail is deep or a number leaves the range."""
    if not loc.numel() or not x.numel():
        return None
    parameters = logits, loc, spread
    x, logits, loc, spread, slope = _cast(_dtype(x), x, *parameters, slope)
    full, lead = spread.dim() > loc.dim(), x.dim() - 1

    def front(value: Tensor) -> Tensor:  # (*batch, K, D) → (D, K, *1, *batch): every step is one piece of memory
        return value[(None,) * (lead + 2 - value.dim())].permute(lead + 1, lead, *range(lead))

    def back(value: Tensor) -> Tensor:
        return value.permute(*range(2, lead + 2), 1, 0)

    if full:
        z, scale = (front(value).contiguous() for value in _standardize(x, loc, spread))
    else:
        z, scale = x.new_empty(x.shape[-1], loc.shape[-2], *x.shape[:-1]), front(spread).contiguous()
        torch.sub(front(x.unsqueeze(-2)), front(loc), out=z).div_(scale)
    D = len(z)
    # log π, then the logarithms of π times the densities of 1, 2, … coordinates; γ is their softmax, (MIX.12).
    joint = z.new_empty(D + 1, *z.shape[1:])
    joint[0] = front(logits.log_softmax(-1).unsqueeze(-1))[0]
    torch.addcmul(scale.log().neg_(), z, z, value=-0.5, out=joint[1:])
    gamma = joint.cumsum_(0).softmax(1)
    log_density = joint.amax(1, keepdim=True).sub_(gamma.amax(1, keepdim=True).log_())
    torch.threshold_(gamma, torch.finfo(x.dtype).tiny, 0.0)  # processors are slow with smaller numbers
    before, later = gamma[:-1], gamma[1:]
    # w in the smaller tail, (MIX.16): on the side to which most of γ lies.
    part = torch.clamp(z, -1, 1, out=joint[1:])
    side = torch.where(part.mul_(before).sum(1, keepdim=True) >= 0, 1.0, -1.0).to(z)
    tails = torch.mul(z, side * math.sqrt(0.5), out=part).erfc_()  # twice the tail
    steps = before * tails
    whole = steps.sum(1, keepdim=True)
    inverse = (log_density[:-1] - log_density[1:]).exp_().mul_(-math.sqrt(math.pi / 2) * side)  # −√(2π) / 2f
    weights = tails.sub_(whole).mul_(before).mul_(inverse)
    # (MIX.17) and (MIX.18), from the last coordinate.
    torch.div(z, scale, out=steps)
    carried = torch.empty_like(gamma)
    carried[D] = 0
    slopes = slope.movedim(-1, 0).unsqueeze(1).clone(memory_format=torch.contiguous_format)
    pulled = z.new_zeros(*x.shape[:-1], len(z[0]), D if full else 0)  # beside scale_tril, as which it lies in memory
    rows = [*zip(steps, weights, slopes, carried[1:], carried[:-1], strict=True)]
    for d in reversed(range(D)):
        pushed, weight, along, entered, left = rows[d]
        pushed.mul_(entered)
        if full:
            pushed.sub_(pulled[..., d].movedim(-1, 0) / scale[d])
        along.sub_(pushed.sum(0, keepdim=True))
        if full:
            own = (along * later[d] + pushed).movedim(0, -1).unsqueeze(-1)
            pulled[..., :d].addcmul_(own, spread[..., d, :d])
        torch.addcmul(entered, along, weight, value=-1, out=left)
    grad_loc = steps.addcmul_(later, slopes)
    if full:
        grad_spread = (back(grad_loc).contiguous().unsqueeze(-1) * back(z).contiguous().unsqueeze(-2)).tril_()
        grad_spread.diagonal(dim1=-2, dim2=-1).sub_(back(carried[1:] / scale))
    else:
        grad_spread = back(z.mul_(grad_loc).addcdiv_(carried[1:], scale, value=-1))
    cap = torch.finfo(z.dtype).max / (8 * z.numel())
    largest = torch.stack([end.abs() for value in (carried[0], grad_loc, grad_spread) for end in value.aminmax()]).max()
    if not (largest < cap) & (whole.amin() > torch.finfo(z.dtype).tiny ** 0.5):
        return None
    return tuple(
        gradient.sum_to_size(parameter.shape).contiguous().to(parameter.dtype)
        for gradient, parameter in zip(
            (carried[0].movedim(0, -1), back(grad_loc), grad_spread), parameters, strict=True
        )
    )


def _log_joints(x: Tensor, logits: Tensor, loc: Tensor, spread: Tensor) -> Tensor:
    z, scale = _standardize(x, loc, spread)
    return logits.log_softmax(-1) + _log_normal(z, scale).sum(-1)


def _standardize(x: Tensor, loc: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """z with x_d = m_d + s_d z_d, m and s mean and scale of x_d given x_<d in each component; and s, eq. (MIX.22).

    Shape: x (…, D), loc (…, K, D), spread the same or (…, K, D, D) → (…, K, D).
    """
    z = x.unsqueeze(-2) - loc
    if spread.dim() == loc.dim():
        return z / spread, spread
    z = torch.linalg.solve_triangular(spread, z.unsqueeze(-1), upper=False).squeeze(-1)
    return z, spread.diagonal(dim1=-2, dim2=-1)


def _log_normal(z: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(-HALF_LOG_2PI - scale.log(), z, z, value=-0.5)


def _dtype(*values: Tensor, least: torch.dtype = torch.float32) -> torch.dtype:
    """In which to compute: half precision is too narrow for densities."""
    return functools.reduce(torch.promote_types, (value.dtype for value in values), least)


def _cast(dtype: torch.dtype, *values: Tensor) -> tuple[Tensor, ...]:
    return tuple(value.to(dtype) for value in values)


def _of(component: Tensor, parameter: Tensor, event: int) -> Tensor:
    """The drawn component's parameter: (*sample, *batch) and (*batch, K, *event) → (*sample, *batch, *event)."""
    batch = parameter.dim() - event - 1
    index = component.reshape(*component.shape, *[1] * (event + 1))
    expanded = parameter.expand(*component.shape, *parameter.shape[batch:])
    return expanded.take_along_dim(index, component.dim()).squeeze(component.dim())


def _of_one_batch(name: str, logits: Tensor, loc: Tensor, spread: Tensor) -> list[Tensor]:
    """The parameters, expanded to their common batch."""
    values, ranks = (logits, loc, spread), (1, 2, 2 + (name == "scale_tril"))
    for value in values:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise TypeError(f"logits, loc and {name} must be tensors of floating point, got {value!r}")
    sizes = loc.shape[-2:] + loc.shape[-1:] * (ranks[2] - 2)  # K, D or K, D, D
    if loc.dim() > 1 and all(sizes) and logits.shape[-1:] == sizes[:1] and spread.shape[-ranks[2] :] == sizes:
        batches = [value.shape[: value.dim() - rank] for value, rank in zip(values, ranks, strict=True)]
        if batches[0] == batches[1] == batches[2]:
            return [*values]
        try:
            batch = torch.broadcast_shapes(*batches)
            return [value.expand(batch + value.shape[-rank:]) for value, rank in zip(values, ranks, strict=True)]
        except RuntimeError:
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
    """A scalar with the value of cost.sum(), whose gradient does not mind gaps, eqs. (MIX.10) and (MIX.8).

    For means and scales it is the expectation, given x, of the gradient of the ordinary draw (a component, then its
    normal): never of larger variance. For logits it is the marginal score, (cost − baseline)(γ − π): give a baseline,
    as its variance grows with the level of the cost. A fair one is the mean cost of the other draws of the same
    mixture, (cost.sum(0) − cost) / (n − 1) for n draws of each; other elements of the batch have costs of their own
    level. What else cost depends on, a decoder or the mixture itself, gets its gradient as well. In one dimension means
    and scales agree with `rsample`. For logits `rsample` can be better where components overlap.

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
        z = _standardize(*_cast(_dtype(x), x, *mixture._parameters()))[0].to(x.dtype)
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
