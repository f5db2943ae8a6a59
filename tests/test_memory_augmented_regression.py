"""Functions of a Gaussian process, what is best said of them, and the networks that learn to say it."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from torch import nn

from workedpapers.experiments.memory_augmented import regression
from workedpapers.experiments.memory_augmented.regression import (
    AS_MANY,
    NETWORKS,
    PROCESSES,
    RATES,
    REFERENCES,
    REGRESSION,
    SEARCH_REGRESSION,
    START,
    TASKS,
    TUNED_REGRESSION,
    Network,
    Regression,
    parameters,
    train,
)
from workedpapers.lab import chosen, missing, sweep
from workedpapers.tasks.processes import (
    BOUNDS,
    Kernel,
    Points,
    covariance,
    draw_functions,
    evidence,
    fit_kernel,
    learned_predictive,
    negative_log_density,
    predictive,
)

CPU = torch.device("cpu")
TRUE = Kernel(0.6, 1.7, 0.2)
TINY = Regression(length=5, hidden_size=8, slots=5, width=3, updates=3, batch_size=4, steps=2, test_size=9)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sklearn_kernel(kernel):
    length_scale, variance, noise = map(float, kernel)
    return ConstantKernel(variance) * RBF(length_scale) + WhiteKernel(noise**2)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_covariance_is_that_of_scikit_learn(dims):
    x = draw_functions(2, 6, dims, TRUE, generator=generator()).x
    for i, found in enumerate(covariance(x, TRUE)):
        np.testing.assert_allclose(found, sklearn_kernel(TRUE)(x[:, i].numpy()), rtol=1e-12)


def test_each_function_may_have_a_kernel_of_its_own():
    x = draw_functions(2, 4, 2, TRUE, generator=generator()).x
    both = covariance(x, Kernel(torch.tensor([0.6, 0.3]), torch.tensor([1.7, 0.5]), torch.tensor([0.2, 0.9])))
    torch.testing.assert_close(both[:1], covariance(x[:, :1], TRUE), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(both[1:], covariance(x[:, 1:], Kernel(0.3, 0.5, 0.9)), rtol=1e-6, atol=1e-6)


def test_functions_have_the_covariance_that_they_are_drawn_with():
    points = draw_functions(40_000, 3, 1, Kernel(0.5), generator=generator(1))
    assert points.x.shape == (3, 40_000, 1)
    assert (points.x.min(), points.x.max()) == pytest.approx((-1, 1), abs=1e-3)
    assert float(points.x.var()) == pytest.approx(1 / 3, rel=0.02)
    products = points.y.t().unsqueeze(-1) * points.y.t().unsqueeze(1)
    torch.testing.assert_close(products.mean(0), covariance(points.x, Kernel(0.5)).mean(0), atol=0.03, rtol=0)


def test_the_same_seed_draws_the_same_functions_and_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, other = (draw_functions(2, 4, 2, TRUE, generator=generator(5)) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one.y, other.y)
    assert not torch.equal(one.y, draw_functions(2, 4, 2, TRUE, generator=generator(6)).y)


@pytest.mark.parametrize("counts", [(0, 3, 1), (3, 0, 1), (3, 3, 0)])
def test_counts_below_one_are_refused(counts):
    with pytest.raises(ValueError, match=r"batch, length and dims must be at least 1, got \d, \d and \d"):
        draw_functions(*counts, TRUE)


def test_one_factorisation_predicts_as_scikit_learn_does_after_each_point():
    points = draw_functions(2, 6, 2, TRUE, generator=generator())
    mean, variance = predictive(points, TRUE)
    assert variance[0].tolist() == pytest.approx([1.7 + 0.2**2] * 2)
    assert mean[0].tolist() == [0, 0]
    for i in range(2):
        x, y = points.x[:, i].numpy(), points.y[:, i].numpy()
        for seen in range(1, 6):
            peer = GaussianProcessRegressor(sklearn_kernel(TRUE), alpha=0, optimizer=None)
            expected, deviation = peer.fit(x[:seen], y[:seen]).predict(x[seen : seen + 1], return_std=True)
            assert float(mean[seen, i]) == pytest.approx(expected[0], rel=1e-8)
            assert float(variance[seen, i]) == pytest.approx(deviation[0] ** 2, rel=1e-8)


def test_the_evidence_is_the_joint_density():
    points = draw_functions(3, 5, 1, TRUE, generator=generator())
    for i, found in enumerate(evidence(points, TRUE)):
        joint = multivariate_normal(np.zeros(5), covariance(points.x, TRUE)[i].numpy())
        assert float(found) == pytest.approx(-joint.logpdf(points.y[:, i].numpy()), rel=1e-9)


def test_the_density_is_that_of_torch():
    y, mean, log_variance = torch.randn(3, 4, generator=generator(), dtype=torch.float64)
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    torch.testing.assert_close(negative_log_density(y, mean, log_variance), -normal.log_prob(y))


def test_nothing_pays_less_than_the_true_kernel_on_average():
    points = draw_functions(3_000, 8, 1, TRUE, generator=generator(2))
    least = evidence(points, TRUE)
    for other in (Kernel(1.8, 1.7, 0.2), Kernel(0.2, 1.7, 0.2), Kernel(0.6, 1.0, 0.2), Kernel(0.6, 1.7, 0.1)):
        more = evidence(points, other) - least
        assert float(more.mean() / (more.std() / math.sqrt(3_000))) > 4


def test_a_kernel_that_all_share_is_found_again():
    points = draw_functions(100, 8, 1, TRUE, generator=generator())
    found = fit_kernel(points, START, 50)
    assert [float(value) for value in found] == pytest.approx(TRUE, rel=0.2)
    assert not any(value.requires_grad for value in found)


def test_each_function_learns_as_if_it_were_alone():
    points = draw_functions(3, 5, 2, TRUE, generator=generator())
    mean, variance = learned_predictive(points, START, 4)
    for i in range(3):
        alone = learned_predictive(Points(points.x[:, i : i + 1], points.y[:, i : i + 1]), START, 4)
        torch.testing.assert_close(mean[:, i : i + 1], alone[0])
        torch.testing.assert_close(variance[:, i : i + 1], alone[1])


def test_a_learned_kernel_comes_from_the_points_before_and_from_no_later_ones():
    points = draw_functions(2, 6, 1, TRUE, generator=generator())
    mean, variance = learned_predictive(points, START, 5)
    changed = Points(points.x, points.y.clone())
    changed.y[4:] += 1
    for one, other in zip((mean, variance), learned_predictive(changed, START, 5), strict=True):
        assert torch.equal(one[:5], other[:5])
    assert not torch.equal(mean[5:], learned_predictive(changed, START, 5)[0][5:])
    torch.testing.assert_close(variance[0], torch.full((2,), 1 + 0.3**2, dtype=torch.float64))
    kernel = Kernel(*(torch.tensor([value], dtype=torch.float64) for value in START))
    first = Points(points.x[:2, :1], points.y[:2, :1])
    for seen in (1, 2):
        kernel = fit_kernel(Points(first.x[:seen], first.y[:seen]), kernel, 5)
    expected = predictive(Points(points.x[:3, :1], points.y[:3, :1]), kernel)
    torch.testing.assert_close(mean[2, :1], expected[0][2])
    torch.testing.assert_close(variance[2, :1], expected[1][2])


def test_a_learned_kernel_stays_within_its_bounds():
    y = torch.tensor([[1.0], [1.0]], dtype=torch.float64)
    points = Points(torch.tensor([[[0.0]], [[1.0]]], dtype=torch.float64), y)  # two equal values: smooth, no noise
    found = fit_kernel(points, Kernel(*torch.tensor([[10.0], [1.0], [0.02]], dtype=torch.float64)), 100)
    assert float(found.length_scale) == pytest.approx(BOUNDS[0][1])
    assert float(found.noise) == pytest.approx(BOUNDS[2][0])


def test_a_prior_holds_the_kernel_where_data_say_little():
    points = draw_functions(50, 3, 1, TRUE, generator=generator())
    start = Kernel(*(torch.full((50,), value, dtype=torch.float64) for value in START))
    free, held = (fit_kernel(points, start, 100, around=around) for around in (None, START))
    for name, value in START._asdict().items():
        spread = [float((getattr(found, name).log() - math.log(value)).square().mean()) for found in (free, held)]
        assert spread[1] < spread[0] / 2


def test_a_prior_is_a_normal_one_of_the_logarithms():
    nothing = Points(torch.zeros(1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))
    # One value of zero pays ½ log(variance + noise²), which knows no length scale: that goes to the centre.
    found = fit_kernel(nothing, Kernel(*torch.ones(3, 1, dtype=torch.float64)), 600, around=Kernel(0.4, 1.0, 1.0))
    assert float(found.length_scale) == pytest.approx(0.4, rel=1e-3)
    share = float(found.variance / (found.variance + found.noise**2))
    assert float(found.variance.log()) == pytest.approx(-share / 2, rel=1e-3)
    assert float(found.noise.log()) == pytest.approx(-(1 - share), rel=1e-3)


@pytest.mark.parametrize("model", NETWORKS)
def test_a_network_sees_the_input_and_no_value_from_it_on(model):
    torch.manual_seed(0)
    network = Network(replace(TINY, model=model, dims=2))
    points = draw_functions(3, 5, 2, TRUE, generator=generator())
    mean, log_variance = network(points)
    assert mean.shape == log_variance.shape == (5, 3)
    values = Points(points.x, points.y.clone())
    values.y[2:] += 1
    inputs = Points(points.x.clone(), points.y)
    inputs.x[2:] *= 0.5
    for changed, same in ((values, 3), (inputs, 2)):
        for one, other in zip((mean, log_variance), network(changed), strict=True):
            torch.testing.assert_close(one[:same], other[:same])
            assert not torch.isclose(one[same], other[same]).any()


def test_the_arms_named_so_have_as_many_parameters():
    for task in TASKS:
        target = parameters(task)
        for model, hidden_size in AS_MANY.items():
            assert parameters(replace(task, model=model, hidden_size=hidden_size)) == pytest.approx(target, rel=0.03)
    assert parameters(TINY) == sum(parameter.numel() for parameter in Network(TINY).parameters())


def test_training_lowers_the_loss():
    config = replace(TINY, model="lstm", hidden_size=20, learning_rate=0.03, batch_size=16, test_size=100)
    short, longer = (train(replace(config, updates=updates), 0, CPU)["mean_nll"] for updates in (1, 150))
    assert longer < short - 0.1


@pytest.mark.parametrize("model", NETWORKS + PROCESSES)
def test_every_model_is_tested_on_the_same_episodes(model, monkeypatch):
    seen = []
    score = regression._score
    monkeypatch.setattr(regression, "_score", lambda points, *said: seen.append(points) or score(points, *said))
    metrics = train(replace(TINY, model=model), 7, CPU)
    expected = draw_functions(9, 5, 1, Kernel(0.5, 1.0, 0.1), generator=generator(10_007))
    assert torch.equal(seen[0].y, expected.y)
    assert len(metrics["nll"]) == len(metrics["rmse"]) == len(metrics["median_nll"]) == 5
    assert metrics["mean_nll"] == pytest.approx(sum(metrics["nll"]) / 5)


def test_what_is_scored():
    points = Points(torch.zeros(2, 3, 1), torch.tensor([[0.0, 1.0, 5.0], [0.0, 0.0, 0.0]], dtype=torch.float64))
    found = regression._score(points, torch.zeros(2, 3), torch.zeros(2, 3))
    half = 0.5 * math.log(2 * math.pi)
    assert found["nll"] == pytest.approx([half + 26 / 6, half])
    assert found["median_nll"] == pytest.approx([half + 0.5, half])
    assert found["rmse"] == pytest.approx([math.sqrt(26 / 3), 0])
    assert found["mean_nll"] == pytest.approx(half + 13 / 6)


def test_the_wrong_kernels_differ_by_a_factor_of_three():
    assert train(replace(TINY, model="long"), 0, CPU)["kernel"] == pytest.approx([1.5, 1, 0.1])
    assert train(replace(TINY, model="short"), 0, CPU)["kernel"] == pytest.approx([0.5 / 3, 1, 0.1])
    assert train(replace(TINY, model="true"), 0, CPU)["kernel"] == [0.5, 1.0, 0.1]


def test_the_pooled_kernel_is_learned_from_episodes_that_are_not_tested():
    config = replace(TINY, model="pooled", length=8, batch_size=12, steps=8)
    assert train(config, 0, CPU)["kernel"] == pytest.approx([0.5, 1.0, 0.1], rel=0.15)


def test_the_rate_falls_to_zero_and_gradients_are_clipped(monkeypatch):
    rates, norms = [], []
    step = torch.optim.Adam.step
    clip = nn.utils.clip_grad_norm_

    def recorded(self, *arguments):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", recorded)
    monkeypatch.setattr(
        nn.utils, "clip_grad_norm_", lambda parameters, norm: norms.append(norm) or clip(parameters, norm)
    )
    train(replace(TINY, learning_rate=0.03), 0, CPU)
    assert rates == pytest.approx([0.03, 0.02, 0.01])
    assert norms == [1.0] * 3


def test_training_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    for model in (*NETWORKS, "learned"):
        train(replace(TINY, model=model), 0, CPU)
    assert torch.equal(torch.rand(1), expected)


def test_an_unknown_model_is_named():
    with pytest.raises(ValueError, match=r"model must be one of mann, lstm, transformer, true, .*got 'gru'"):
        train(replace(TINY, model="gru"), 0, CPU)


def test_every_network_runs_at_the_rate_that_its_search_chose():
    table = SEARCH_REGRESSION
    assert missing(table, "book") == []
    rows = sweep(table, "book", n_jobs=1)
    assert set(rows.seed) == {100}
    arms = ["model", "hidden_size"]
    best = chosen(rows, arms, ["learning_rate"], "mean_nll")
    for config, rate in TUNED_REGRESSION.items():
        key = tuple(getattr(config, name) for name in arms)
        assert best.loc[key].learning_rate == rate, config
        tried = rows[(rows[arms] == pd.Series(key, arms)).all(axis=1)].learning_rate
        assert len(tried) >= 4
        assert min(tried) < rate < max(tried)
        assert set(tried) <= set(RATES)
    used = {(c.model, c.hidden_size): c.learning_rate for c in REGRESSION.configs("book")}
    assert used == {(c.model, c.hidden_size): rate for c, rate in TUNED_REGRESSION.items()}


@pytest.mark.parametrize("table", [REGRESSION, REFERENCES], ids=["networks", "references"])
def test_every_arm_is_recorded(table):
    assert missing(table, "book") == []
    rows = sweep(table, "book", n_jobs=1)
    assert set(rows.seed) == {0, 1, 2}


def test_nothing_that_is_recorded_pays_less_than_the_true_kernel():
    rows = pd.concat([sweep(table, "book", n_jobs=1) for table in (REFERENCES, REGRESSION)])
    for _, same in rows.groupby(["dims", "seed"]):  # the same episodes
        least = same[same.model == "true"].mean_nll.item()
        assert (same[same.model == "pooled"].mean_nll - least).abs().item() < 0.01
        assert (same[~same.model.isin(["true", "pooled"])].mean_nll > least + 0.1).all()
