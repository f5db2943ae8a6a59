"""Gradients through mixtures against roots of the quantile map, Jacobians, closed forms, quadrature and torch's own."""

import copy
import inspect
import math
import pickle
from itertools import product

import numpy as np
import pytest
import torch
from scipy import optimize, special, stats
from torch.distributions import (
    Categorical,
    Distribution,
    ExpTransform,
    Independent,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    kl_divergence,
)
from torch.testing import assert_close

from workedpapers import mixture_gradients as module
from workedpapers.lab.timing import saved_bytes
from workedpapers.mixture_gradients import (
    MixtureMultivariateNormal,
    MixtureNormal,
    leibniz_gradient,
    rao_blackwell_surrogate,
    sampled_leibniz_gradient,
)

KINDS = {"diagonal": MixtureNormal, "full": MixtureMultivariateNormal}
NAMES = {"diagonal": ("logits", "loc", "scale"), "full": ("logits", "loc", "scale_tril")}


@pytest.fixture(autouse=True)
def validation():
    """As torch starts; the first torch.compile of a process turns the default off for good."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(True)
    yield
    Distribution.set_default_validate_args(before)


BOTH = pytest.mark.parametrize("kind", KINDS)
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
OFF = -math.inf


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def parameters(kind, K, D, batch=(), *, separation=1.0, dtype=torch.float64, seed=0):
    """Logits, means and scales, or scale_tril, of a mixture."""
    source = torch.Generator().manual_seed(seed)

    def normal(*sizes):
        return torch.randn(*batch, *sizes, dtype=torch.float64, generator=source)

    logits, loc, noise = 0.7 * normal(K), separation * normal(K, D), normal(K, D, D)
    scale = 0.6 + 0.8 * torch.rand(*batch, K, D, dtype=torch.float64, generator=source)
    spread = scale if kind == "diagonal" else 0.5 * noise.tril(-1) + scale.diag_embed()
    return tuple(value.to(dtype).requires_grad_() for value in (logits, loc, spread))


def as_tril(spread, loc):
    return spread.tril() if spread.dim() > loc.dim() else spread.diag_embed()


def for_each(values, n):
    """Parameters anew for each of n samples: their gradients are those of each sample."""
    return tuple(value.detach().expand(n, *value.shape).clone().requires_grad_() for value in values)


def moved(kind, values, x, slope):
    """Gradient of the parameters when that of x is slope."""
    return torch.autograd.grad(KINDS[kind](*values).reparameterize(x), values, slope)


def jacobian(kind, values, x):
    """dx/dθ of one sample (D,) for each parameter, coordinates first."""
    D = len(x)
    many = for_each(values, D)
    return moved(kind, many, x.expand(D, D), torch.eye(D, dtype=x.dtype))


def flat(gradients):
    return torch.cat([gradient.detach().flatten(1) for gradient in gradients], -1).double().numpy()


# --- independent routes, in float64 ---


def conditionals(x, logits, loc, tril):
    """Of each coordinate given those before: log weights, means and deviations of the components, by covariances."""
    covariance = tril @ tril.transpose(0, 2, 1)
    for d in range(len(x)):
        log_weights, mean, variance = logits.copy(), loc[:, d].copy(), covariance[:, d, d].copy()
        for k in range(len(logits)) if d else ():
            past, cross = covariance[k, :d, :d], covariance[k, :d, d]
            off, inverse = x[:d] - loc[k, :d], np.linalg.inv(past)
            log_weights[k] -= 0.5 * (off @ inverse @ off + np.log(np.linalg.det(past)))
            mean[k] += cross @ inverse @ off
            variance[k] -= cross @ inverse @ cross
        yield log_weights - special.logsumexp(log_weights), mean, np.sqrt(variance)


def uniforms(x, *values):
    """u_d = F_d(x_d | x_<d), and the densities f_d."""
    u, f = [], []
    for at, (log_weights, mean, deviation) in zip(x, conditionals(x, *values), strict=True):
        z = (at - mean) / deviation
        u.append(np.exp(log_weights) @ special.ndtr(z))
        f.append(np.exp(log_weights) @ (stats.norm.pdf(z) / deviation))
    return np.array(u), np.array(f)


def quantile_map(u, near, *values):
    """x with F_d(x_d | x_<d) = u_d, each by a search for the root."""
    x = np.array(near)
    for d in range(len(u)):
        *_, (log_weights, mean, deviation) = conditionals(x[: d + 1], *values)
        weights = np.exp(log_weights)

        def miss(at, weights=weights, mean=mean, deviation=deviation, target=u[d]):
            return weights @ special.ndtr((at - mean) / deviation) - target

        x[d] = optimize.brentq(miss, near[d] - 0.1, near[d] + 0.1, xtol=1e-15, rtol=1e-15)
    return x


def as_arrays(logits, loc, spread):
    return tuple(value.detach().double().numpy() for value in (logits, loc, as_tril(spread, loc)))


def forward_jacobian(x, logits, loc, scale, cross=True):
    """dx/d(logits, loc, scale) of one sample, forwards from the first coordinate, every ratio by logarithms.

    Without cross, what the conditional weights owe to the coordinates before is left out, the classic mistake.
    """
    K, D = loc.shape
    log_weights = logits - special.logsumexp(logits)
    rows = []
    d_weights = np.concatenate([np.eye(K), np.zeros((K, 2 * K * D))], 1)
    for d in range(D):
        z = (x[d] - loc[:, d]) / scale[:, d]
        log_joint = log_weights - 0.5 * z**2 - np.log(scale[:, d]) - 0.5 * np.log(2 * np.pi)
        log_density = special.logsumexp(log_joint)
        below, above = (log_weights + special.log_ndtr(sign * z) for sign in (1, -1))
        sign, tails = (1, below) if special.logsumexp(below) < special.logsumexp(above) else (-1, above)
        whole = np.exp(special.logsumexp(tails) - log_density)
        w = sign * (np.exp(tails - log_density) - np.exp(log_weights) * whole)
        by_loc, by_scale = np.zeros((2, K, K, D))
        by_loc[range(K), range(K), d] = 1
        by_scale[range(K), range(K), d] = 1
        later = np.exp(log_joint - log_density)
        row = np.concatenate([np.zeros(K), (later @ by_loc.reshape(K, -1)), (later * z) @ by_scale.reshape(K, -1)])
        row -= w @ d_weights
        rows.append(row)
        change = np.concatenate([np.zeros((K, K)), by_loc.reshape(K, -1), z[:, None] * by_scale.reshape(K, -1)], 1)
        change -= row if cross else 0
        d_weights = d_weights + (z / scale[:, d])[:, None] * change
        d_weights[:, K + K * D :] -= by_scale.reshape(K, -1) / scale[:, d][:, None]
        log_weights = log_joint - log_density
    return np.array(rows)


def cdfs(x, logits, loc, tril):
    """F_d(x_d | x_<d) of one sample, as differentiable code."""
    log_weights, residuals, values = logits, [], []
    for d in range(len(x)):
        mean = loc[:, d] + sum((tril[:, d, i] * residuals[i] for i in range(d)), torch.zeros(()))
        residuals.append((x[d] - mean) / tril[:, d, d])
        values.append(log_weights.softmax(0) @ torch.special.ndtr(residuals[d]))
        log_weights = log_weights + Normal(mean, tril[:, d, d], validate_args=False).log_prob(x[d])
    return torch.stack(values)


def implicit_jacobian(x, *values):
    """−J⁻¹ ∂F/∂θ of one sample."""
    by_x, *by_values = torch.autograd.functional.jacobian(cdfs, (x, *values))
    return [-torch.linalg.solve(by_x, by_value.flatten(1)).view_as(by_value) for by_value in by_values]


def expected_cosine(c, logits, loc, spread):
    """E cos(Σ x + c)."""
    tril = as_tril(spread, loc)
    damping = (-0.5 * tril.sum(-2).square().sum(-1)).exp()
    return (logits.softmax(-1) * damping * (loc.sum(-1) + c).cos()).sum(-1)


def expected_cosines(c, logits, loc, spread):
    """E Σ cos(x_d + c)."""
    damping = (-0.5 * as_tril(spread, loc).square().sum(-1)).exp()
    return (logits.softmax(-1)[..., None] * damping * (loc + c).cos()).sum((-1, -2))


COSTS = {
    "cosine of the sum": (lambda x: (x.sum(-1) + 0.3).cos(), lambda *values: expected_cosine(0.3, *values)),
    "sum of cosines": (lambda x: (x + 0.3).cos().sum(-1), lambda *values: expected_cosines(0.3, *values)),
}


def torchs(kind, logits, loc, spread, validate_args=None):
    """torch's mixture of the same components."""
    if kind == "diagonal":
        components = Independent(Normal(loc, spread, validate_args=False), 1, validate_args=False)
    else:
        components = MultivariateNormal(loc, scale_tril=spread, validate_args=False)
    return MixtureSameFamily(Categorical(logits=logits), components, validate_args=validate_args)


def assert_means(samples, expected, errors=4):
    """Means over the samples lie within four standard errors."""
    for values, mean in zip(samples, expected, strict=True):
        error = values.std(0) / math.sqrt(len(values))
        assert ((values.mean(0) - mean).abs() <= errors * error + 1e-12).all()


# --- the gradient of a draw ---


@pytest.mark.parametrize(("D", "K"), list(product(range(1, 5), range(1, 5))))
@BOTH
def test_a_draw_moves_as_the_root_of_the_quantile_map_does(kind, D, K):
    values = parameters(kind, K, D, seed=10 * D + K)
    arrays = as_arrays(*values)
    draws = KINDS[kind](*values).sample((30,)).numpy()
    x = next(x for x in draws if uniforms(x, *arrays)[1].min() > 0.15)  # in no gap
    u, _ = uniforms(x, *arrays)
    found = jacobian(kind, values, torch.tensor(x))
    h = 1e-5
    for name, index, gradient in zip(NAMES[kind], range(3), found, strict=True):
        for place in np.ndindex(*gradient.shape[1:]):
            if name == "scale_tril" and place[-1] > place[-2]:
                assert (gradient[(slice(None), *place)] == 0).all()
                continue
            ends = []
            for step in (h, -h):
                there = [array.copy() for array in arrays]
                there[index][(*place, place[-1]) if name == "scale" else place] += step
                ends.append(quantile_map(u, x, *there))
            expected = (ends[0] - ends[1]) / (2 * h)
            np.testing.assert_allclose(gradient[(slice(None), *place)].numpy(), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("D", [1, 2, 4])
def test_from_two_coordinates_on_the_move_of_the_weights_matters(D):
    values = parameters("diagonal", 3, D, seed=D)
    x = KINDS["diagonal"](*values).mean.detach()
    found = flat(jacobian("diagonal", values, x))
    arrays = [value.detach().numpy() for value in values]
    np.testing.assert_allclose(found, forward_jacobian(x.numpy(), *arrays), rtol=1e-11, atol=1e-13)
    mistake = np.abs(found - forward_jacobian(x.numpy(), *arrays, cross=False)).max()
    assert mistake < 1e-13 if D == 1 else mistake > 0.05


@pytest.mark.parametrize("D", [1, 2, 3, 5])
@BOTH
def test_the_gradient_is_that_of_implicit_reparameterisation(kind, D):
    values = parameters(kind, 3, D, seed=D)
    for x in KINDS[kind](*values).sample((6,)):
        logits, loc, spread = values
        *expected, by_tril = implicit_jacobian(x, logits.detach(), loc.detach(), as_tril(spread, loc).detach())
        by_spread = by_tril.tril() if kind == "full" else by_tril.diagonal(dim1=-2, dim2=-1)
        for gradient, right in zip(jacobian(kind, values, x), (*expected, by_spread), strict=True):
            assert_close(gradient, right, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("D", [1, 3])
@BOTH
def test_one_component_is_the_ordinary_reparameterisation(kind, D):
    logits, loc, spread = parameters(kind, 1, D)
    x, slope = torch.randn(2, 7, D, dtype=torch.float64)
    found = moved(kind, (logits, loc, spread), x, slope)
    assert (found[0] == 0).all()
    tril = as_tril(spread, loc)[0]
    z = torch.linalg.solve(tril, (x - loc).T).T.detach()
    ordinary = loc + (tril @ z.T).T
    by_loc, by_spread = torch.autograd.grad(ordinary, (loc, spread), slope)
    assert_close(found[1:], (by_loc, by_spread.tril() if kind == "full" else by_spread))


@BOTH
def test_the_gradients_of_logits_sum_to_zero(kind):
    values = parameters(kind, 5, 3, (40,), separation=2.0)
    by_logits, *_ = moved(kind, values, KINDS[kind](*values).sample(), torch.randn(40, 3, dtype=torch.float64))
    assert (by_logits.sum(-1).abs() < 1e-12 * by_logits.abs().amax(-1).clamp(min=1)).all()
    assert (by_logits != 0).all()


def test_diagonal_covariances_move_as_full_ones_of_zeros_do():
    values = parameters("diagonal", 4, 3)
    logits, loc, scale = values
    tril = scale.detach().diag_embed().requires_grad_()
    x, slope = torch.randn(2, 10, 3, dtype=torch.float64)
    *found, by_scale = moved("diagonal", values, x, slope)
    *full, by_tril = moved("full", (logits, loc, tril), x, slope)
    assert_close([*full, by_tril.diagonal(dim1=-2, dim2=-1)], [*found, by_scale])


@BOTH
def test_the_order_of_the_components_does_not_matter(kind):
    values = parameters(kind, 4, 3)
    order = torch.tensor([2, 0, 3, 1])
    x, slope = torch.randn(2, 10, 3, dtype=torch.float64)
    found = moved(kind, values, x, slope)
    turned = moved(kind, tuple(value.detach()[order].requires_grad_() for value in values), x, slope)
    assert_close([gradient[order] for gradient in found], list(turned))


@BOTH
def test_a_constant_in_all_logits_changes_nothing(kind):
    logits, *others = parameters(kind, 3, 2)
    x, slope = torch.randn(2, 10, 2, dtype=torch.float64)
    found = moved(kind, (logits, *others), x, slope)
    assert_close(moved(kind, ((logits + 40).detach().requires_grad_(), *others), x, slope), found)


@pytest.mark.parametrize("sample_shape", [(), (4,), (2, 3)])
@pytest.mark.parametrize("batch", [(), (3,), (2, 1, 2)])
@BOTH
def test_a_batch_of_draws_has_the_sum_of_their_gradients(kind, batch, sample_shape):
    values = parameters(kind, 3, 2, batch)
    x, slope = torch.randn(2, *sample_shape, *batch, 2, dtype=torch.float64)
    found = moved(kind, values, x, slope)
    expected = [torch.zeros_like(value) for value in values]
    for place in np.ndindex(*sample_shape, *batch):
        own = place[len(sample_shape) :]
        single = tuple(value.detach()[own].requires_grad_() for value in values)
        for total, gradient in zip(expected, moved(kind, single, x[place], slope[place]), strict=True):
            total[own] += gradient
    assert_close(list(found), expected)


@pytest.mark.parametrize("batches", [((), (3,), (2, 1)), ((2, 3), (), (3,)), ((1,), (2, 1), ()), ((3,), (), (1, 1))])
@BOTH
def test_parameters_of_different_batches_are_broadcast(kind, batches):
    values = tuple(parameters(kind, 2, 2, batch)[i] for i, batch in enumerate(batches))
    batch = torch.broadcast_shapes(*batches)
    mixture = KINDS[kind](*values)
    assert mixture.batch_shape == batch
    whole = tuple(
        value.expand(*batch, *value.shape[len(own) :]).detach().requires_grad_()
        for value, own in zip(values, batches, strict=True)
    )
    x, slope = torch.randn(2, 5, *batch, 2, dtype=torch.float64)
    for value, gradient, each in zip(values, moved(kind, values, x, slope), moved(kind, whole, x, slope), strict=True):
        assert_close(gradient, each.sum_to_size(value.shape))


@BOTH
def test_an_expanded_mixture_gives_its_gradient_to_the_first_parameters(kind):
    values = parameters(kind, 3, 2, (2,))
    x, slope = torch.randn(2, 5, 4, 2, 2, dtype=torch.float64)
    expanded = KINDS[kind](*values).expand((4, 2))
    assert_close(torch.autograd.grad(expanded.reparameterize(x), values, slope), moved(kind, values, x, slope))


@BOTH
def test_a_value_shared_by_a_batch_moves_with_each_of_its_mixtures(kind):
    values = parameters(kind, 3, 2, (4,))
    value = torch.randn(2, dtype=torch.float64)
    slope = torch.randn(4, 2, dtype=torch.float64)
    assert KINDS[kind](*values).reparameterize(value).shape == (4, 2)
    assert_close(moved(kind, values, value, slope), moved(kind, values, value.expand(4, 2), slope))


@BOTH
def test_gradients_of_strided_tensors_are_the_same(kind):
    values = parameters(kind, 3, 4, (5,))
    x, slope = torch.randn(2, 4, 5, dtype=torch.float64).transpose(1, 2)
    apart = tuple(torch.stack([value.detach()] * 2, -1)[..., 0].requires_grad_() for value in values)
    assert not apart[1].is_contiguous()
    assert_close(moved(kind, apart, x, slope), moved(kind, values, x.contiguous(), slope.contiguous()))


# --- expectations ---


@pytest.mark.parametrize("estimator", ["rsample", "surrogate", "surrogate with baseline"])
@pytest.mark.parametrize("cost", COSTS)
@BOTH
def test_the_gradient_is_unbiased(kind, cost, estimator):
    function, expected = COSTS[cost]
    values = parameters(kind, 3, 2, seed=24)
    many = for_each(values, 20_000)
    mixture = KINDS[kind](*many)
    if estimator == "rsample":
        loss = function(mixture.rsample()).sum()
    else:
        x = mixture.sample().requires_grad_()
        loss = rao_blackwell_surrogate(mixture, x, function(x), None if estimator == "surrogate" else 0.8)
    exact = torch.autograd.grad(expected(*values), values)
    assert_means(torch.autograd.grad(loss, many), exact)
    assert min(gradient.abs().max() for gradient in exact) > 0.12  # many standard errors


def grid(D, n, width=9.0):
    """Points of a grid of D dimensions, (n^D, D), and the volume around each."""
    axis = torch.linspace(-width, width, n, dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * D).view(-1, D), float(axis[1] - axis[0]) ** D


@pytest.mark.parametrize(("D", "n"), [(1, 400), (2, 90)])
@pytest.mark.parametrize("estimator", ["rsample", "surrogate"])
@pytest.mark.parametrize("cost", COSTS)
@BOTH
def test_the_mean_over_a_grid_is_the_gradient_of_the_expectation(kind, cost, estimator, D, n):
    function, expected = COSTS[cost]
    values = parameters(kind, 3, D, seed=D)
    x, volume = grid(D, n)
    x.requires_grad_()
    many = for_each(values, len(x))
    mixture = KINDS[kind](*many)
    if estimator == "rsample":
        (slope,) = torch.autograd.grad(function(x).sum(), x)
        gradients = torch.autograd.grad(mixture.reparameterize(x), many, slope)
    else:
        gradients = torch.autograd.grad(rao_blackwell_surrogate(mixture, x, function(x)), many)
    mass = mixture.log_prob(x).exp().detach() * volume
    for gradient, exact in zip(gradients, torch.autograd.grad(expected(*values), values), strict=True):
        assert_close(torch.tensordot(mass, gradient, 1), exact, rtol=1e-6, atol=1e-7)


# --- the surrogate ---


def surrogate_by_formula(kind, values, x, cost, slope, baseline):
    """Per sample: γ times the gradient of each component's own draw, and (cost − baseline)(γ − π)."""
    logits, loc, spread = (value.detach() for value in values)
    components = MultivariateNormal(loc, scale_tril=as_tril(spread, loc))
    share = (logits + components.log_prob(x.unsqueeze(-2))).softmax(-1)
    by_logits = (cost - baseline).unsqueeze(-1) * (share - logits.softmax(-1))
    by_loc = share.unsqueeze(-1) * slope.unsqueeze(-2)
    residual = torch.linalg.solve(as_tril(spread, loc), (x.unsqueeze(-2) - loc).unsqueeze(-1)).squeeze(-1)
    if kind == "diagonal":
        return by_logits, by_loc, by_loc * residual
    return by_logits, by_loc, (by_loc.unsqueeze(-1) * residual.unsqueeze(-2)).tril()


@pytest.mark.parametrize("baseline", [None, 0.7, "each"])
@BOTH
def test_the_surrogate_is_the_cost_with_the_expected_gradient_given_each_draw(kind, baseline):
    values = for_each(parameters(kind, 3, 2), 50)
    mixture = KINDS[kind](*values)
    x = mixture.sample().requires_grad_()
    cost = x.prod(-1).sin() + x[:, 0].square()
    (slope,) = torch.autograd.grad(cost.sum(), x, retain_graph=True)
    baseline = torch.randn(50, dtype=torch.float64) if baseline == "each" else baseline
    loss = rao_blackwell_surrogate(mixture, x, cost, baseline)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(cost.sum().item(), rel=1e-12)
    subtracted = 0 if baseline is None else baseline
    expected = surrogate_by_formula(kind, values, x.detach(), cost.detach(), slope, subtracted)
    assert_close(torch.autograd.grad(loss, values), expected)


@BOTH
def test_the_surrogate_sums_over_samples_of_shared_parameters(kind):
    values = parameters(kind, 3, 2)
    x = KINDS[kind](*values).sample((4, 6)).requires_grad_()
    loss = rao_blackwell_surrogate(KINDS[kind](*values), x, x.sum(-1).sin(), 0.2)
    each = for_each(values, 24)
    own = x.detach().view(24, 2).requires_grad_()
    expected = rao_blackwell_surrogate(KINDS[kind](*each), own, own.sum(-1).sin(), 0.2)
    for gradient, parts in zip(torch.autograd.grad(loss, values), torch.autograd.grad(expected, each), strict=True):
        assert_close(gradient, parts.sum(0))


def test_what_cost_depends_on_besides_the_draw_gets_its_own_gradient():
    values = parameters("diagonal", 3, 2)
    mixture = MixtureNormal(*values)
    x = mixture.sample((8,)).requires_grad_()
    decoder = torch.randn(2, dtype=torch.float64, requires_grad=True)
    hidden = decoder * 1.5
    loss = rao_blackwell_surrogate(mixture, x, (x * hidden).sum(-1).cos(), 0.1)
    (found,) = torch.autograd.grad(loss, decoder, retain_graph=True)
    (expected,) = torch.autograd.grad((x.detach() * decoder * 1.5).sum(-1).cos().sum(), decoder)
    assert_close(found, expected)


@BOTH
def test_a_cost_of_the_mixture_itself_adds_its_direct_gradient(kind):
    values = parameters(kind, 3, 2)
    mixture = KINDS[kind](*values)
    x = mixture.sample((8,)).requires_grad_()
    found = torch.autograd.grad(rao_blackwell_surrogate(mixture, x, mixture.log_prob(x)), values)
    fixed = KINDS[kind](*(value.detach() for value in values))
    moving = torch.autograd.grad(rao_blackwell_surrogate(mixture, x, fixed.log_prob(x)), values)
    direct = torch.autograd.grad(mixture.log_prob(x.detach()).sum(), values)
    for whole, *parts in zip(found, moving, direct, strict=True):
        assert_close(whole, sum(parts))


def test_a_baseline_has_no_gradient_and_is_broadcast():
    values = parameters("diagonal", 3, 2, (4,))
    mixture = MixtureNormal(*values)
    x = mixture.sample((5,)).requires_grad_()
    baseline = torch.randn(4, dtype=torch.float64, requires_grad=True)
    loss = rao_blackwell_surrogate(mixture, x, x.sin().sum(-1), baseline)
    assert torch.autograd.grad(loss, baseline, retain_graph=True, allow_unused=True) == (None,)
    whole = rao_blackwell_surrogate(mixture, x, x.sin().sum(-1), baseline.detach().expand(5, 4).contiguous())
    assert_close(torch.autograd.grad(loss, values), torch.autograd.grad(whole, values))


@BOTH
def test_the_surrogate_of_a_component_that_is_off_is_that_without_it(kind):
    _, *others = parameters(kind, 3, 2)
    logits = torch.tensor([0.3, OFF, -0.2], dtype=torch.float64, requires_grad=True)
    on = torch.tensor([0, 2])
    x = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    values = (logits, *others)
    loss = rao_blackwell_surrogate(KINDS[kind](*values), x, x.sin().sum(-1))
    assert loss.item() == pytest.approx(x.sin().sum().item(), rel=1e-12)
    found = torch.autograd.grad(loss, values)
    rest = tuple(value.detach()[on].requires_grad_() for value in values)
    expected = torch.autograd.grad(rao_blackwell_surrogate(KINDS[kind](*rest), x, x.sin().sum(-1)), rest)
    for gradient, right in zip(found, expected, strict=True):
        assert (gradient[1] == 0).all()
        assert_close(gradient[on], right)


@BOTH
def test_in_one_dimension_the_surrogate_moves_means_and_scales_as_rsample_does(kind):
    many = for_each(parameters(kind, 4, 1), 60)
    mixture = KINDS[kind](*many)
    x = mixture.sample().requires_grad_()
    cost = x.squeeze(-1).cos()
    (slope,) = torch.autograd.grad(cost.sum(), x, retain_graph=True)
    found = torch.autograd.grad(rao_blackwell_surrogate(mixture, x, cost), many)
    by_draw = moved(kind, many, x, slope)
    assert_close(found[1:], by_draw[1:])
    assert (found[0] - by_draw[0]).abs().max() > 0.1


def test_the_surrogate_names_what_does_not_fit():
    mixture = MixtureNormal(*parameters("diagonal", 3, 2))
    x = mixture.sample((5,))
    with pytest.raises(ValueError, match=r"x must be a leaf that requires a gradient: mixture.sample\(…\)"):
        rao_blackwell_surrogate(mixture, x, x.sum(-1))
    y = MixtureNormal(*(p.requires_grad_() for p in parameters("diagonal", 3, 2))).rsample((5,))
    with pytest.raises(ValueError, match=r"x must be a leaf .* not rsample"):  # it would count the path twice
        rao_blackwell_surrogate(mixture, y, y.sum(-1))
    x.requires_grad_()
    with pytest.raises(ValueError, match=r"cost must have shape \(5,\), one number for each x, got \(\)"):
        rao_blackwell_surrogate(mixture, x, x.sum())
    for shape in [(5, 1), (2, 5)]:
        with pytest.raises(ValueError, match=r"baseline must broadcast to the shape of cost, \(5,\)"):
            rao_blackwell_surrogate(mixture, x, x.sum(-1), torch.zeros(shape))
    with pytest.raises(RuntimeError, match="appears to not have been used"):
        rao_blackwell_surrogate(mixture, x, 2 * torch.ones(5, requires_grad=True))


# --- far out, and in gaps ---


def settings(equal, K, D, dtype):
    """Logits, means from −1 to 1, and scales of a mixture that is looked at from far."""
    logits, loc, scale = (value.detach() for value in parameters("diagonal", K, D, seed=7))
    scale = torch.full_like(scale, 0.9) if equal else scale
    return tuple(value.to(dtype).requires_grad_() for value in (logits, loc.clamp(-1, 1), scale))


@pytest.mark.parametrize(
    ("dtype", "far", "rtol"),
    [
        (torch.float64, 60, 1e-10),
        (torch.float64, 400, 1e-8),
        (torch.float32, 60, 2e-3),
        (torch.float32, 400, 5e-2),
    ],
)
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("D", [1, 2, 3])
def test_far_outside_the_means_the_gradient_is_right(dtype, far, rtol, equal, D):
    values = settings(equal, 3, D, dtype)
    arrays = [value.detach().double().numpy() for value in values]
    for signs in product((-1, 1), repeat=D):
        x = torch.tensor(signs, dtype=dtype) * (1 + 0.9 * far)
        expected = forward_jacobian(x.double().numpy(), *arrays)
        found = flat(jacobian("diagonal", values, x))
        scale = np.abs(expected).max(1, keepdims=True)
        np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=rtol)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 2e-3)])
def test_far_outside_a_full_mixture_that_is_diagonal_moves_alike(dtype, rtol):
    logits, loc, scale = settings(False, 3, 3, dtype)
    tril = scale.detach().diag_embed().requires_grad_()
    x = torch.tensor([[55.0, -60.0, 58.0], [-55.0, 0.3, 60.0]], dtype=dtype)
    slope = torch.ones_like(x)
    *expected, by_scale = moved("diagonal", (logits, loc, scale), x, slope)
    *found, by_tril = moved("full", (logits, loc, tril), x, slope)
    for left, right in zip([*found, by_tril.diagonal(dim1=-2, dim2=-1)], [*expected, by_scale], strict=True):
        assert ((left - right).abs() <= rtol * right.abs().max()).all()


@pytest.mark.parametrize("half", [3, 6, 10])
@pytest.mark.parametrize("D", [1, 2])
def test_in_gaps_that_numbers_can_bridge_the_gradient_is_right(D, half):
    logits = torch.tensor([0.2, -0.3, 0.4], dtype=torch.float64, requires_grad=True)
    loc = half * torch.tensor([[-1.0, -1.0], [1.0, 1.0], [1.2, 1.1]], dtype=torch.float64)[:, :D]
    values = logits, loc.requires_grad_(), torch.full_like(loc, 0.9).requires_grad_()
    for x in ([0.3, -0.4], [-0.2, -0.1], [-half / 2, 0.2], [half / 2, -0.3]):
        expected = forward_jacobian(np.array(x[:D]), *(value.detach().numpy() for value in values))
        found = flat(jacobian("diagonal", values, torch.tensor(x[:D], dtype=torch.float64)))
        np.testing.assert_allclose(found / np.abs(expected).max(), expected / np.abs(expected).max(), atol=1e-10)


def far_apart(kind, half, D, dtype, K=2, n=None, size=1.0):
    """Means at ±half deviations on the diagonal, of n mixtures or one; deviations of that size."""
    loc = size * torch.linspace(-half, half, K, dtype=dtype).view(K, 1).expand(K, D)
    spread = torch.full((K, D), size, dtype=dtype)
    if kind == "full":
        spread = spread.diag_embed() + 0.5 * size * torch.ones(K, D, D, dtype=dtype).tril(-1)
    values = (torch.zeros(K, dtype=dtype), loc, spread)
    return for_each(values, n) if n else tuple(value.clone().requires_grad_() for value in values)


GAPS = [(torch.float32, 14), (torch.float32, 22), (torch.float32, 50), (torch.float64, 38), (torch.float64, 100)]


@pytest.mark.parametrize(("dtype", "half"), GAPS)
@pytest.mark.parametrize("size", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize(("D", "K"), [(1, 2), (2, 2), (4, 2), (3, 5)])
@BOTH
def test_in_wide_gaps_gradients_saturate_and_are_never_nan(kind, D, K, size, dtype, half):
    n = 200
    values = far_apart(kind, half, D, dtype, K, n, size)
    x = size * (half * (2 * torch.rand(n, D) - 1)).to(dtype)
    for slope in (torch.ones_like(x), torch.randn_like(x), torch.eye(D, dtype=dtype)[0].expand_as(x)):
        for gradient in moved(kind, values, x, slope):
            assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@BOTH
def test_sums_over_many_draws_in_a_gap_are_no_nan(kind, dtype):
    values = far_apart(kind, 100, 3, dtype)
    x, slope = torch.randn(2, 20_000, 3, dtype=dtype)
    for gradient in moved(kind, values, x, slope):
        assert gradient.isfinite().all()


@PRECISIONS
@BOTH
def test_not_even_a_single_draw_in_a_gap_has_an_infinite_gradient(kind, dtype):
    values = far_apart(kind, 100, 3, dtype)
    for x, slope in torch.randn(30, 2, 3, dtype=dtype):
        for gradient in moved(kind, values, x, slope):
            assert gradient.isfinite().all()


@pytest.mark.parametrize(("size", "off"), [(1, 1e4), (1e-5, 0.1)])
def test_large_offdiagonal_entries_make_no_nan_in_a_gap(size, off):
    n = 16
    logits, loc, tril = far_apart("full", 50, 4, torch.float32, n=n, size=size)
    tril = (tril.detach() + off * torch.randn(n, 2, 4, 4).tril(-1)).requires_grad_()
    x, slope = torch.randn(2, n, 4)
    for gradient in moved("full", (logits, loc, tril), size * x, slope):
        assert gradient.isfinite().all()


@pytest.mark.parametrize(("dtype", "half", "large"), [(torch.float32, 20, 1e30), (torch.float64, 45, 1e280)])
@pytest.mark.parametrize("at", [-0.2, 0.0, 0.2])
def test_in_a_wide_gap_more_weight_on_the_right_pulls_hard_to_the_right(dtype, half, large, at):
    values = far_apart("diagonal", half, 1, dtype)
    by_logits, by_loc, _ = jacobian("diagonal", values, torch.tensor([at], dtype=dtype))
    assert by_logits[0, 1] > large
    assert by_logits[0, 0] == -by_logits[0, 1]
    assert_close(by_loc.sum(), torch.ones((), dtype=dtype))


@PRECISIONS
@pytest.mark.parametrize("D", [1, 2, 3])
def test_exactly_between_two_equal_components_a_draw_moves_evenly(D, dtype):
    logits, loc = torch.zeros(2, dtype=dtype), torch.tensor([[-1.0], [1.0]], dtype=dtype).expand(2, D).clone()
    values = tuple(value.requires_grad_() for value in (logits, loc, torch.ones(2, D, dtype=dtype)))
    x = torch.zeros(D, dtype=dtype)
    by_logits, by_loc, by_scale = jacobian("diagonal", values, x)
    # γ = 1/2, f = φ(1), w = (Φ(1) − 1/2) / (2 φ(1)); mirroring swaps the components.
    w = (special.ndtr(1) - 0.5) / (2 * stats.norm.pdf(1))
    assert by_logits[0, 1].item() == pytest.approx(w, rel=1e-6)
    assert_close(by_logits[:, 0], -by_logits[:, 1])
    assert_close(by_loc[:, 0], by_loc[:, 1])
    assert_close(by_scale[:, 0], -by_scale[:, 1])
    expected = forward_jacobian(x.double().numpy(), *(value.detach().double().numpy() for value in values))
    np.testing.assert_allclose(flat((by_logits, by_loc, by_scale)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("at", ["among the others", "at the one that is off", "far out"])
@PRECISIONS
@BOTH
def test_a_component_that_is_off_has_no_gradient_and_no_influence(kind, dtype, at):
    _, loc, spread = parameters(kind, 4, 3, dtype=dtype, seed=2)
    logits = torch.tensor([0.4, OFF, -0.3, OFF], dtype=dtype, requires_grad=True)
    place = {"among the others": 0.0, "at the one that is off": 50.0, "far out": 60.0}[at]
    x = torch.full((3,), place, dtype=dtype)
    with torch.no_grad():
        loc[1] = 50.0
    on = torch.tensor([0, 2])
    values = (logits, loc, spread)
    found = jacobian(kind, values, x)
    rest = tuple(value.detach()[on].requires_grad_() for value in values)
    for gradient, expected in zip(found, jacobian(kind, rest, x), strict=True):
        assert (gradient[:, [1, 3]] == 0).all()
        assert_close(gradient[:, on], expected)
        assert gradient.isfinite().all()


def test_a_component_of_vanishing_weight_moves_a_draw_like_one_of_small_weight():
    loc, scale = torch.tensor([[0.0], [40.0]], dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    arrays = loc.numpy(), scale.numpy()
    for x in (-1.0, 3.0, 20.0, 38.0, 40.0, 43.0):
        for logit in (-10.0, -50.0, -600.0):
            values = tuple(
                value.clone().requires_grad_() for value in (torch.tensor([0, logit], dtype=torch.float64), loc, scale)
            )
            expected = forward_jacobian(np.array([x]), np.array([0, logit]), *arrays)
            found = flat(jacobian("diagonal", values, torch.tensor([x], dtype=torch.float64)))
            if np.abs(expected).max() < 1e300:
                np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize(("kind", "D"), [("diagonal", 1), ("diagonal", 4), ("diagonal", 64), ("full", 1), ("full", 4)])
def test_single_precision_is_close_to_double(kind, D):
    values = parameters(kind, 4, D, (100,), separation=0.5)
    x = KINDS[kind](*values).sample()
    slope = torch.randn_like(x)
    expected = moved(kind, values, x, slope)
    single = tuple(value.detach().float().requires_grad_() for value in values)
    found = moved(kind, single, x.float(), slope.float())
    for gradient, right in zip(found, expected, strict=True):
        assert gradient.dtype == torch.float32
        error = (gradient.double() - right).flatten(1).abs().amax(-1) / right.flatten(1).abs().amax(-1)
        assert error.median() < 2e-6
        assert error.max() < 1e-3


# --- as torch's distributions ---


@pytest.mark.parametrize("sample_shape", [(), (3,), (0,), (2, 3), torch.Size([4]), [2]])
@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
@BOTH
def test_draws_have_the_shapes_of_torchs(kind, batch, sample_shape):
    values = parameters(kind, 3, 2, batch, dtype=torch.float32)
    mixture = KINDS[kind](*values)
    assert isinstance(mixture, Distribution)
    assert mixture.has_rsample
    assert mixture.batch_shape == batch
    assert mixture.event_shape == (2,)
    drawn, moving = mixture.sample(sample_shape), mixture.rsample(sample_shape)
    assert drawn.shape == moving.shape == Normal(torch.zeros(*batch, 2), 1).sample(sample_shape).shape
    assert drawn.dtype == moving.dtype == torch.float32
    assert not drawn.requires_grad
    assert moving.requires_grad
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(moving.sum(), values))


@BOTH
def test_a_batch_may_be_empty(kind):
    values = parameters(kind, 2, 3, (0,))
    mixture = KINDS[kind](*values, validate_args=False)
    assert mixture.sample((4,)).shape == (4, 0, 3)
    torch.autograd.grad(mixture.rsample().sum(), values)


@BOTH
def test_rsample_draws_what_sample_draws(kind):
    mixture = KINDS[kind](*parameters(kind, 3, 2, (4,)))
    drawn = []
    for method in (mixture.sample, mixture.rsample, mixture.rsample):
        torch.manual_seed(5)
        drawn.append(method((6,)).detach())
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], mixture.sample((6,)))


@BOTH
def test_draws_of_one_call_are_independent(kind):
    drawn = KINDS[kind](*parameters(kind, 3, 2)).expand((500,)).sample((2,)).view(1000, 2)
    assert len(drawn[:, 0].unique()) == 1000


@BOTH
def test_quantiles_of_draws_are_uniform_and_independent(kind):
    arrays = as_arrays(*(values := parameters(kind, 3, 2, separation=2.0)))
    draws = KINDS[kind](*values).sample((400,)).numpy()
    u = np.array([uniforms(x, *arrays)[0] for x in draws])
    for column in (*u.T, (u[:, 0] + u[:, 1]) % 1):  # the sum of independent ones is uniform, too
        assert stats.kstest(column, "uniform").pvalue > 1e-3


@BOTH
def test_moments_and_frequencies_of_draws_are_those_of_the_mixture(kind):
    values = parameters(kind, 3, 2, separation=20.0, dtype=torch.float32)
    mixture = KINDS[kind](*values)
    with torch.no_grad():
        draws = mixture.sample((40_000,))
        assert_means([draws, (draws - mixture.mean).square()], [mixture.mean, mixture.variance])
        nearest = (draws.unsqueeze(1) - mixture.loc).square().sum(-1).argmin(-1)
        shares = torch.nn.functional.one_hot(nearest, 3).float()
        assert_means([shares], [mixture.logits.softmax(-1)])


@BOTH
def test_a_component_that_is_off_is_never_drawn(kind):
    _, loc, spread = parameters(kind, 2, 2)
    logits = torch.tensor([OFF, 0.0], dtype=torch.float64)
    with torch.no_grad():
        loc[0] = 1e6
    assert (KINDS[kind](logits, loc, spread).sample((1000,)) < 1e3).all()


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
@BOTH
def test_density_mean_and_variance_are_torchs(kind, batch):
    values = parameters(kind, 3, 2, batch)
    mixture, theirs = KINDS[kind](*values), torchs(kind, *values)
    x = theirs.sample((5,))
    assert_close(mixture.log_prob(x), theirs.log_prob(x))
    assert_close(mixture.mean, theirs.mean)
    assert_close(mixture.variance, theirs.variance)
    assert_close(mixture.stddev, theirs.stddev)


@BOTH
def test_the_density_has_torchs_gradients(kind):
    values = parameters(kind, 3, 2, (4,))
    x = torch.randn(5, 4, 2, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(5, 4, dtype=torch.float64)
    found = torch.autograd.grad(KINDS[kind](*values).log_prob(x), (x, *values), slope)
    expected = torch.autograd.grad(torchs(kind, *values).log_prob(x), (x, *values), slope)
    assert_close(found, expected)


@BOTH
def test_mean_and_variance_have_torchs_gradients(kind):
    values = parameters(kind, 3, 2)
    mixture, theirs = KINDS[kind](*values), torchs(kind, *values)
    for name in ("mean", "variance"):
        found, expected = (
            torch.autograd.grad(getattr(each, name).sum(), values, retain_graph=True, allow_unused=True)
            for each in (mixture, theirs)
        )
        for left, right in zip(found, expected, strict=True):
            assert (left is None) == (right is None)
            if left is not None:
                assert_close(left, right)


@BOTH
def test_the_density_of_a_mixture_with_a_component_off_is_that_without_it(kind):
    _, *others = parameters(kind, 3, 2)
    logits = torch.tensor([0.3, OFF, -0.2], dtype=torch.float64, requires_grad=True)
    x = torch.randn(6, 2, dtype=torch.float64)
    on = torch.tensor([0, 2])
    found = KINDS[kind](logits, *others).log_prob(x)
    rest = tuple(value.detach()[on].requires_grad_() for value in (logits, *others))
    expected = KINDS[kind](*rest).log_prob(x)
    assert_close(found, expected)
    gradients = torch.autograd.grad(found.sum(), (logits, *others))
    for gradient, right in zip(gradients, torch.autograd.grad(expected.sum(), rest), strict=True):
        assert (gradient[1] == 0).all()
        assert_close(gradient[on], right)


@BOTH
def test_responsibilities_are_the_posterior_of_the_component(kind):
    values = parameters(kind, 3, 2, (4,))
    logits, loc, spread = values
    x = torch.randn(5, 4, 2, dtype=torch.float64)
    each = MultivariateNormal(loc, scale_tril=as_tril(spread, loc)).log_prob(x.unsqueeze(-2)).exp()
    joint = logits.softmax(-1) * each
    found = KINDS[kind](*values).responsibilities(x)
    assert found.shape == (5, 4, 3)
    assert_close(found, joint / joint.sum(-1, keepdim=True))


@BOTH
def test_torchs_mixtures_are_converted(kind):
    values = parameters(kind, 3, 2, (4,))
    theirs = torchs(kind, *values)
    mixture = KINDS[kind].from_mixture_same_family(theirs)
    assert type(mixture) is KINDS[kind]
    assert mixture.batch_shape == (4,)
    x = theirs.sample((5,))
    assert_close(mixture.log_prob(x), theirs.log_prob(x))
    slope = torch.randn_like(x)
    assert_close(torch.autograd.grad(mixture.reparameterize(x), values, slope), moved(kind, values, x, slope))


def test_torchs_mixture_of_numbers_becomes_one_of_one_coordinate():
    logits, loc, scale = parameters("diagonal", 3, 1, (4,))
    theirs = MixtureSameFamily(Categorical(logits=logits), Normal(loc.squeeze(-1), scale.squeeze(-1)))
    mixture = MixtureNormal.from_mixture_same_family(theirs)
    assert mixture.batch_shape == (4,)
    assert mixture.event_shape == (1,)
    x = theirs.sample((5,))
    assert_close(mixture.log_prob(x.unsqueeze(-1)), theirs.log_prob(x))
    assert mixture.rsample().requires_grad


def test_torchs_mixture_of_shared_weights_keeps_its_batch():
    _, loc, scale = parameters("diagonal", 3, 2, (4,))
    theirs = MixtureSameFamily(Categorical(logits=torch.zeros(4, 3)), Independent(Normal(loc, scale), 1))
    assert MixtureNormal.from_mixture_same_family(theirs).mean.shape == theirs.mean.shape


@pytest.mark.parametrize(
    ("kind", "components"),
    [
        ("diagonal", MultivariateNormal(torch.zeros(3, 2), torch.eye(2))),
        ("diagonal", Independent(Laplace(torch.zeros(3, 2), torch.ones(3, 2)), 1)),
        ("diagonal", Independent(Normal(torch.zeros(3, 2, 2), torch.ones(3, 2, 2)), 2)),
        ("diagonal", Laplace(torch.zeros(3), torch.ones(3))),
        ("full", Laplace(torch.zeros(3), torch.ones(3))),
        ("full", Independent(Normal(torch.zeros(3, 2), torch.ones(3, 2)), 1)),
    ],
)
def test_other_components_are_not_converted(kind, components):
    theirs = MixtureSameFamily(Categorical(logits=torch.zeros(3)), components)
    expected = {"diagonal": r"Independent\(Normal\(…\), 1\) or Normal\(…\)", "full": r"MultivariateNormal\(…\)"}[kind]
    with pytest.raises(TypeError, match=rf"components must be {expected}, got {type(components).__name__}"):
        KINDS[kind].from_mixture_same_family(theirs)


@BOTH
def test_an_expanded_mixture_is_the_same_for_each(kind):
    mixture = KINDS[kind](*parameters(kind, 3, 2, (4,)))
    larger = mixture.expand((5, 4))
    assert type(larger) is KINDS[kind]
    assert larger.batch_shape == (5, 4)
    assert larger.event_shape == (2,)
    x = larger.sample()
    assert x.shape == (5, 4, 2)
    assert_close(larger.log_prob(x), mixture.log_prob(x))
    assert_close(larger.mean, mixture.mean.expand(5, 4, 2))


@BOTH
def test_a_subclass_expands_to_itself_where_it_can(kind):
    class Plain(KINDS[kind]):
        pass

    class Own(KINDS[kind]):
        def __init__(self):
            super().__init__(*parameters(kind, 3, 2))

    assert type(Plain(*parameters(kind, 3, 2)).expand((2,))) is Plain
    with pytest.raises(NotImplementedError, match=f"Subclass Own of {KINDS[kind].__name__} .* custom .expand"):
        Own().expand((2,))


@BOTH
def test_what_has_no_closed_form_is_not_implemented(kind):
    mixture = KINDS[kind](*parameters(kind, 3, 2))
    with pytest.raises(NotImplementedError):
        mixture.entropy()
    with pytest.raises(NotImplementedError):
        mixture.cdf(torch.zeros(2))


@BOTH
def test_no_gradient_flows_into_a_value(kind):
    values = parameters(kind, 3, 2)
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    y = KINDS[kind](*values).reparameterize(x)
    assert torch.equal(y, x)
    assert torch.autograd.grad(y.sum(), x, allow_unused=True) == (None,)


# --- second derivatives, and transforms ---

CURVED = pytest.mark.parametrize(("kind", "D"), [("diagonal", 1), ("diagonal", 3), ("full", 1), ("full", 3)])


class Curve:
    """A cost of a moving draw and its own density, of all parameters in one vector; and the same with x solved anew."""

    def __init__(self, kind, D, seed=4):
        values = parameters(kind, 3, D, seed=seed)
        self.kind, self.shapes = kind, [value.shape for value in values]
        self.theta = torch.cat([value.detach().flatten() for value in values])
        on = torch.ones(3, D, D).tril() if kind == "full" else torch.ones(3, D)
        self.free = torch.cat((torch.ones(3 + 3 * D), on.flatten())).double()  # nothing moves above the diagonal
        arrays = as_arrays(*values)
        draws = KINDS[kind](*values).sample((30,))
        self.x = next(x for x in draws if uniforms(x.numpy(), *arrays)[1].min() > 0.15)
        self.u = uniforms(self.x.numpy(), *arrays)[0]

    def split(self, theta):
        parts = theta.split([math.prod(shape) for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def cost(self, theta):
        return self.of(self.mixture(theta).reparameterize(self.x), theta)

    def mixture(self, theta):
        return KINDS[self.kind](*self.split(theta), validate_args=False)

    def of(self, x, theta):
        return x.sin().sum() + x.prod() + self.mixture(theta).log_prob(x)

    def solved_anew(self, theta):
        x = quantile_map(self.u, self.x.numpy(), *as_arrays(*self.split(theta)))
        return float(self.of(torch.tensor(x), theta))

    def direction(self):
        return torch.randn_like(self.theta) * self.free

    def second(self, v, h=1e-3):
        """Along v, by differences of fourth order."""
        f = [self.solved_anew(self.theta + i * h * v) for i in (-2, -1, 0, 1, 2)]
        return (-f[0] + 16 * f[1] - 30 * f[2] + 16 * f[3] - f[4]) / (12 * h * h)


@CURVED
def test_second_derivatives_are_those_of_the_root_of_the_quantile_map(kind, D):
    curve = Curve(kind, D)
    hessian = torch.autograd.functional.hessian(curve.cost, curve.theta)
    assert_close(hessian, hessian.T)
    for v in (curve.direction(), curve.direction(), curve.direction()):
        assert float(v @ hessian @ v) == pytest.approx(curve.second(v), rel=1e-5, abs=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, within torch.func
@CURVED
def test_every_way_to_differentiate_twice_agrees(kind, D):
    curve = Curve(kind, D)
    hessian, v = torch.autograd.functional.hessian(curve.cost, curve.theta), curve.direction()
    theta = curve.theta.clone().requires_grad_()
    (once,) = torch.autograd.grad(curve.cost(theta), theta, create_graph=True)
    (twice,) = torch.autograd.grad(once, theta, v)
    assert_close(twice, hessian @ v)
    functional, func = torch.autograd.functional, torch.func
    assert_close(functional.hvp(curve.cost, curve.theta, v)[1], hessian @ v)
    assert_close(functional.vhp(curve.cost, curve.theta, v)[1], hessian @ v)
    for strategy in ("reverse-mode", "forward-mode"):
        found = functional.hessian(curve.cost, curve.theta, vectorize=True, outer_jacobian_strategy=strategy)
        assert_close(found, hessian)
    assert_close(func.hessian(curve.cost)(curve.theta), hessian)
    assert_close(func.jacrev(func.jacrev(curve.cost))(curve.theta), hessian)
    assert_close(func.jacrev(func.jacfwd(curve.cost))(curve.theta), hessian)
    with pytest.raises(NotImplementedError, match="forward mode over forward mode"):
        func.jacfwd(func.jacfwd(curve.cost))(curve.theta)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, within torch.func
@CURVED
def test_every_way_to_differentiate_once_agrees(kind, D):
    curve = Curve(kind, D)
    theta, v = curve.theta.clone().requires_grad_(), curve.direction()
    (gradient,) = torch.autograd.grad(curve.cost(theta), theta)
    functional, func = torch.autograd.functional, torch.func
    assert_close(func.grad(curve.cost)(curve.theta), gradient)
    assert_close(func.jvp(curve.cost, (curve.theta,), (v,))[1], gradient @ v)
    assert_close(functional.jvp(curve.cost, curve.theta, v)[1], gradient @ v)
    with torch.autograd.forward_ad.dual_level():
        dual = curve.cost(torch.autograd.forward_ad.make_dual(curve.theta, v))
        assert_close(torch.autograd.forward_ad.unpack_dual(dual).tangent, gradient @ v)
    draw = lambda theta: curve.mixture(theta).reparameterize(curve.x)  # noqa: E731
    rows = functional.jacobian(draw, curve.theta)
    assert_close(functional.jacobian(draw, curve.theta, vectorize=True), rows)
    assert_close(functional.jacobian(draw, curve.theta, vectorize=True, strategy="forward-mode"), rows)
    assert_close(func.jacrev(draw)(curve.theta), rows)
    assert_close(func.jacfwd(draw)(curve.theta), rows)


@BOTH
def test_the_third_derivative_is_right_as_well(kind):
    curve, h = Curve(kind, 2), 2e-3
    v, t = curve.direction(), torch.zeros((), dtype=torch.float64, requires_grad=True)
    value = curve.mixture(curve.theta + t * v).reparameterize(curve.x).sin().sum()
    for _ in range(3):
        (value,) = torch.autograd.grad(value, t, create_graph=True)
    places = [as_arrays(*curve.split(curve.theta + i * h * v)) for i in (-3, -2, -1, 1, 2, 3)]
    f = [np.sin(quantile_map(curve.u, curve.x.numpy(), *arrays)).sum() for arrays in places]
    expected = (f[0] - 8 * f[1] + 13 * f[2] - 13 * f[3] + 8 * f[4] - f[5]) / (8 * h**3)
    assert value.item() == pytest.approx(expected, rel=1e-3)


@BOTH
def test_second_derivatives_of_a_batch_are_those_of_each(kind):
    values = parameters(kind, 3, 2, (4,))
    x, slope = torch.randn(2, 5, 4, 2, dtype=torch.float64)

    def second(values, x, slope):
        y = KINDS[kind](*values).reparameterize(x)
        gradients = torch.autograd.grad((y.sin() * slope).sum(), values, create_graph=True)
        return torch.autograd.grad(sum(gradient.square().sum() for gradient in gradients), values)

    for i in range(4):
        each = tuple(value.detach()[i].requires_grad_() for value in values)
        for gradient, own in zip(second(values, x, slope), second(each, x[:, i], slope[:, i]), strict=True):
            assert_close(gradient[i], own)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@BOTH
def test_second_derivatives_have_the_dtype_of_the_parameters(kind, dtype):
    values = parameters(kind, 3, 2, dtype=dtype)
    y = KINDS[kind](*values).reparameterize(torch.zeros(2, dtype=dtype))
    first = torch.autograd.grad(y.float().square().sum() + y.float().sum(), values, create_graph=True)
    second = torch.autograd.grad(sum(gradient.float().square().sum() for gradient in first), values)
    assert {gradient.dtype for gradient in (*first, *second)} == {dtype}
    assert all(gradient.isfinite().all() for gradient in second)


@pytest.mark.parametrize("at", [0.0, 1.0, 30.0, 300.0])
@pytest.mark.parametrize("off", [False, True])
@BOTH
def test_second_derivatives_are_finite_in_tails_and_gaps(kind, off, at):
    logits, loc, spread = far_apart(kind, 30, 2, torch.float64, K=3)
    logits = torch.tensor([0.2, OFF if off else -0.3, 0.1], dtype=torch.float64, requires_grad=True)
    values = logits, loc, spread
    y = KINDS[kind](*values).reparameterize(torch.full((2,), at, dtype=torch.float64))
    first = torch.autograd.grad(y.sum(), values, create_graph=True)
    for gradient in torch.autograd.grad(sum(gradient.sum() for gradient in first[1:]), values):
        assert gradient.isfinite().all()
        assert not off or (gradient[1] == 0).all()


@BOTH
def test_both_routes_have_the_same_gradient(kind):
    values = parameters(kind, 4, 5, (6,), separation=2.0)
    x, slope = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    y = KINDS[kind](*values).reparameterize(x)
    fast = torch.autograd.grad(y, values, slope, retain_graph=True)
    assert_close(torch.autograd.grad(y, values, slope, create_graph=True), fast, rtol=1e-10, atol=1e-12)
    assert not any(gradient.requires_grad for gradient in fast)


@BOTH
def test_mixtures_can_be_mapped(kind):
    values = parameters(kind, 3, 2, (4,))
    x = torch.randn(4, 2, dtype=torch.float64)

    def cost(x, *values):
        mixture = KINDS[kind](*values, validate_args=False)
        return mixture.reparameterize(x).sin().sum(-1) + mixture.log_prob(x)

    found = torch.vmap(torch.func.grad(cost, argnums=(1, 2, 3)))(x, *values)
    expected = torch.autograd.grad(cost(x, *values).sum(), values)
    assert_close(found, expected)
    draws = torch.vmap(lambda *values: KINDS[kind](*values, validate_args=False).rsample((5,)), randomness="different")
    assert draws(*values).shape == (4, 5, 2)


@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_a_compiled_cost_has_the_same_gradient():
    values = parameters("diagonal", 3, 2, (4,))
    x = torch.randn(4, 2, dtype=torch.float64)

    def cost(*values):
        mixture = MixtureNormal(*values)
        y = mixture.reparameterize(x)
        return y.sin().sum() + mixture.log_prob(y).sum()

    expected = torch.autograd.grad(cost(*values), values)
    assert_close(torch.autograd.grad(torch.compile(cost, backend="aot_eager")(*values), values), expected)


@BOTH
def test_a_draw_may_be_changed_in_place(kind):
    values = parameters(kind, 3, 2, (4,))
    x, slope = torch.randn(2, 4, 2, dtype=torch.float64)
    y = KINDS[kind](*values).reparameterize(x)
    y.mul_(2)
    assert_close(torch.autograd.grad(y, values, slope / 2), moved(kind, values, x, slope))
    assert not torch.equal(x, y)


@BOTH
def test_only_parameters_that_ask_for_it_get_a_gradient(kind):
    for asked in product((False, True), repeat=3):
        values = parameters(kind, 3, 2)
        for value, ask in zip(values, asked, strict=True):
            value.requires_grad_(ask)
        y = KINDS[kind](*values).rsample()
        assert y.requires_grad == any(asked)
        if any(asked):
            y.sum().backward()
        assert [value.grad is not None for value in values] == list(asked)


@BOTH
def test_a_draw_keeps_the_parameters_and_itself_for_the_backward_pass(kind):
    values = parameters(kind, 5, 4, dtype=torch.float32)
    mixture = KINDS[kind](*values)
    kept = saved_bytes(lambda: mixture.rsample((100,)))
    assert kept == sum(value.nbytes for value in values) + 100 * 4 * 4


@BOTH
def test_backward_leaves_what_it_reads_as_it_was(kind):
    values = parameters(kind, 3, 2, (4,))
    x, slope = torch.randn(2, 4, 2, dtype=torch.float64)
    before = [value.detach().clone() for value in (*values, x, slope)]
    moved(kind, values, x, slope)
    assert all(torch.equal(value, copy) for value, copy in zip((*values, x, slope), before, strict=True))


WRONG = {
    "K differs": ((torch.zeros(2), torch.zeros(3, 4), torch.ones(3, 4)), "do not fit together"),
    "D differs": ((torch.zeros(3), torch.zeros(3, 4), torch.ones(3, 5)), "do not fit together"),
    "batches differ": ((torch.zeros(2, 3), torch.zeros(5, 3, 4), torch.ones(3, 4)), "do not fit together"),
    "K to broadcast": ((torch.zeros(3), torch.zeros(1, 4), torch.ones(1, 4)), "do not fit together"),
    "K of scale differs": ((torch.zeros(3), torch.zeros(3, 4), torch.ones(1, 4)), "do not fit together"),
    "logits without K": ((torch.tensor(0.0), torch.zeros(3, 4), torch.ones(3, 4)), "do not fit together"),
    "no D": ((torch.zeros(3), torch.zeros(3), torch.ones(3)), "do not fit together"),
    "a number for loc": ((torch.zeros(3), torch.tensor(0.0), torch.tensor(1.0)), "do not fit together"),
    "scale zero": ((torch.zeros(3), torch.zeros(3, 4), torch.zeros(3, 4)), "Expected parameter scale "),
    "scale negative": ((torch.zeros(3), torch.zeros(3, 4), -torch.ones(3, 4)), "Expected parameter scale "),
    "scale NaN": ((torch.zeros(3), torch.zeros(3, 4), math.nan * torch.ones(3, 4)), "Expected parameter scale "),
    "loc NaN": ((torch.zeros(3), math.nan * torch.zeros(3, 4), torch.ones(3, 4)), "Expected parameter loc "),
    "logits NaN": ((math.nan * torch.zeros(3), torch.zeros(3, 4), torch.ones(3, 4)), "Expected parameter logits "),
    "all off": (
        (torch.tensor([[0.0, OFF], [OFF, OFF]]), torch.zeros(2, 4), torch.ones(2, 4)),
        "each row of logits must have a finite maximum",
    ),
    "logits infinite": (
        (torch.tensor([0, math.inf]), torch.zeros(2, 4), torch.ones(2, 4)),
        "each row of logits must have a finite maximum",
    ),
}


@pytest.mark.parametrize("what", WRONG)
@BOTH
def test_parameters_that_make_no_mixture_are_refused_by_name(kind, what):
    (logits, loc, scale), words = WRONG[what]
    spread = scale.diag_embed() if kind == "full" and scale.dim() else scale
    words = words.replace("parameter scale ", "parameter scale_tril ") if kind == "full" else words
    with pytest.raises(ValueError, match=words):
        KINDS[kind](logits, loc, spread, validate_args=True)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"scale \(\*batch, K, D\) do not fit.*: got \(2,\), \(3, 4\), \(3, 4\)"):
        MixtureNormal(torch.zeros(2), torch.zeros(3, 4), torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"scale_tril \(\*batch, K, D, D\) do not .*\(3,\), \(3, 4\), \(3, 4, 5\)"):
        MixtureMultivariateNormal(torch.zeros(3), torch.zeros(3, 4), torch.ones(3, 4, 5))


@pytest.mark.parametrize(
    "matrix", [[[1.0, 0.1], [0.0, 1.0]], [[-1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.0]], [[math.nan, 0], [0, 1]]]
)
def test_scale_tril_must_be_lower_triangular_with_a_positive_diagonal(matrix):
    tril = torch.tensor(matrix).expand(3, 2, 2)
    with pytest.raises(ValueError, match="Expected parameter scale_tril"):
        MixtureMultivariateNormal(torch.zeros(3), torch.zeros(3, 2), tril)


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 2), (2, 4, 5), (2,)])
def test_scale_tril_must_be_square(shape):
    with pytest.raises(ValueError, match="do not fit together"):
        MixtureMultivariateNormal(torch.zeros(2), torch.zeros(2, 4), torch.ones(shape))


@BOTH
def test_validation_can_be_left_out(kind):
    logits, loc, spread = parameters(kind, 3, 2)
    mixture = KINDS[kind](logits * math.nan, loc, -spread, validate_args=False)
    assert mixture.log_prob(torch.zeros(2, dtype=torch.float64)).isnan()
    assert mixture.log_prob(torch.full((2,), math.nan, dtype=torch.float64)).isnan()
    assert mixture.expand((3,))._validate_args is False
    assert KINDS[kind].from_mixture_same_family(torchs(kind, logits, loc, spread, False))._validate_args is False


@BOTH
def test_torchs_default_decides_on_validation(kind):
    logits, loc, spread = parameters(kind, 3, 2)
    before = Distribution._validate_args
    try:
        Distribution.set_default_validate_args(False)
        KINDS[kind](logits * math.nan, loc, spread)
        with pytest.raises(ValueError, match="Expected parameter logits"):
            KINDS[kind](logits * math.nan, loc, spread, validate_args=True)
        Distribution.set_default_validate_args(True)
        with pytest.raises(ValueError, match="Expected parameter logits"):
            KINDS[kind](logits * math.nan, loc, spread)
    finally:
        Distribution.set_default_validate_args(before)


@pytest.mark.parametrize("method", ["log_prob", "responsibilities", "reparameterize"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(5), "right-most size of value must match event_shape"),
        (torch.zeros(2, 4), "not broadcastable with batch_shape"),
        (torch.full((3, 4), math.nan), "within the support"),
    ],
)
@BOTH
def test_values_that_cannot_be_are_refused(kind, method, value, words):
    mixture = KINDS[kind](*parameters(kind, 2, 4, (3,), dtype=torch.float32), validate_args=True)
    with pytest.raises(ValueError, match=words):
        getattr(mixture, method)(value)
    with pytest.raises(ValueError, match=words):
        getattr(mixture.expand((2, 3)), method)(value)


@BOTH
def test_the_mixture_prints_the_shapes_of_its_parameters(kind):
    assert repr(KINDS[kind](*parameters(kind, 3, 2, (4,)))).startswith(
        f"{KINDS[kind].__name__}(logits: torch.Size([4, 3]), loc: torch.Size([4, 3, 2]), {NAMES[kind][2]}: "
    )


# --- the rule itself ---


def test_a_logistic_draw_moves_as_its_quantile_does():
    loc = torch.tensor([0.3, -2.0], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([0.7, 1.9], dtype=torch.float64, requires_grad=True)
    u = torch.rand(50, 2, dtype=torch.float64)
    quantile = loc + scale * u.logit()
    x = quantile.detach().requires_grad_()
    cdf = ((x - loc) / scale).sigmoid()
    (density,) = torch.autograd.grad(cdf.sum(), x, retain_graph=True)
    for parameter, expected in ((loc, torch.ones_like(u)), (scale, u.logit())):
        by_parameter = torch.stack([torch.autograd.grad(row.sum(), parameter, retain_graph=True)[0] for row in cdf])
        assert_close(leibniz_gradient(by_parameter, density), expected)


def test_an_exponential_draw_moves_as_its_quantile_does():
    rate, u = torch.tensor(1.7, dtype=torch.float64), torch.rand(50, dtype=torch.float64)
    x = -(1 - u).log() / rate
    found = leibniz_gradient(x * (-rate * x).exp(), rate * (-rate * x).exp())
    assert_close(found, (1 - u).log() / rate**2)


def test_the_density_is_broadcast_over_parameters():
    by_parameters, density = torch.randn(5, 3), torch.rand(5, 1) + 0.1
    assert_close(leibniz_gradient(by_parameters, density), -by_parameters / density)


# --- the sampling estimator ---


def line(K=3, batch=(), dtype=torch.float64, seed=4):
    """A mixture of one dimension: logits, loc, scale (*batch, K)."""
    logits, loc, scale = (value.detach() for value in parameters("diagonal", K, 1, batch, dtype=dtype, seed=seed))
    return logits, loc.squeeze(-1), scale.squeeze(-1)


def exact_gradients(x, logits, loc, scale):
    """What sampled_leibniz_gradient estimates, for points (N,) of one mixture."""
    many = for_each((logits, loc.unsqueeze(-1), scale.unsqueeze(-1)), len(x))
    by_logits, by_loc, by_scale = moved("diagonal", many, x.unsqueeze(-1), torch.ones_like(x).unsqueeze(-1))
    return by_logits, by_loc.squeeze(-1), by_scale.squeeze(-1)


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("sampler", ["exact", "rejection"])
@pytest.mark.parametrize("tail", ["smaller", "larger", "left"])
def test_the_sampling_estimator_is_unbiased_with_every_tail_and_sampler(tail, sampler, n):
    values = line()
    x = torch.tensor([-0.8, 0.1, 0.6, 1.2], dtype=torch.float64)
    found = sampled_leibniz_gradient(x.expand(3000, 4), *values, n, tail=tail, sampler=sampler)
    assert_means(found, exact_gradients(x, *values))


def test_more_draws_shrink_the_variance_of_the_estimate():
    values, x = line(), torch.tensor(0.3, dtype=torch.float64).expand(4000)
    one, many = (sampled_leibniz_gradient(x, *values, n) for n in (1, 25))
    for few, lot in zip(one, many, strict=True):
        ratio = few.var(0) / lot.var(0)
        assert ((ratio > 19) & (ratio < 32)).all()


def test_the_tail_is_the_one_that_is_asked_for():
    values = line()
    for at, same in ((-2.5, "smaller"), (3.0, "larger")):  # left of most, right of most
        x = torch.tensor(at, dtype=torch.float64).expand(50)
        drawn = {
            tail: sampled_leibniz_gradient(x, *values, 3, tail=tail, generator=torch.Generator().manual_seed(1))
            for tail in ("smaller", "larger", "left")
        }
        other = "larger" if same == "smaller" else "smaller"
        assert all(torch.equal(a, b) for a, b in zip(drawn["left"], drawn[same], strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(drawn["left"], drawn[other], strict=True))
        assert drawn["smaller"][0].var(0).max() < drawn["larger"][0].var(0).max() / 100


@pytest.mark.parametrize("far", [30, 60, -60])
def test_the_exact_sampler_reaches_deep_into_the_tail(far):
    values = line()
    x = torch.tensor([float(far)], dtype=torch.float64)
    found = sampled_leibniz_gradient(x.expand(4000), *values, 2)
    for gradient, expected in zip(found, exact_gradients(x, *values), strict=True):
        assert_means([gradient], [expected])
        assert_close(gradient.mean(0), expected[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tail", ["smaller", "larger", "left"])
def test_the_estimate_of_single_precision_is_close_to_that_of_double(tail):
    values = line(dtype=torch.float32)
    x = torch.tensor([-1.0, 0.2, 1.5])
    found = sampled_leibniz_gradient(x.expand(3000, 3), *values, 4, tail=tail)
    assert {gradient.dtype for gradient in found} == {torch.float32}
    doubles = exact_gradients(x.double(), *(value.double() for value in values))
    assert_means([gradient.double() for gradient in found], doubles)


def test_single_precision_reaches_the_tail_as_well():
    values = line(dtype=torch.float32)
    x = torch.tensor([30.0, -60.0])
    found = sampled_leibniz_gradient(x.expand(2000, 2), *values, 4)
    for gradient, expected in zip(found, exact_gradients(x.double(), *map(torch.Tensor.double, values)), strict=True):
        assert_close(gradient.mean(0).double(), expected, rtol=1e-2, atol=1e-2)


def test_one_component_is_estimated_too():
    _, *others = line(K=1)
    x = torch.tensor([0.4, -1.3], dtype=torch.float64)
    values = torch.zeros(1, dtype=torch.float64), *others
    by_logits, *found = sampled_leibniz_gradient(x.expand(4000, 2), *values, 2)
    assert (by_logits == 0).all()
    assert_means(found, exact_gradients(x, *values)[1:])


@pytest.mark.parametrize("sampler", ["exact", "rejection"])
def test_a_component_that_is_off_is_not_sampled(sampler):
    _, loc, scale = line()
    logits = torch.tensor([0.2, OFF, -0.1], dtype=torch.float64)
    x = torch.tensor([0.4], dtype=torch.float64)
    found = sampled_leibniz_gradient(x.expand(2000), logits, loc, scale, 2, sampler=sampler)
    assert all((gradient[:, 1] == 0).all() for gradient in found)
    assert_means(found, exact_gradients(x, logits, loc, scale))


@pytest.mark.parametrize("sampler", ["exact", "rejection"])
@pytest.mark.parametrize(
    ("x", "batches", "shape"),
    [
        ((), ((), (), ()), ()),
        ((5,), ((), (), ()), (5,)),
        ((5,), ((5,), (), (5,)), (5,)),
        ((2, 5), ((5,), (2, 1), ()), (2, 5)),
        ((), ((5,), (), ()), (5,)),
        ((0,), ((), (), ()), (0,)),
    ],
)
def test_points_and_parameters_are_broadcast(x, batches, shape, sampler):
    values = tuple(line(3, batch)[i] for i, batch in enumerate(batches))
    points = torch.zeros(x, dtype=torch.float64)
    found = sampled_leibniz_gradient(points, *values, 2, sampler=sampler)
    assert [gradient.shape for gradient in found] == [(*shape, 3)] * 3
    assert not any(gradient.requires_grad for gradient in found)


@pytest.mark.parametrize("sampler", ["exact", "rejection"])
def test_each_point_is_estimated_under_its_own_parameters(sampler):
    values = line(3, (4, 2))
    x = torch.tensor([0.3, -0.4], dtype=torch.float64).expand(4, 2)
    repeated = x.expand(2000, 4, 2)
    found = sampled_leibniz_gradient(repeated, *values, 1, sampler=sampler)
    for i, j in product(range(4), range(2)):
        exact = exact_gradients(x[i, j].view(1), *(value[i, j] for value in values))
        assert_means([gradient[:, i, j] for gradient in found], exact)


def test_parameters_that_ask_for_a_gradient_may_be_given():
    logits, loc, scale = (value.requires_grad_() for value in line())
    found = sampled_leibniz_gradient(torch.zeros(2, dtype=torch.float64, requires_grad=True), logits, loc, scale, 2)
    assert not any(gradient.requires_grad for gradient in found)


@pytest.mark.parametrize("sampler", ["exact", "rejection"])
def test_a_generator_makes_an_estimate_come_again_and_leaves_torchs_alone(sampler):
    values, x = line(), torch.zeros(3, dtype=torch.float64)
    before = torch.get_rng_state()
    one, two, other = (
        sampled_leibniz_gradient(x, *values, 4, sampler=sampler, generator=torch.Generator().manual_seed(seed))
        for seed in (5, 5, 6)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(left, right) for left, right in zip(one, two, strict=True))
    assert not any(torch.equal(left, right) for left, right in zip(one, other, strict=True))


@pytest.mark.parametrize("sampler", ["exact", "rejection"])
def test_without_a_generator_torchs_own_draws(sampler):
    values, x = line(), torch.zeros(3, dtype=torch.float64)
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(sampled_leibniz_gradient(x, *values, 4, sampler=sampler))
    assert all(torch.equal(left, right) for left, right in zip(*drawn, strict=True))


def test_the_share_of_a_tail_is_that_of_the_mixture():
    half, far = torch.zeros(2, dtype=torch.float64), torch.tensor([0.0, 30.0], dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"its share is u = 1\.43e-07"):  # half of Φ(−5)
        sampled_leibniz_gradient(
            torch.tensor(-5.0).double(),
            half,
            far,
            torch.ones(2).double(),
            1,
            tail="left",
            sampler="rejection",
            max_proposals=50,
        )


def test_a_tail_that_no_proposal_reaches_is_named():
    values = torch.zeros(1), torch.zeros(1), torch.ones(1)
    for x, tail in ((-5.0, "left"), (5.0, "smaller"), (-5.0, "smaller")):
        words = f"none of 1,000 proposals fell into the tail at x = {x:g}: its share is u = 2.87e-07"
        with pytest.raises(RuntimeError, match=words):
            sampled_leibniz_gradient(
                torch.tensor([0.0, x]), *values, 2, tail=tail, sampler="rejection", max_proposals=1000
            )
    assert inspect.signature(sampled_leibniz_gradient).parameters["max_proposals"].default == 10_000


def test_proposals_are_counted_for_each_draw():
    values = torch.zeros(1), torch.zeros(1), torch.ones(1)
    x = torch.full((1000,), 9.0)
    sampled_leibniz_gradient(x, *values, 3, tail="left", sampler="rejection", max_proposals=1)
    with pytest.raises(RuntimeError, match="none of 1 proposals"):
        sampled_leibniz_gradient(x, *values, 3, tail="smaller", sampler="rejection", max_proposals=1)


@pytest.mark.parametrize(
    ("n", "options", "words"),
    [
        (3, {"tail": "right"}, "tail must be one of smaller, larger, left, got 'right'"),
        (3, {"sampler": "gibbs"}, "sampler must be one of exact, rejection, got 'gibbs'"),
        (0, {}, "n and max_proposals must be at least 1, got 0 and 10000"),
        (3, {"max_proposals": 0}, "n and max_proposals must be at least 1, got 3 and 0"),
    ],
)
def test_estimates_that_cannot_be_are_refused(n, options, words):
    with pytest.raises(ValueError, match=words):
        sampled_leibniz_gradient(torch.zeros(2), *line(dtype=torch.float32), n, **options)


def test_a_uniform_of_one_is_no_draw_at_infinity(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *sizes, **options: torch.zeros(*sizes, dtype=options["dtype"]))
    values = torch.zeros(2), torch.tensor([-0.5, 0.5]), torch.ones(2)
    for x in (7.0, -7.0):
        found = sampled_leibniz_gradient(torch.tensor([x]), *values, 4, tail="larger")
        assert all(gradient.isfinite().all() for gradient in found)


def test_an_estimate_in_a_wide_gap_is_no_nan():
    values = torch.zeros(2), torch.tensor([-15.0, 15.0]), torch.ones(2)
    found = sampled_leibniz_gradient(torch.tensor([-0.5, 0.0, 0.5]), *values, 4)
    assert not any(gradient.isnan().any() for gradient in found)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_inverse_of_the_logarithm_of_the_normal_is_scipys(dtype, rtol):
    y = -torch.logspace(-3, 5, 2000, dtype=torch.float64)
    found = module._inverse_log_ndtr(y.to(dtype)).double().numpy()
    np.testing.assert_allclose(found, special.ndtri_exp(y.to(dtype).double().numpy()), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("scale", [2e-4, 1e-5, 1e-9])
def test_a_narrow_component_beside_a_broad_one_loses_no_digits(scale):
    found = []
    for dtype in (torch.float32, torch.float64):
        logits = torch.tensor([0.8, 0.2], dtype=dtype).log().requires_grad_()
        loc, scales = torch.tensor([[0.0], [-1.0]], dtype=dtype), torch.tensor([[1.0], [scale]], dtype=dtype)
        moved = MixtureNormal(logits, loc, scales).reparameterize(torch.tensor([-0.5371], dtype=dtype))
        found.append(torch.autograd.grad(moved.sum(), logits)[0].double())
    # To the right of the narrow one: w = π (1 − F(x)) / f(x) with f that of the broad one.
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1)
    x = torch.tensor(-0.5371, dtype=torch.float64)
    expected = 0.2 * (1 - normal.cdf(x)) / normal.log_prob(x).exp()
    assert_close(found[1], torch.stack((expected, -expected)), rtol=1e-6, atol=0)
    assert_close(found[0], found[1], rtol=1e-4, atol=0)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("create_graph", [False, True])
@BOTH
def test_an_overflow_of_the_cost_is_seen_in_every_gradient_of_its_own_draw(kind, create_graph, K, bad):
    values = parameters(kind, K, 3, (4,), dtype=torch.float32)
    x = KINDS[kind](*values).rsample()
    slope = torch.ones(4, 3)
    slope[2, 1] = bad
    for gradient in torch.autograd.grad(x, values, slope, create_graph=create_graph):
        assert gradient[[0, 1, 3]].isfinite().all()
        seen = gradient[2].isnan()
        assert (seen | torch.ones_like(seen).triu(1).bool()).all() if gradient.dim() == 4 else seen.all()


def test_a_gradient_scaler_notices_an_overflow():
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.SGD([logits], 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    draw = MixtureNormal(logits, torch.randn(3, 2), torch.ones(3, 2)).rsample((5,))
    scaler.scale((100 * draw).sum()).backward()
    scaler.step(optimizer)
    assert (logits == 0).all()


def test_half_precision_gets_the_gradient_of_single_precision_in_its_own_dtype():
    torch.manual_seed(0)
    wide = torch.randn(3), torch.randn(3, 2), 0.5 + torch.rand(3, 2)
    narrow = [p.bfloat16().requires_grad_() for p in wide]
    x = MixtureNormal(*narrow).sample((20,))
    found = torch.autograd.grad(MixtureNormal(*narrow).reparameterize(x).float().sum(), narrow)
    same = [p.detach().float().requires_grad_() for p in narrow]
    expected = torch.autograd.grad(MixtureNormal(*same).reparameterize(x.float()).sum(), same)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.bfloat16
        assert_close(a.float(), b, rtol=0.02, atol=0.02)


def test_a_component_that_is_off_leaves_the_value_of_the_surrogate_finite():
    mixture = MixtureNormal(torch.tensor([0.0, -math.inf]), torch.randn(2, 2), torch.ones(2, 2))
    x = mixture.sample((5,)).requires_grad_()
    cost = x.square().sum(-1)
    assert_close(rao_blackwell_surrogate(mixture, x, cost), cost.sum())


def test_full_covariances_that_lean_differently_have_a_gradient_of_infinite_variance():
    """The second moment for a logit over growing squares: two components, x₂ = ±b x₁ + noise, cost x₂."""
    moments = {}
    for b in (0.7, 1.3):
        tril = torch.tensor([[[1.0, 0.0], [b, 1.0]], [[1.0, 0.0], [-b, 1.0]]], dtype=torch.float64)
        axis = torch.linspace(-10, 10, 401, dtype=torch.float64)
        wide = torch.linspace(-25, 25, 1001, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, wide)
        logits = torch.zeros(len(grid), 2, dtype=torch.float64, requires_grad=True)
        mixture = MixtureMultivariateNormal(logits, torch.zeros(2, 2, dtype=torch.float64), tril, validate_args=False)
        (found,) = torch.autograd.grad(mixture.reparameterize(grid)[:, 1].sum(), logits)
        mass = mixture.log_prob(grid).exp().detach() * 0.05**2
        squares = mass * found[:, 0].square()
        moments[b] = [float(squares[grid[:, 0].abs() <= reach].sum()) for reach in (4, 6, 10)]
    assert moments[0.7][2] == pytest.approx(moments[0.7][1], rel=1e-2)
    assert moments[1.3][1] > 100 * moments[1.3][0]
    assert moments[1.3][2] > 100 * moments[1.3][1]


# --- numbers at the ends of their range ---


@pytest.mark.parametrize("scale", [3e-20, 1e-30])
@BOTH
def test_tiny_scales_have_finite_gradients(kind, scale):
    logits, loc = torch.zeros(2, requires_grad=True), torch.tensor([[0.0, 0.0], [1.0, 1.0]], requires_grad=True)
    spread = torch.tensor([[scale, scale], [1.0, 1.0]])
    spread = (spread.diag_embed() if kind == "full" else spread).requires_grad_()
    values = logits, loc, spread
    mixture = KINDS[kind](*values)
    x = mixture.rsample((50,))
    doubles = tuple(value.detach().double().requires_grad_() for value in values)
    slope = torch.ones_like(x)
    expected = moved(kind, doubles, x.detach().double(), slope.double())
    for gradient, right in zip(torch.autograd.grad(x, values, slope), expected, strict=True):
        assert_close(gradient.double(), right, rtol=1e-4, atol=1e-5)
    log_prob = mixture.log_prob(x.detach())
    assert_close(log_prob.double(), KINDS[kind](*doubles).log_prob(x.detach().double()), rtol=1e-5, atol=1e-4)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(log_prob.sum(), values))


@pytest.mark.parametrize("far", [1e19, 1e20, -1e30])
@BOTH
def test_values_whose_squares_overflow_have_the_right_share_and_slope(kind, far):
    values = settings(False, 3, 2, torch.float32)
    values = (*values[:2], values[2].detach().diag_embed().requires_grad_()) if kind == "full" else values
    x = torch.full((2,), far, requires_grad=True)
    mixture = KINDS[kind](*values)
    doubles = tuple(value.detach().double() for value in values)
    wide = x.detach().double().requires_grad_()
    log_prob = KINDS[kind](*doubles).log_prob(wide)
    assert_close(mixture.log_prob(x), log_prob.float())
    share = mixture.responsibilities(x)
    assert share.sum() == share.max() == 1
    assert_close(torch.autograd.grad(mixture.log_prob(x), x)[0], torch.autograd.grad(log_prob, wide)[0].float())
    moves = moved(kind, values, x.detach(), torch.ones(2))
    for gradient, right in zip(
        moves,
        moved(kind, tuple(v.requires_grad_() for v in doubles), wide.detach(), torch.ones(2).double()),
        strict=True,
    ):
        assert gradient.isfinite().all()
        assert_close(gradient.double(), right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("dtype", "far"), [(torch.float64, 1e160), (torch.float32, math.inf)])
@BOTH
def test_values_too_far_for_double_precision_are_named(kind, dtype, far):
    mixture = KINDS[kind](*parameters(kind, 3, 2, dtype=dtype))
    for method in (mixture.log_prob, mixture.responsibilities):
        with pytest.raises(ValueError, match="value is too far from every component"):
            method(torch.full((2,), far, dtype=dtype))


@pytest.mark.parametrize("i", [1, 2])
@BOTH
def test_means_and_scales_must_be_finite(kind, i):
    values = [value.detach() for value in parameters(kind, 3, 2)]
    values[i][(1,) * values[i].dim()] = math.inf
    with pytest.raises(ValueError, match=f"{NAMES[kind][i]} must be finite, got"):
        KINDS[kind](*values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@BOTH
def test_half_precision_is_computed_in_single_precision_and_given_back_in_half(kind, dtype):
    narrow = parameters(kind, 3, 2, dtype=dtype)
    single = tuple(value.detach().float().requires_grad_() for value in narrow)
    mixture, wide = KINDS[kind](*narrow), KINDS[kind](*single)
    x = mixture.rsample((20,))
    assert x.dtype == dtype
    slope = torch.ones_like(x)
    for gradient, right in zip(
        torch.autograd.grad(x, narrow, slope), moved(kind, single, x.detach().float(), slope.float()), strict=True
    ):
        assert_close(gradient, right.to(dtype))
    x = x.detach()
    for name in ("log_prob", "responsibilities"):
        found = getattr(mixture, name)(x)
        assert_close(found, getattr(wide, name)(x.float()).to(dtype))
    leaf = x.clone().requires_grad_()
    loss = rao_blackwell_surrogate(mixture, leaf, leaf.sum(-1))
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, narrow))


def test_a_square_that_overflows_in_half_precision_does_no_harm():
    mixture = MixtureNormal(*(value.half() for value in (torch.zeros(3), torch.zeros(3, 1), torch.ones(3, 1))))
    x = torch.tensor([300.0], dtype=torch.float16)
    assert mixture.log_prob(x).item() == pytest.approx(-45000.919, rel=1e-3)
    assert_close(mixture.responsibilities(x), torch.full((3,), 1 / 3).half())


# --- what users of other libraries report ---


@BOTH
def test_whole_numbers_are_no_parameters_but_may_be_values(kind):
    logits, loc, spread = (value.detach() for value in parameters(kind, 3, 2))
    for values in ((logits.long(), loc, spread), (logits, loc.long(), spread), (logits, loc, spread.long())):
        with pytest.raises(TypeError, match=f"logits, loc and {NAMES[kind][2]} must be tensors of floating point, got"):
            KINDS[kind](*values)
    with pytest.raises(TypeError, match="must be tensors of floating point"):
        KINDS[kind]([0.0, 0.0, 0.0], loc, spread)
    mixture, zeros = KINDS[kind](*parameters(kind, 3, 2)), torch.zeros(2, dtype=torch.float64)
    assert_close(mixture.log_prob(torch.zeros(2, dtype=torch.int64)), mixture.log_prob(zeros))
    assert mixture.reparameterize(torch.zeros(2, dtype=torch.int64)).requires_grad


@BOTH
def test_dtypes_may_differ(kind):
    logits, loc, spread = parameters(kind, 3, 2, dtype=torch.float32)
    values = logits.detach().double().requires_grad_(), loc, spread
    mixture = KINDS[kind](*values)
    x = mixture.rsample((4,))
    assert [gradient.dtype for gradient in torch.autograd.grad(x.sum(), values)] == [value.dtype for value in values]
    assert mixture.log_prob(x).dtype == mixture.responsibilities(x).dtype == torch.float64


@BOTH
def test_an_empty_batch_is_valid(kind):
    values = parameters(kind, 2, 3, (0,))
    mixture = KINDS[kind](*values)
    x = mixture.rsample((4,))
    assert x.shape == (4, 0, 3)
    assert mixture.log_prob(x).shape == (4, 0)
    assert mixture.responsibilities(x).shape == (4, 0, 2)
    assert mixture.reparameterize(x).shape == (4, 0, 3)
    assert [gradient.shape for gradient in torch.autograd.grad(x.sum(), values)] == [value.shape for value in values]


@BOTH
def test_a_mixture_of_nothing_is_refused(kind):
    for K, D in ((0, 2), (2, 0)):
        with pytest.raises(ValueError, match="do not fit together"):
            KINDS[kind](*parameters(kind, K, D))


@BOTH
def test_copies_and_pickles_are_the_same_mixture(kind):
    values = parameters(kind, 3, 2)
    mixture, x = KINDS[kind](*values), torch.zeros(2, dtype=torch.float64)
    for other in (copy.deepcopy(mixture), copy.copy(mixture), pickle.loads(pickle.dumps(mixture.expand((4,))))):
        assert type(other) is KINDS[kind]
        assert_close(other.log_prob(x), mixture.log_prob(x).expand(other.batch_shape))
        assert other.rsample().requires_grad


@BOTH
def test_other_distributions_take_it_as_a_base(kind):
    values = parameters(kind, 3, 2, (4,))
    mixture = KINDS[kind](*values)
    joint = Independent(mixture, 1)
    x = joint.rsample((5,))
    assert joint.has_rsample
    assert joint.event_shape == (4, 2)
    assert_close(joint.log_prob(x), mixture.log_prob(x).sum(-1))
    positive = TransformedDistribution(mixture, [ExpTransform()])
    y = positive.rsample((5,))
    assert positive.has_rsample
    assert_close(positive.log_prob(y), mixture.log_prob(y.log()) - y.log().sum(-1))
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(y.sum(), values))


@BOTH
def test_divergences_are_not_implemented(kind):
    mixture = KINDS[kind](*parameters(kind, 3, 2))
    with pytest.raises(NotImplementedError, match="No KL"):
        kl_divergence(mixture, mixture)


@BOTH
def test_sums_that_overflow_are_no_error(kind):
    _, _, spread = parameters(kind, 3, 2, dtype=torch.float32)
    mixture = KINDS[kind](torch.zeros(3), torch.full((3, 2), 2e38), spread)
    assert mixture.rsample().isfinite().all()


def test_many_components_of_few_draws_need_memory_for_the_drawn_only():
    mixture = MixtureNormal(torch.zeros(1000), torch.randn(1000, 3), torch.ones(1000, 3), validate_args=False)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as recorded:
        mixture.sample((500,))
    events = recorded.profiler.kineto_results.events()
    assert max(event.nbytes() for event in events if event.name() == "[memory]") < 100_000
