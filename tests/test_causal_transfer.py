"""Closed forms against autograd, Bayes in plain probabilities, scipy, scikit-learn and torch.distributions."""

import copy
import io
import math
import warnings

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.mixture import GaussianMixture as SklearnMixture
from torch.distributions import Categorical, Dirichlet, MixtureSameFamily, Normal

from workedpapers.causal_transfer import (
    GaussianMixture,
    MixtureDensityNetwork,
    TabularModel,
    adapt,
    optimal_belief,
    structural_gradient,
    structural_loss,
)


def double(*sizes, seed=0):
    return torch.randn(sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def joint(*sizes, seed=0):
    return double(*sizes, seed=seed).flatten(-2).softmax(-1).view(sizes)


def model(*sizes, seed=0):
    return TabularModel(double(*sizes[:-1], seed=seed), double(*sizes, seed=seed + 1))


def stream(*sizes, N, M, seed=0):
    """Values of cause and effect, shape (*sizes, 2), with many that repeat."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(n, sizes, generator=generator) for n in (N, M)], -1)


def intervention(runs, N, seed=0):
    """p and q of an intervention on the cause, eq. (CT.2): another marginal, the mechanism kept."""
    before, after = (double(runs, N, 1, seed=seed + i).softmax(1) for i in (1, 2))
    mechanism = double(runs, N, N, seed=seed).softmax(-1)
    return before * mechanism, after * mechanism


def by_autograd(start, samples, lr, q=None):
    """One run at a time: torch's SGD on the mean log-likelihood of each batch, scored before the step."""
    scores, expected = [], []
    logits, table = (values.clone().requires_grad_() for values in start)
    optimizer = torch.optim.SGD([logits, table], lr)
    for batch in samples:
        log_joint = torch.stack([logits.log_softmax(0)[a] + table.log_softmax(1)[a] for a in range(len(logits))])
        score = torch.stack([log_joint[a, b] for a, b in batch.tolist()])
        scores.append(score.sum().item())
        expected.append(None if q is None else (q * log_joint).sum().item())
        optimizer.zero_grad()
        (-score.mean()).backward()
        optimizer.step()
    if q is not None:
        expected.append((q * (logits.log_softmax(0).unsqueeze(1) + table.log_softmax(1))).sum().item())
    return scores, logits.detach(), table.detach(), expected


def close(left, right, tolerance=1e-12):
    torch.testing.assert_close(torch.as_tensor(left), torch.as_tensor(right), rtol=tolerance, atol=tolerance)


# Tables


@pytest.mark.parametrize("sizes", [(4, 4), (3, 2, 5), (2, 3, 5, 2), (0, 3, 2), (1, 1)])
def test_the_fit_of_a_joint_is_the_joint(sizes):
    p = joint(*sizes)
    for table in (p, p.mT):
        fitted = TabularModel.from_joint(table)
        close(fitted.log_joint().exp(), table)
        close(fitted.logits_cause.exp(), table.sum(-1))  # logits are log-probabilities
        close(fitted.logits_effect_given_cause.exp().sum(-1), torch.ones(table.shape[:-1], dtype=torch.float64))


def test_cells_of_probability_zero_are_log_probabilities_of_minus_infinity():
    p = torch.tensor([[0.5, 0.0], [0.0, 0.0], [0.25, 0.25]], dtype=torch.float64)
    fitted = TabularModel.from_joint(p)
    close(fitted.log_joint(), p.log())
    close(fitted.logits_effect_given_cause[1].exp(), torch.full((2,), 0.5, dtype=torch.float64))  # open: uniform
    close(fitted.expected_log_likelihood(p), -torch.special.entr(p).sum())
    assert fitted.expected_log_likelihood(torch.full_like(p, 1 / 6)) == -math.inf
    close(TabularModel.from_joint(p.mT).log_joint(), p.mT.log())


def test_an_excluded_value_stays_excluded_through_adaptation():
    p = torch.tensor([[0.5, 0.0], [0.0, 0.0], [0.25, 0.25]], dtype=torch.float64)
    start, allowed = TabularModel.from_joint(p), torch.tensor([[0, 0], [2, 1], [2, 0]])
    for samples in (allowed.view(3, 1, 2), allowed.view(1, 3, 2)):  # row by row, and by counts
        result = adapt(start, samples, 1.0, joint=p)
        assert result.model.log_joint()[p == 0].eq(-math.inf).all()
        close(result.expected[-1], (p[p > 0] * result.model.log_joint()[p > 0]).sum())
        assert result.log_likelihood.isfinite().all()
        forbidden = adapt(start, torch.cat([samples, torch.zeros_like(samples) + torch.tensor([0, 1])]), 1.0, joint=p)
        assert forbidden.log_likelihood[-1] == -math.inf
        assert forbidden.expected.isfinite().all()
        assert not forbidden.model.log_joint().isnan().any()


def test_log_prob_and_expectation_are_those_of_torchs_categorical():
    tables, pairs, q = model(3, 4, 2), stream(3, 50, N=4, M=2), joint(3, 4, 2)
    cause, effect = pairs.unbind(-1)
    for run in range(3):
        rows = Categorical(logits=tables.logits_effect_given_cause[run, cause[run]])
        reference = Categorical(logits=tables.logits_cause[run]).log_prob(cause[run]) + rows.log_prob(effect[run])
        close(tables.log_prob(cause, effect)[run], reference)
        close(tables.log_prob(cause[0], effect[0])[run], tables.log_prob(cause[:1], effect[:1])[run])  # broadcast
        total = sum(q[run, a, b] * tables.log_joint()[run, a, b] for a in range(4) for b in range(2))
        close(tables.expected_log_likelihood(q)[run], total)
    assert TabularModel(*(values[0] for values in tables)).expected_log_likelihood(q).shape == (3,)


# Adaptation


@pytest.mark.parametrize(("N", "M"), [(4, 4), (6, 2), (2, 5), (1, 3), (3, 1)])
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 17])
def test_steps_are_those_of_sgd_by_autograd(N, M, batch):
    start, samples, q = model(3, N, M), stream(3, 6, batch, N=N, M=M), joint(3, N, M)
    result = adapt(start, samples, 0.7, joint=q)
    for run in range(3):
        scores, logits, table, expected = by_autograd([v[run] for v in start], samples[run], 0.7, q[run])
        close(result.log_likelihood[run], torch.tensor(scores, dtype=torch.float64))
        close(result.model.logits_cause[run], logits)
        close(result.model.logits_effect_given_cause[run], table)
        close(result.expected[run], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_value_that_repeats_in_a_batch_counts_every_time(batch):
    start = model(4, 3)
    samples = torch.tensor([[2, 1]]).expand(1, batch, 2)
    once, result = adapt(start, samples[:, :1], 0.5), adapt(start, samples, 0.5)
    close(result.model.logits_effect_given_cause, once.model.logits_effect_given_cause)
    close(result.log_likelihood, batch * once.log_likelihood)


@pytest.mark.parametrize("batch", [1, 6])
def test_the_likelihood_is_scored_before_the_step_and_the_expectation_at_every_step(batch):
    start, samples, q = model(2, 4, 3), stream(2, 5, batch, N=4, M=3), joint(2, 4, 3)
    result = adapt(start, samples, 1.0, joint=q)
    for t in range(5):
        before = adapt(start, samples[:, :t], 1.0).model
        close(result.log_likelihood[:, t], before.log_prob(*samples[:, t].unbind(-1)).sum(-1))
        close(result.expected[:, t], (q * before.log_joint()).sum((-1, -2)))
    close(result.expected[:, 5], (q * result.model.log_joint()).sum((-1, -2)))


@pytest.mark.parametrize("batch", [1, 6])
def test_runs_broadcast_and_each_has_its_own_rate(batch):
    start, samples, q = model(3, 4, 2), stream(3, 5, batch, N=4, M=2), joint(4, 2)
    rates = torch.tensor([[0.1], [0.5], [2.0], [0.0]], dtype=torch.float64)
    result = adapt(start, samples, rates, joint=q)
    assert result.log_likelihood.shape == (4, 3, 5)
    assert result.expected.shape == (4, 3, 6)
    assert result.model.logits_effect_given_cause.shape == (4, 3, 4, 2)
    for i, rate in enumerate(rates.flatten().tolist()):
        alone = adapt(start, samples, rate, joint=q.expand(3, 4, 2))
        for left, right in zip((*result.model, result[0], result[2]), (*alone.model, alone[0], alone[2]), strict=True):
            close(left[i], right)
    close(result.model.log_joint()[3], start.log_joint())  # a rate of 0 only scores
    one = TabularModel(*(values[1] for values in start))
    shared = adapt(one, samples[:, :, :1], 0.3)
    close(adapt(one, samples[2, :, :1], 0.3).log_likelihood, shared.log_likelihood[2])


@pytest.mark.parametrize("batch", [1, 5])
def test_no_step_and_no_run_are_allowed(batch):
    start, q = model(2, 3, 3), joint(2, 3, 3)
    none = adapt(start, stream(2, 0, batch, N=3, M=3), 1.0, joint=q)
    assert none.log_likelihood.shape == (2, 0)
    close(none.expected, start.expected_log_likelihood(q).unsqueeze(-1))
    close(none.model.log_joint(), start.log_joint())
    empty = adapt(model(0, 3, 3), stream(0, 4, batch, N=3, M=3), 1.0, joint=joint(0, 3, 3))
    assert (empty.log_likelihood.shape, empty.expected.shape) == ((0, 4), (0, 5))
    assert adapt(start, stream(2, 1, batch, N=3, M=3), 1.0).expected is None


@pytest.mark.parametrize("batch", [1, 5])
def test_inputs_of_any_layout_stay_as_they_are_and_the_result_has_no_gradient(batch):
    table = double(4, 2, 3).permute(1, 2, 0).requires_grad_()  # (2, 3, 4)
    start = TabularModel(double(3, 2).T.requires_grad_(), table)
    samples = stream(6, 2, batch, N=3, M=4).transpose(0, 1)
    q = joint(2, 4, 3).mT
    before = [values.clone() for values in (*start, samples, q)]
    result = adapt(start, samples, 0.4, joint=q)
    for value, kept in zip((*start, samples, q), before, strict=True):
        assert torch.equal(value, kept)
    reference = adapt(TabularModel(*before[:2]), before[2].contiguous(), 0.4, joint=before[3].contiguous())
    for left, right in zip((*result.model, result[0], result[2]), (*reference.model, *reference[::2]), strict=True):
        assert torch.equal(left, right)
        assert left.is_contiguous()
        assert not left.requires_grad
    result.model.logits_cause.zero_()  # it shares no memory with the start
    assert torch.equal(start.logits_cause, before[0])


@pytest.mark.parametrize("batch", [1, 8])
def test_single_precision_stays_near_double(batch):
    start, samples, q = model(5, 6, 6), stream(5, 50, batch, N=6, M=6), joint(5, 6, 6)
    exact = adapt(start, samples, 1.0, joint=q)
    result = adapt(TabularModel(*(v.float() for v in start)), samples, 1.0, joint=q.float())
    for left, right in zip((*result.model, result[0], result[2]), (*exact.model, exact[0], exact[2]), strict=True):
        assert left.dtype == torch.float32
        torch.testing.assert_close(left.double(), right, rtol=1e-4, atol=1e-4)


def test_rows_and_counts_agree_far_from_probabilities_that_can_be_held():
    """Logits whose softmax underflows still have log-probabilities."""
    start = TabularModel(torch.tensor([0.0, -2000.0]), torch.tensor([[0.0, -3000.0], [0.0, 1.0]]))
    result = adapt(start, torch.tensor([[[1, 0]], [[0, 1]]]), 1.0)
    close(result.log_likelihood[0], torch.tensor(-2000 - math.log(1 + math.e)), 1e-6)
    close(result.log_likelihood[1], torch.tensor(-3000.0), 1e-3)


# What the paper says of the two models


@pytest.mark.parametrize("N", [2, 10])
def test_both_directions_start_equal_and_the_causal_one_adapts_faster(N):
    p, q = intervention(200, N)
    samples = torch.multinomial(q.flatten(1), 20, replacement=True, generator=torch.Generator().manual_seed(0))
    samples = torch.stack([samples // N, samples % N], -1).unsqueeze(2)
    causal = adapt(TabularModel.from_joint(p), samples, 1.0, joint=q)
    other = adapt(TabularModel.from_joint(p.mT), samples.flip(-1), 1.0, joint=q.mT)
    close(causal.expected[:, 0], other.expected[:, 0])
    close(causal.log_likelihood[:, 0], other.log_likelihood[:, 0])
    assert causal.log_likelihood.sum(1).mean() > other.log_likelihood.sum(1).mean() + 0.5


def test_the_mechanism_that_stayed_stands_still_on_average_and_the_other_does_not():
    """Eqs. (CT.6) and (CT.7)."""
    p, q = intervention(50, 10)
    for table, target, moves in ((p, q, False), (p.mT, q.mT, True)):
        logits, rows = (values.requires_grad_() for values in TabularModel.from_joint(table))
        TabularModel(logits, rows).expected_log_likelihood(target).sum().backward()
        assert (rows.grad.abs().max() > 1e-2) == moves
        assert (rows.grad.abs().max() < 1e-15) == (not moves)
        assert logits.grad.abs().max() > 1e-2
    rows = TabularModel.from_joint(p.mT).logits_effect_given_cause.softmax(-1)
    marginal = q.mT.sum(-1, keepdim=True)
    logits, table = (values.requires_grad_() for values in TabularModel.from_joint(p.mT))
    TabularModel(logits, table).expected_log_likelihood(q.mT).sum().backward()
    close(table.grad, marginal * (q.mT / marginal - rows))


def test_squared_distances_of_the_two_directions():
    """Eqs. (CT.17) and (CT.18)."""
    N = 10
    p, q = intervention(20, N)

    def centred(logits):
        return logits - logits.mean(-1, keepdim=True)

    moved = {}
    for name, before, after in (("causal", p, q), ("other", p.mT, q.mT)):
        start, end = TabularModel.from_joint(before), TabularModel.from_joint(after)
        moved[name] = [centred(b) - centred(a) for a, b in zip(start, end, strict=True)]
    close(moved["causal"][1], torch.zeros(20, N, N, dtype=torch.float64), 1e-12)
    close(moved["other"][1], moved["causal"][0].unsqueeze(1).expand(20, N, N))
    causal, other = (sum(v.square().flatten(1).sum(1) for v in moved[name]) for name in ("causal", "other"))
    close(other, N * causal + moved["other"][0].square().sum(1))


@pytest.mark.parametrize("batch", [1, 3, 12])
def test_transposing_an_episode_exchanges_the_models_exactly(batch):
    """Eq. (CT.19)."""
    p, q = intervention(5, 6)
    samples = stream(5, 8, batch, N=6, M=6)

    def both(p, samples, q):
        ab = adapt(TabularModel.from_joint(p), samples, 1.0, joint=q)
        ba = adapt(TabularModel.from_joint(p.mT), samples.flip(-1), 1.0, joint=q.mT)
        return ab.log_likelihood.sum(-1) - ba.log_likelihood.sum(-1), ab.expected - ba.expected

    for left, right in zip(both(p, samples, q), both(p.mT.contiguous(), samples.flip(-1), q.mT.clone()), strict=True):
        assert left.any()
        assert torch.equal(left, -right)


# The structural parameter


def test_the_loss_is_bayes_in_probabilities():
    """Eqs. (CT.9) to (CT.11), without a logarithm."""
    ab, ba, gamma = double(50), double(50, seed=1), double(50, seed=2)
    prior = 1 / (1 + torch.exp(-gamma))
    evidence = prior * ab.exp() + (1 - prior) * ba.exp()
    close(structural_loss(ab, ba, gamma), -evidence.log())
    close(structural_gradient(ab, ba, gamma), prior - prior * ab.exp() / evidence)


def test_the_gradient_in_closed_form_is_that_of_autograd_and_of_finite_differences():
    ab, ba, gamma = (3 * double(40, seed=i) for i in range(3))
    gamma.requires_grad_()
    (slope,) = torch.autograd.grad(structural_loss(ab, ba, gamma).sum(), gamma)
    close(structural_gradient(ab, ba, gamma), slope)
    assert torch.autograd.gradcheck(structural_loss, (ab.requires_grad_(), ba.requires_grad_(), gamma))
    # At Δ = 0 as well, on the seam of the two forms.
    same = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(structural_loss, (same, same.detach().clone().requires_grad_(), gamma[:3]))
    assert torch.autograd.gradcheck(structural_gradient, (ab, ba, gamma))
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (curve,) = torch.autograd.grad(structural_gradient(zero, torch.zeros_like(zero), gamma[:3]).sum(), zero)
    close(curve, -gamma[:3].sigmoid() * (-gamma[:3]).sigmoid())


@settings(deadline=None, max_examples=200)
@given(st.floats(-600, 600), st.floats(-600, 600) | st.floats(-1e-12, 1e-12))
def test_the_gradient_keeps_its_digits(gamma, delta):
    ours = structural_gradient(*(torch.tensor(x, dtype=torch.float64) for x in (delta, 0, gamma)))
    with mpmath.workdps(700):
        after = mpmath.mpf(gamma + delta)  # as it can be held
        change = 1 / (1 + mpmath.exp(-mpmath.mpf(gamma))) - 1 / (
            1 + mpmath.exp(-(mpmath.mpf(gamma) + mpmath.mpf(delta)))
        )
        slack = abs(after - mpmath.mpf(gamma) - mpmath.mpf(delta)) + 5e-13
        assert abs(mpmath.mpf(ours.item()) - change) <= slack * abs(change) + mpmath.mpf(1e-300)


def test_extreme_arguments_have_their_limits():
    big = torch.tensor([1e6, -1e6], dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    close(structural_loss(big, zero, zero), torch.tensor([-1e6 + math.log(2), math.log(2)], dtype=torch.float64))
    close(structural_loss(zero, -big, big), torch.tensor([0.0, -1e6], dtype=torch.float64))
    close(structural_gradient(big, zero, zero), torch.tensor([-0.5, 0.5], dtype=torch.float64))
    close(structural_gradient(zero - 1e6, zero, big), torch.tensor([0.5, 0.0], dtype=torch.float64))
    close(structural_gradient(-2 * big, zero, big), torch.tensor([1.0, -1.0], dtype=torch.float64))
    for dtype in (torch.float32, torch.float64):
        values = [torch.tensor(v, dtype=dtype, requires_grad=True) for v in (-1e6, 1e6, 1e6)]
        structural_loss(*values).backward()
        assert all(value.grad.isfinite() for value in values)


def test_a_model_that_excludes_the_data_loses_its_belief_and_both_leave_nothing_to_believe():
    low, zero, gamma = torch.tensor(-math.inf), torch.tensor(0.0), torch.tensor(0.3, requires_grad=True)
    for ab, ba, slope in ((low, zero, 0.3), (zero, low, -0.3)):
        (gradient,) = torch.autograd.grad(structural_loss(ab, ba, gamma), gamma)
        expected = torch.sigmoid(torch.tensor(0.3)) - (0 if slope > 0 else 1)
        close(gradient, expected, 1e-6)
        close(structural_gradient(ab, ba, gamma.detach()), expected, 1e-6)
    assert structural_loss(low, low, gamma) == math.inf
    assert structural_gradient(low, low, gamma).isnan()


def test_all_three_broadcast():
    shapes = (5, 1, 4), (3, 1), (1, 1, 1)
    values = [double(*shape, seed=i) for i, shape in enumerate(shapes)]
    for function in (structural_loss, structural_gradient):
        result = function(*values)
        assert result.shape == (5, 3, 4)
        close(result, function(*(v.expand(5, 3, 4) for v in values)))
        close(torch.vmap(function, (0, None, None))(*values[:2], values[2][0]), result)


@pytest.mark.filterwarnings("ignore")
def test_they_compile_in_one_graph():
    def both(*values):
        return structural_loss(*values) + structural_gradient(*values)

    compiled = torch.compile(both, fullgraph=True, backend="eager")
    values = [double(4, seed=i).requires_grad_() for i in range(3)]
    results = [(f(*values), *torch.autograd.grad(f(*values).sum(), values)) for f in (both, compiled)]
    for left, right in zip(*results, strict=True):
        close(left, right)


# The optimal belief


def test_the_optimal_belief_of_two_values_is_kellys():
    """Eq. (CT.15)."""
    deltas = torch.tensor([1.0] * 9 + [-5.0], dtype=torch.float64)
    assert deltas.mean() > 0.39
    close(optimal_belief(deltas), torch.tensor(0.8479, dtype=torch.float64), 1e-4)
    for n, u, d in ((3, 2.0, 0.7), (7, 0.2, 1.5), (1, 3.0, 4.0), (5, 8.0, 1000.0)):
        P = n / 10
        belief = P / -math.expm1(-d) - (1 - P) / math.expm1(u)
        deltas = torch.tensor([u] * n + [-d] * (10 - n), dtype=torch.float64)
        assert abs(optimal_belief(deltas) - min(max(belief, 0), 1)) < 1e-12


@pytest.mark.parametrize("seed", range(12))
def test_the_optimal_belief_is_that_of_scipy(seed):
    deltas = 2 * double(60, seed=seed).exp() - 3 + double(1, seed=seed + 100)

    def risk(belief):
        return -np.log1p(belief * np.expm1(deltas.numpy())).mean()

    best = minimize_scalar(risk, bounds=(0, 1), method="bounded", options={"xatol": 1e-12})
    belief = optimal_belief(deltas).item()
    assert risk(belief) <= best.fun + 1e-13
    assert abs(belief - best.x) < 1e-5


def test_an_end_is_optimal_exactly_where_the_slope_says_so():
    """Eq. (CT.14): on both sides of E[e^−Δ] = 1 and of E[e^Δ] = 1."""
    for sign, end in ((1, 1.0), (-1, 0.0)):
        for slack, inside in ((1e-6, False), (-1e-6, True)):
            # e^−Δ is 0.5 and 1.5 − slack: the mean is 1 − slack/2.
            deltas = sign * -torch.tensor([0.5, 1.5 - slack], dtype=torch.float64).log()
            belief = optimal_belief(deltas)
            assert (belief != end).item() == inside
            assert abs(belief - end) < 1e-5
    exact = -torch.tensor([0.5, 1.5], dtype=torch.float64).log()
    assert abs(optimal_belief(exact) - 1) < 1e-12


def test_extreme_episodes_are_a_vote():
    big = torch.tensor([[1000.0, 1000, 1000, -1000], [1000, -1000, -1000, -1000]], dtype=torch.float64)
    close(optimal_belief(big), torch.tensor([0.75, 0.25], dtype=torch.float64))
    close(optimal_belief(math.inf * big), torch.tensor([0.75, 0.25], dtype=torch.float64))
    close(optimal_belief(big[:, :1]), torch.tensor([1.0, 1.0], dtype=torch.float64))
    close(optimal_belief(-math.inf * big[:, :1]), torch.tensor([0.0, 0.0], dtype=torch.float64))
    result = optimal_belief(torch.tensor([1e3, -1e-3, -1e3]))
    assert result.dtype == torch.float32


def test_where_every_belief_is_optimal_it_is_one_half():
    assert optimal_belief(torch.zeros(2, 3)).tolist() == [0.5, 0.5]
    close(optimal_belief(torch.tensor([1.0, -1.0])), torch.tensor(0.5), 1e-6)
    assert optimal_belief(torch.tensor([1e-30, 0.0])) == 1
    assert optimal_belief(torch.tensor([-1e-30, 0.0])) == 0


def test_exchanging_the_models_exchanges_the_belief():
    deltas = 2 * double(4, 5, 30)
    close(optimal_belief(-deltas), 1 - optimal_belief(deltas), 1e-10)
    assert optimal_belief(deltas).shape == (4, 5)
    assert not optimal_belief(deltas.requires_grad_()).requires_grad


def test_the_mean_loss_is_convex_in_the_belief():
    """Eqs. (CT.12) and (CT.13): by second differences."""
    deltas, beliefs = 3 * double(50), torch.linspace(0.01, 0.99, 197, dtype=torch.float64)
    loss = structural_loss(deltas, torch.zeros(()), beliefs.logit().unsqueeze(1)).mean(1)
    curve = (loss[2:] - 2 * loss[1:-1] + loss[:-2]) / (beliefs[1] - beliefs[0]) ** 2
    assert (curve > 0).all()
    ratio = deltas.expm1() / (1 + beliefs[1:-1].unsqueeze(1) * deltas.expm1())
    torch.testing.assert_close(curve, ratio.square().mean(1), rtol=0.1, atol=0)


# Mixture density network


def data(*runs, n=300, seed=0, dtype=torch.float64):
    given = 2 * double(*runs, n, seed=seed)
    return (given.sin() + 0.3 * double(*runs, n, seed=seed + 1)).to(dtype), given.to(dtype)


def network(runs=(), **options):
    return MixtureDensityNetwork(
        runs=runs, generator=torch.Generator().manual_seed(3), **({"dtype": torch.float64} | options)
    )


class LogProb(torch.nn.Module):
    """As `functional_call` takes it."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, target, given):
        return self.net.log_prob(target, given)


@pytest.mark.parametrize("runs", [(), (3,), (2, 3)])
def test_the_networks_density_is_that_of_torchs_distributions(runs):
    net = network(runs, components=4, hidden_size=6)
    target, given = data(*runs)
    logits, means, log_scales = net(given)
    assert logits.shape == means.shape == log_scales.shape == (*runs, 300, 4)
    reference = MixtureSameFamily(Categorical(logits=logits), Normal(means, log_scales.exp()))
    close(net.log_prob(target, given), reference.log_prob(target))


def test_a_run_is_two_linear_layers_with_tanh_between():
    net = network((3,), components=4, hidden_size=6)
    _, given = data(3)
    for run in range(3):
        hidden, out = torch.nn.Linear(1, 6).double(), torch.nn.Linear(6, 12).double()
        with torch.no_grad():
            hidden.weight.copy_(net.weight_hidden[run].T)
            hidden.bias.copy_(net.bias_hidden[run, 0])
            out.weight.copy_(net.weight_out[run].T)
            out.bias.copy_(net.bias_out[run, 0])
        reference = out(hidden(given[run].unsqueeze(1)).tanh()).chunk(3, 1)
        for ours, theirs in zip(net(given), reference, strict=True):
            close(ours[run], theirs)


def test_the_density_integrates_to_one():
    net = network(components=3)
    grid = torch.linspace(-60, 60, 20_001, dtype=torch.float64)
    for x in (-2.0, 0.5):
        close(
            torch.trapezoid(net.log_prob(grid, torch.full_like(grid, x)).exp(), grid), torch.tensor(1.0).double(), 1e-6
        )


def test_runs_are_trained_as_if_alone():
    target, given = data(3)
    together = network((3,))
    alone = [network() for _ in range(3)]
    for run, net in enumerate(alone):
        net.load_state_dict({name: value[run] for name, value in together.state_dict().items()})
    for net, pairs in ((together, (target, given)), *((net, (target[i], given[i])) for i, net in enumerate(alone))):
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(20):
            optimizer.zero_grad()
            (-net.log_prob(*pairs).mean(-1).sum()).backward()
            optimizer.step()
    for run, net in enumerate(alone):
        for left, right in zip(together.parameters(), net.parameters(), strict=True):
            close(left[run], right, 1e-10)
    assert -together.log_prob(target, given).mean() < -network((3,)).log_prob(target, given).mean() - 0.3


def test_the_networks_gradients_equal_finite_differences():
    net = network((2,), components=2, hidden_size=3)
    target, given = (value.requires_grad_() for value in data(2, n=4))
    names = [name for name, _ in net.named_parameters()]

    def log_prob(target, given, *values):
        parameters = {f"net.{name}": value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(LogProb(net), parameters, (target, given))

    assert torch.autograd.gradcheck(log_prob, (target, given, *net.parameters()))


def test_starting_values_are_those_of_torchs_linear_layers():
    net = MixtureDensityNetwork(runs=(200,))
    assert (net.components, net.hidden_size, net.runs) == (10, 32, (200,))
    assert [(name, tuple(p.shape)) for name, p in net.named_parameters()] == [
        ("weight_hidden", (200, 1, 32)),
        ("bias_hidden", (200, 1, 32)),
        ("weight_out", (200, 32, 30)),
        ("bias_out", (200, 1, 30)),
    ]
    for parameter, bound in zip(net.parameters(), (1, 1, 32**-0.5, 32**-0.5), strict=True):
        assert 0.99 * bound < parameter.abs().max() <= bound
        assert abs(parameter.std() - bound / 3**0.5) < 0.02 * bound
        assert abs(parameter.mean()) < 0.03 * bound


def test_a_generator_decides_the_starting_values():
    first, second = network((2,)), network((2,))
    other = MixtureDensityNetwork(runs=(2,), dtype=torch.float64)
    for a, b, c in zip(first.parameters(), second.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
        assert not torch.equal(a[0], a[1])


def test_the_network_copies_saves_moves_and_prints():
    net = network((2,), components=4)
    target, given = data(2)
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    loaded = MixtureDensityNetwork(4, runs=(2,), dtype=torch.float64)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (loaded, copy.deepcopy(net)):
        assert torch.equal(other.log_prob(target, given), net.log_prob(target, given))
    half = copy.deepcopy(net).to(torch.float32)
    torch.testing.assert_close(
        half.log_prob(target.float(), given.float()).double(), net.log_prob(target, given), rtol=1e-3, atol=1e-3
    )
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert "components=4, hidden_size=32, runs=(2,)" in repr(net)


def test_seeds_can_be_mapped_over_as_well():
    net = network((3,), components=2)
    target, given = data(3)
    single = LogProb(network(components=2))
    parameters = {f"net.{name}": value for name, value in net.named_parameters()}
    mapped = torch.vmap(lambda *arguments: torch.func.functional_call(single, arguments[0], arguments[1:]))
    close(mapped(parameters, target, given), net.log_prob(target, given))


# Mixtures of normals by expectation maximisation


def bimodal(*runs, n=500, seed=0):
    x = double(*runs, n, seed=seed)
    x[..., : n // 3] = 0.4 * x[..., : n // 3] + 5
    return x[..., torch.randperm(n, generator=torch.Generator().manual_seed(seed))]


def mean_log_prob(mixture, x):
    return mixture.log_prob(x).mean(-1)


def test_the_mixtures_density_is_scikit_learns_for_the_same_parameters():
    x = bimodal(3)
    mixture = GaussianMixture.fit(x, 4, 20)
    mixture = mixture._replace(logits=mixture.logits + 3)  # unnormalised
    for run in range(3):
        reference = SklearnMixture(4, covariance_type="diag")
        reference.weights_ = mixture.logits[run].softmax(0).numpy()
        reference.means_ = mixture.loc[run].unsqueeze(1).numpy()
        reference.covariances_ = mixture.scale[run].square().unsqueeze(1).numpy()
        reference.precisions_cholesky_ = 1 / mixture.scale[run].unsqueeze(1).numpy()
        close(mixture.log_prob(x)[run], torch.from_numpy(reference.score_samples(x[run].unsqueeze(1).numpy())))


def test_expectation_maximisation_goes_as_far_as_scikit_learns():
    x = bimodal(2)
    for components in (1, 3):
        ours = mean_log_prob(GaussianMixture.fit(x, components, 100), x)
        for run in range(2):
            reference = SklearnMixture(components, max_iter=100, tol=0, random_state=0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it says that it did not converge
                reference.fit(x[run].unsqueeze(1).numpy())
            assert ours[run] > reference.score(x[run].unsqueeze(1).numpy()) - 0.01


def test_one_iteration_is_the_one_of_scikit_learn():
    x = bimodal()
    start = GaussianMixture.fit(x, 3, 2)
    reference = SklearnMixture(
        3,
        max_iter=1,
        reg_covar=0,
        weights_init=start.logits.softmax(0).numpy(),
        means_init=start.loc.unsqueeze(1).numpy(),
        precisions_init=start.scale.pow(-2).view(3, 1, 1).numpy(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference.fit(x.unsqueeze(1).numpy())
    step = GaussianMixture.fit(x, iterations=1, start=start)
    close(step.logits.softmax(0), torch.from_numpy(reference.weights_), 1e-10)
    close(step.logits.exp().sum(), torch.tensor(1.0).double())
    close(step.loc, torch.from_numpy(reference.means_[:, 0]), 1e-10)
    close(step.scale.square(), torch.from_numpy(reference.covariances_[:, 0, 0]), 1e-10)


@pytest.mark.parametrize("floor", [1e-3, 0.5])
def test_the_likelihood_falls_in_no_iteration_and_a_warm_start_goes_on(floor):
    x = torch.cat([bimodal(2), double(2, 500, seed=5).tanh()])
    warm, previous = None, torch.full((4,), -math.inf, dtype=torch.float64)
    for iterations in range(25):
        mixture = GaussianMixture.fit(x, 10, iterations, floor=floor)
        value = mean_log_prob(mixture, x)
        assert (value >= previous - 1e-12).all()
        previous = value
        warm = GaussianMixture.fit(x, 10, min(iterations, 1), start=warm, floor=floor)
        for left, right in zip(warm, mixture, strict=True):
            close(left, right, 1e-9)
        assert (mixture.scale >= floor).all()
    assert (GaussianMixture.fit(x, floor=0.5).scale == 0.5).any()


def test_without_an_iteration_there_is_the_start():
    x = torch.tensor([3.0, 1.0, 0.0, 2.0, 4.0, 5.0], dtype=torch.float64)
    mixture = GaussianMixture.fit(x, 3, 0)
    assert mixture.loc.tolist() == [1, 3, 5]
    close(mixture.logits.softmax(-1), torch.full((3,), 1 / 3).double(), 1e-7)
    close(mixture.scale, torch.full((3,), np.std(x.numpy()) / 3, dtype=torch.float64))
    assert GaussianMixture.fit(x).loc.shape == (10,)
    assert GaussianMixture.fit(x, 8, 0).loc.tolist() == [0, 1, 1, 2, 3, 4, 4, 5]
    start = GaussianMixture.fit(bimodal(), 2, 0)
    for left, right in zip(GaussianMixture.fit(bimodal(), start=start), GaussianMixture.fit(bimodal(), 2), strict=True):
        close(left, right)
    hundred = GaussianMixture.fit(bimodal(), 2, 100)
    close(GaussianMixture.fit(bimodal(), 2).loc, hundred.loc, 0)


def test_the_mixtures_log_prob_sends_gradients_to_values_and_parameters():
    mixture = GaussianMixture.fit(bimodal(2, n=60), 3, 10)
    value = double(2, 5).requires_grad_()
    parameters = [p.clone().requires_grad_() for p in mixture]
    assert torch.autograd.gradcheck(lambda value, *p: GaussianMixture(*p).log_prob(value), (value, *parameters))
    close(torch.vmap(lambda v, *p: GaussianMixture(*p).log_prob(v))(value, *parameters), mixture.log_prob(value))
    x = bimodal().requires_grad_()
    assert not any(p.requires_grad for p in GaussianMixture.fit(x))


def test_each_run_is_fitted_as_if_alone():
    x = torch.stack([bimodal(), 100 * bimodal(seed=4), bimodal(seed=5) - 1000])
    together = GaussianMixture.fit(x, 4)
    for run in range(3):
        for left, right in zip(together, GaussianMixture.fit(x[run], 4), strict=True):
            close(left[run], right, 1e-9)
    assert GaussianMixture.fit(x.view(3, 1, 500), 2).log_prob(x.view(3, 1, 500)).shape == (3, 1, 500)
    assert GaussianMixture.fit(x[:0], 2).loc.shape == (0, 2)


# What breaks elsewhere


def test_a_target_far_from_every_component_has_a_finite_loss_and_gradient():
    """Mixture density networks of others: loss inf, then NaN (keras #1061, #2586)."""
    net = network((2,), dtype=torch.float32)
    given = torch.tensor([[0.0, 1e4], [-30.0, 0.5]], requires_grad=True)
    for far in (1e3, -1e9, 1e15):
        log_prob = net.log_prob(torch.full((2, 2), far), given)
        assert log_prob.isfinite().all()
        assert (log_prob < -1e3).all()
        net.zero_grad()
        log_prob.sum().backward()
        assert all(p.grad.isfinite().all() for p in net.parameters())


def test_two_samples_far_apart_in_single_precision_have_a_component_each():
    """Variances by differences of squares come out negative (scikit-learn #30382)."""
    mixture = GaussianMixture.fit(torch.tensor([9999.0, 0.0]), 2, floor=0.1)
    assert mixture.loc.sort().values.tolist() == [0, 9999]
    close(mixture.scale, torch.full((2,), 0.1), 1e-6)
    close(mixture.logits.softmax(0), torch.full((2,), 0.5), 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("values", [[2.5] * 20, [0.0, 1.0] * 500, [3.0], [1e6 + k for k in range(5)] * 9])
def test_samples_of_few_values_are_fitted_without_nan(values, dtype):
    """More components than distinct samples: singular covariances and NaN (mlpack #496, pygmmis #6, pycave #56)."""
    x = torch.tensor(values, dtype=dtype)
    mixture = GaussianMixture.fit(x, 10, 200)
    assert not any(v.isnan().any() for v in mixture)
    assert mixture.log_prob(x).isfinite().all()
    best = math.log(1 / len(set(values))) - math.log(1e-3 * math.sqrt(2 * math.pi))  # all at the floor
    assert mixture.log_prob(x).mean() <= best + 1e-4
    if dtype == torch.float64:
        assert mixture.log_prob(x).mean() > best - 1e-6


def test_a_component_that_no_sample_falls_to_goes_off_and_its_gradients_are_finite():
    """Weights of zero in others' mixtures: NaN in the fit (gmm-torch #8) or in the gradient (numpyro #2224)."""
    x = double(100)
    start = GaussianMixture(*(torch.tensor(v, dtype=torch.float64) for v in ([0.0, 0, 0], [-1, 1, 1e5], [1.0, 1, 0.1])))
    mixture = GaussianMixture.fit(x, iterations=5, start=start)
    pair = GaussianMixture.fit(x, iterations=5, start=GaussianMixture(*(v[:2] for v in start)))
    assert mixture.logits[2] == -math.inf
    assert (mixture.loc[2], mixture.scale[2]) == (1e5, 0.1)
    close(mixture.log_prob(x), pair.log_prob(x))
    value, loc, scale = (v.clone().requires_grad_() for v in (x, *mixture[1:]))
    GaussianMixture(mixture.logits, loc, scale).log_prob(value).sum().backward()
    assert all(v.grad.isfinite().all() for v in (value, loc, scale))
    assert loc.grad[2] == 0


def test_a_component_of_less_than_a_digit_stays_in_its_place():
    """A mean of numbers below the least normal one is no mean."""
    x = torch.tensor([0.3, 0.3], dtype=torch.float64)
    # Of each sample, the first has a few units of 5e-324, the second e^−50, which is enough to move.
    for far, moves in ((0.3 + math.sqrt(2 * 743), False), (0.3 + math.sqrt(2 * 50), True)):
        start = GaussianMixture(*(torch.tensor(v, dtype=torch.float64) for v in ([0.0, 0], [0.3, far], [1.0, 1])))
        mixture = GaussianMixture.fit(x, iterations=1, start=start)
        assert abs(mixture.logits[1] + (50 if moves else 743)) < 1
        close(mixture.loc[1], torch.tensor(0.3 if moves else far, dtype=torch.float64))
        close(mixture.scale[1], torch.tensor(1e-3 if moves else 1, dtype=torch.float64))


@pytest.mark.parametrize("N", [64, 100])
def test_a_large_joint_in_single_precision_has_a_sum_near_enough_to_one(N):
    """Thousands of rounded probabilities fail a tolerance of 1e-6 (pytorch #18133)."""
    torch.manual_seed(0)
    p = Dirichlet(torch.ones(N)).sample((20,)).unsqueeze(-1) * Dirichlet(torch.ones(N)).sample((20, N))
    fitted = TabularModel.from_joint(p)
    torch.testing.assert_close(fitted.log_joint().exp(), p, rtol=1e-4, atol=1e-12)
    assert fitted.expected_log_likelihood(p.flip(0)).shape == (20,)


# Errors


def arguments(**changes):
    kept = {"model": model(2, 3, 4), "samples": stream(2, 5, 1, N=3, M=4), "lr": 1.0, "joint": joint(2, 3, 4)} | changes
    return kept.pop("model"), kept.pop("samples"), kept.pop("lr"), kept


def filled(value):
    samples = stream(2, 5, 1, N=3, M=4)
    samples[1, 2, 0] = torch.tensor(value)
    return samples


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model": (1, 2)}, TypeError, "model must be a TabularModel, got tuple"),
        ({"model": TabularModel(double(2, 3), double(2, 2, 4))}, ValueError, r"\(2, 3\) and \(2, 2, 4\)"),
        ({"model": TabularModel(double(3), double(2, 3, 4))}, ValueError, "do not agree"),
        ({"model": TabularModel(double(2, 3), double(2, 3, 0))}, ValueError, "do not agree"),
        ({"model": TabularModel(double(2, 0), double(2, 0, 4))}, ValueError, "do not agree"),
        ({"model": TabularModel(double(3), [1])}, TypeError, "logits_effect_given_cause must be a tensor, got list"),
        (
            {"model": TabularModel(double(2, 3).long(), double(2, 3, 4))},
            TypeError,
            "logits_cause must be torch.float32 or",
        ),
        (
            {"model": TabularModel(double(2, 3).float(), double(2, 3, 4))},
            TypeError,
            "logits_cause is torch.float32 on cpu",
        ),
        (
            {"model": TabularModel(double(), double(3))},
            ValueError,
            r"logits_cause must have at least 1 axes, got shape \(\)",
        ),
        (
            {"model": TabularModel(double(2, 3).log(), double(2, 3, 4))},
            ValueError,
            "each row of logits_cause must have a",
        ),
        (
            {"model": TabularModel(double(2, 3), double(2, 3, 4) - math.inf)},
            ValueError,
            "row of logits_effect_given_cause",
        ),
        ({"model": TabularModel(double(2, 3), double(2, 3, 4) + math.inf)}, ValueError, "finite maximum"),
        ({"samples": [[0, 1]]}, TypeError, "samples must be a tensor, got list"),
        ({"samples": double(2, 5, 1, 2)}, TypeError, "samples must be torch.int64, got torch.float64"),
        ({"samples": torch.zeros(5, 2).long()}, ValueError, r"samples must have at least 3 axes, got shape \(5, 2\)"),
        (
            {"samples": torch.zeros(5, 1, 3).long()},
            ValueError,
            r"\(\*runs, steps, batch, 2\), batch at least 1, got \(5, 1, 3\)",
        ),
        ({"samples": torch.zeros(5, 0, 2).long()}, ValueError, "batch at least 1"),
        (
            {"samples": torch.zeros(7, 5, 1, 2).long()},
            ValueError,
            r"runs do not broadcast: model \(2,\), samples \(7,\), lr",
        ),
        ({"samples": filled([3, 0])}, ValueError, r"the cause in samples must lie in \[0, 2\], got . to 3"),
        ({"samples": filled([0, 4])}, ValueError, r"the effect in samples must lie in \[0, 3\], got . to 4"),
        ({"samples": filled([-1, 0])}, ValueError, r"must lie in \[0, 2\], got -1 to"),
        ({"samples": filled([0, -4])}, ValueError, r"must lie in \[0, 3\], got -4 to"),
        ({"lr": -0.1}, ValueError, "lr must be finite and at least 0, got -0.1"),
        ({"lr": math.inf}, ValueError, "lr must be finite"),
        ({"lr": torch.tensor([1.0, math.nan]).double()}, ValueError, "lr must be finite"),
        ({"lr": "1"}, TypeError, "lr must be a number or a tensor, got '1'"),
        ({"lr": torch.ones(2)}, TypeError, "lr must be torch.float64, got torch.float32"),
        ({"lr": torch.ones(3).double()}, ValueError, r"runs do not broadcast.*lr \(3,\), joint \(2,\)"),
        ({"joint": [1.0]}, TypeError, "joint must be a tensor, got list"),
        ({"joint": joint(4, 3)}, ValueError, r"joint must have shape \(\*runs, 3, 4\), got \(4, 3\)"),
        ({"joint": joint(3, 4).float()}, TypeError, "joint must be torch.float64, got torch.float32"),
        ({"joint": joint(5, 3, 4)}, ValueError, r"joint \(5,\)"),
        ({"joint": joint(3, 4) * 1.001}, ValueError, "joint must have the sum 1 in each run, got"),
        ({"joint": joint(3, 4) * math.nan}, ValueError, "negative number or NaN"),
        ({"joint": joint(3, 4) + torch.tensor([0.3, -0.3, 0, 0])}, ValueError, "joint must hold probabilities"),
        ({"lr": torch.ones(2, device="meta").double()}, ValueError, "lr is on meta, the model on cpu"),
        ({"joint": joint(3, 4).to("meta")}, ValueError, "joint is on meta, the model on cpu"),
        (
            {"samples": torch.zeros(2, 5, 1, 2, device="meta").long()},
            ValueError,
            "samples is on meta, the model on cpu",
        ),
    ],
)
def test_what_adapt_cannot_take_is_named(changes, error, words):
    start, samples, lr, options = arguments(**changes)
    with pytest.raises(error, match=words):
        adapt(start, samples, lr, **options)


def test_what_adapt_takes_is_taken():
    start, samples, lr, options = arguments()
    adapt(start, samples, lr, **options)
    adapt(start, filled([2, 3]), 1, **options)
    adapt(start, filled([0, 0]), lr, joint=joint(3, 4) * (1 + 9e-6))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: TabularModel.from_joint(torch.ones(2, 2)), ValueError, "sum 1"),
        (lambda: TabularModel.from_joint(joint(3, 4) - 0.05), ValueError, "negative"),
        (lambda: TabularModel.from_joint(torch.ones(1)), ValueError, "joint must have at least 2 axes"),
        (
            lambda: TabularModel.from_joint(torch.ones(1, 1).long()),
            TypeError,
            "joint must be torch.float32 or torch.float64",
        ),
        (lambda: TabularModel.from_joint(torch.ones(1, 1).half()), TypeError, "got torch.float16"),
        (
            lambda: model(3, 4).log_prob(torch.tensor([0]), torch.tensor([4])),
            ValueError,
            r"effect must lie in \[0, 3\]",
        ),
        (lambda: model(3, 4).log_prob(torch.tensor([3]), torch.tensor([0])), ValueError, r"cause must lie in \[0, 2\]"),
        (lambda: model(3, 4).log_prob(torch.tensor([-1]), torch.tensor([0])), ValueError, "got -1 to -1"),
        (lambda: model(3, 4).log_prob(torch.tensor(1), torch.tensor(1)), ValueError, "cause must have at least 1 axes"),
        (
            lambda: model(3, 4).log_prob(torch.tensor([1]), torch.tensor([1, 2])),
            ValueError,
            r"cause has shape \(1,\), effect",
        ),
        (lambda: model(3, 4).log_prob(torch.tensor([1.0]), torch.tensor([1])), TypeError, "cause must be torch.int64"),
        (
            lambda: model(2, 3, 4).log_prob(*stream(5, 6, N=3, M=4).unbind(-1)),
            ValueError,
            r"model \(2,\), cause \(5,\)",
        ),
        (lambda: model(3, 4).expected_log_likelihood(joint(4, 3)), ValueError, "joint must have shape"),
        (
            lambda: TabularModel(double(2), double(3)).log_joint(),
            ValueError,
            "logits_effect_given_cause must have at least 2",
        ),
        (lambda: optimal_belief(torch.zeros(3, 0)), ValueError, r"at least one episode, got shape \(3, 0\)"),
        (lambda: optimal_belief(torch.tensor([1.0, math.nan])), ValueError, "NaN"),
        (lambda: optimal_belief(torch.tensor([1, 2])), TypeError, "deltas must be torch.float32 or torch.float64"),
        (lambda: optimal_belief(torch.tensor(1.0)), ValueError, "deltas must have at least 1 axes"),
        (lambda: MixtureDensityNetwork(0), ValueError, "components must be at least 1, got 0"),
        (lambda: MixtureDensityNetwork(2.0), TypeError, "components must be an int, got 2.0"),
        (lambda: MixtureDensityNetwork(2, True), TypeError, "hidden_size must be an int, got True"),
        (lambda: network((3,)).log_prob(*data(2)), ValueError, r"given must have shape \(3, n\), got \(2, 300\)"),
        (lambda: network((3,))(double()), ValueError, r"given must have shape \(3, n\), got \(\)"),
        (lambda: network().log_prob(double(3), double(4)), ValueError, r"target has shape \(3,\), given \(4,\)"),
        (lambda: GaussianMixture.fit(torch.zeros(3, 0)), ValueError, r"at least one value, got shape \(3, 0\)"),
        (lambda: GaussianMixture.fit(torch.tensor([1.0, math.nan])), ValueError, "samples must be finite"),
        (lambda: GaussianMixture.fit(torch.tensor([1, 2])), TypeError, "samples must be torch.float32 or"),
        (lambda: GaussianMixture.fit(torch.tensor(1.0)), ValueError, "samples must have at least 1 axes"),
        (lambda: GaussianMixture.fit(double(9), 0), ValueError, "components must be at least 1, got 0"),
        (lambda: GaussianMixture.fit(double(9), 2, -1), ValueError, "iterations must be an int of at least 0, got -1"),
        (
            lambda: GaussianMixture.fit(double(9), 2, 1.5),
            ValueError,
            "iterations must be an int of at least 0, got 1.5",
        ),
        (lambda: GaussianMixture.fit(double(9), floor=0), ValueError, "floor must be positive and finite, got 0"),
        (
            lambda: GaussianMixture.fit(double(9), floor=math.inf),
            ValueError,
            "floor must be positive and finite, got inf",
        ),
        (
            lambda: GaussianMixture.fit(double(9), start=3),
            TypeError,
            "start must be a GaussianMixture or None, got int",
        ),
        (
            lambda: GaussianMixture.fit(double(9).float(), start=GaussianMixture.fit(double(9))),
            TypeError,
            "start.logits must be torch.float32, got torch.float64",
        ),
        (
            lambda: GaussianMixture.fit(double(2, 9), start=GaussianMixture.fit(double(9))),
            ValueError,
            r"start.logits must have shape \(2, components\) as the others, got \(10,\)",
        ),
        (
            lambda: GaussianMixture.fit(double(9), start=GaussianMixture(double(2), double(3), double(3))),
            ValueError,
            r"start.logits must have shape \(components\) as the others, got \(2,\)",
        ),
        (
            lambda: GaussianMixture.fit(
                double(9), start=GaussianMixture(double(2), double(2), torch.full((2,), 0.1).double()), floor=0.2
            ),
            ValueError,
            "start.scale must be at least floor, 0.2, got 0.1",
        ),
    ],
)
def test_other_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
