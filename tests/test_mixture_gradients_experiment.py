"""The experiments on mixtures: estimators, autoencoder, likelihood, map of the variance, peers."""

import math
import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn

from workedpapers.experiments import mixture_gradients as experiment
from workedpapers.experiments.mixture_gradients import (
    BASELINES,
    ESTIMATORS,
    Autoencoder,
    Fit,
    Map,
    Network,
    Peer,
    Timed,
    bound,
    bumps,
    chart,
    compare,
    draws_for,
    fit,
    implicit_sample,
    log_likelihood,
    mean_surrogate,
    measure,
    posteriors,
    scoreboard,
    shape,
    surrogate,
    train,
    variance,
)
from workedpapers.experiments.mixture_gradients.estimators import of_other_draws, of_other_elements, parameters_of
from workedpapers.lab import chosen, missing, sweep
from workedpapers.mixture_gradients import MixtureNormal

CPU = torch.device("cpu")
TINY = Autoencoder(
    components=2,
    evaluations=2,
    hidden=6,
    updates=3,
    batch_size=10,
    train_size=30,
    test_size=7,
    bound_samples=20,
    repeats=2,
)


def mixture(batch=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    logits = torch.tensor([0.4, -0.3, 0.0], dtype=dtype)
    loc = torch.randn(3, 2, generator=generator).to(dtype)
    scale = 0.6 + 0.5 * torch.rand(3, 2, generator=generator).to(dtype)
    return MixtureNormal(*(p.expand(batch, *p.shape).clone().requires_grad_() for p in (logits, loc, scale)))


def cosine(x, _):
    return torch.cos(x.sum(-1) + 0.3)


def gradients(estimator, of, cost, baseline="draws", evaluations=3):
    parameters, fresh = parameters_of(of)
    return torch.autograd.grad(mean_surrogate(estimator, fresh, cost, baseline, evaluations), parameters)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_is_unbiased_with_every_baseline(estimator, baseline):
    torch.manual_seed(0)
    parameters, one = parameters_of(mixture())
    damped = torch.exp(-one.scale.square().sum(-1) / 2) * torch.cos(one.loc.sum(-1) + 0.3)
    exact = torch.autograd.grad((one.logits.softmax(-1) * damped).sum(), parameters)
    for right, values in zip(exact, gradients(estimator, mixture(30_000), cosine, baseline), strict=True):
        error = (values.mean(0) - right[0]).abs() / (values.std(0) / math.sqrt(len(values)))
        assert float(error.max()) < 4
        assert float(values.std(0).max()) < 3  # a gradient that went to a few elements would hide in it


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_gradient_of_what_the_cost_depends_on_itself_is_not_lost(estimator):
    torch.manual_seed(0)
    factor = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    total = mean_surrogate(estimator, mixture(50), lambda x, _: factor * (1 + 0 * x.sum(-1)), evaluations=6)
    (slope,) = torch.autograd.grad(total, factor)
    assert float(slope) == pytest.approx(50)
    assert total.item() == pytest.approx(100)


def test_the_rule_is_for_logits_and_the_trick_for_the_rest():
    parameters, fresh = parameters_of(mixture(4))
    x = {}

    def cost(drawn, _):
        x["drawn"] = drawn
        return drawn.square().sum(-1)

    torch.manual_seed(0)
    found = torch.autograd.grad(surrogate("rule + trick", fresh, cost, of_other_draws), parameters)
    drawn = x["drawn"].detach()
    leaves, other = parameters_of(mixture(4))
    rule = torch.autograd.grad(other.reparameterize(drawn).square().sum(), leaves)
    torch.testing.assert_close(found[0], rule[0])
    assert ((found[1] != 0).sum((1, 2)) == 2).all()  # the drawn component's two coordinates, and no other
    torch.testing.assert_close(found[1].sum(1), 2 * drawn)


def test_an_unknown_estimator_is_named():
    with pytest.raises(ValueError, match=r"estimator must be one of leibniz, .*got 'gumbel'"):
        surrogate("gumbel", mixture(), cosine, of_other_draws)


def test_a_baseline_is_the_mean_of_other_draws_or_of_other_elements():
    costs = torch.tensor([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]])
    assert of_other_draws(costs).tolist() == [[4.0, 40.0], [3.5, 35.0], [1.5, 15.0]]
    assert of_other_elements(costs).tolist() == [[30.0, 3.0]] * 3
    assert of_other_draws(costs[:1]).tolist() == [[0.0, 0.0]]
    assert of_other_elements(costs[:, :1]).tolist() == [[0.0]] * 3


def test_evaluations_are_draws_or_draws_of_each_component():
    assert draws_for("leibniz", 5, 10) == 10
    assert draws_for("leibniz", 5, 1) == 1
    assert draws_for("all components", 5, 10) == 2
    for bad in (0, 7):
        with pytest.raises(ValueError, match=f"multiple of 5 for 'all components', got {bad}"):
            draws_for("all components", 5, bad)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_arm_evaluates_the_cost_equally_often(estimator):
    seen = []
    mean_surrogate(estimator, mixture(7), lambda x, _: seen.append(x[..., 0].numel()) or x.sum(-1), evaluations=6)
    assert seen == [6 * 7]


def test_all_components_has_no_variance_for_logits_where_the_cost_is_constant_in_each():
    found = gradients("all components", mixture(20), lambda x, m: m.loc.detach()[..., 0].movedim(-1, 0) + 0 * x.sum(-1))
    assert float(found[0].var(0).max()) < 1e-25


def test_the_likelihood_of_a_small_network_is_that_of_draws_from_the_prior_and_the_bound_lies_below():
    torch.manual_seed(0)
    network = Network(replace(TINY, hidden=5), 4).double()
    for parameter in network.parameters():
        parameter.data.mul_(1.5)
    images = torch.randint(2, (3, 4)).double()
    found = log_likelihood(network, images, step=0.05)
    x = torch.randn(400_000, 1, 2, dtype=torch.float64)
    with torch.no_grad():
        prior = -0.5 * (x.square() + math.log(2 * math.pi)).sum(-1)
        by_draws = (network.log_joint(images, x) - prior).logsumexp(0) - math.log(len(x))
    torch.testing.assert_close(found, by_draws, atol=0.01, rtol=0)
    torch.testing.assert_close(found, log_likelihood(network, images, step=0.1), atol=1e-6, rtol=0)
    posterior = network.posterior(images[:1])
    torch.manual_seed(3)
    x = posterior.sample((1_000,))
    expected = (network.log_joint(images[:1], x) - posterior.log_prob(x)).mean(0)
    torch.manual_seed(3)
    torch.testing.assert_close(bound(network, images[:1], 1_000), expected.detach())
    assert bool((bound(network, images, 1_000) < found).all())


def test_a_grid_needs_two_latent_dimensions():
    with pytest.raises(ValueError, match="two latent dimensions, got 3"):
        log_likelihood(Network(replace(TINY, latent=3), 4), torch.zeros(1, 4))


def test_the_log_joint_is_that_of_pixels_and_a_standard_normal():
    network = Network(TINY, 4)
    images, x = torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([[0.3, -1.2]])
    pixels = -nn.functional.binary_cross_entropy_with_logits(network.decoder(x), images, reduction="sum")
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum()
    torch.testing.assert_close(network.log_joint(images, x)[0], pixels + prior)


def test_training_lowers_the_bound():
    short, longer = (train(replace(TINY, updates=updates, train_size=200), 0, CPU) for updates in (2, 150))
    assert longer["test_bound"] < short["test_bound"] - 5
    assert longer["test_nll"] <= longer["test_bound"]


def test_validation_measures_images_that_are_not_trained_on(monkeypatch):
    seen = {}

    def stub(network, images, samples):
        seen[images.shape[0]] = images
        return torch.zeros(1)

    monkeypatch.setattr(posteriors, "bound", stub)
    monkeypatch.setattr(posteriors, "log_likelihood", lambda *_: torch.zeros(1))
    monkeypatch.setattr(posteriors, "variances", lambda *_: {})
    train(replace(TINY, validation=True, test_size=500, train_size=2_000), 0, CPU)
    train(replace(TINY, test_size=390), 0, CPU)
    whole, test = (
        posteriors.Split.load("digits", part, CPU).images.flatten(1).gt(0.5).float() for part in ("train", "test")
    )
    assert torch.equal(seen[500], whole[-500:])
    assert torch.equal(seen[390], test[:390])


def test_training_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    train(TINY, 0, CPU)
    chart(Map(samples=50), 0, CPU)
    fit(Fit(steps=2, evaluations=3), 0, CPU)
    assert torch.equal(torch.rand(1), expected)


def test_one_component_is_one_component_to_the_metrics():
    metrics = train(replace(TINY, components=1, estimator="all components"), 0, CPU)
    assert metrics["perplexity"] == pytest.approx(1)
    assert metrics["separation"] == 0


def test_the_separation_is_that_of_the_two_heaviest_components():
    class Fixed(nn.Module):
        components = 3

        def posterior(self, images):
            logits = torch.tensor([[0.0, -0.1, -5.0]]).expand(len(images), 3)
            loc = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [90.0, 0.0]]]).expand(len(images), 3, 2)
            return MixtureNormal(logits, loc, torch.full_like(loc, 2.0))

    found = shape(Fixed(), torch.zeros(4, 1))
    assert found["separation"] == pytest.approx(2.5)
    assert 1.9 < found["perplexity"] < 2.1
    assert found["perplexity_overall"] == pytest.approx(found["perplexity"])


def test_a_component_for_each_picture_is_one_by_picture_and_all_overall():
    class Switch(nn.Module):
        components = 2

        def posterior(self, images):
            logits = 50 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
            return MixtureNormal(logits, torch.zeros(2, 2, 1), torch.ones(2, 2, 1))

    found = shape(Switch(), torch.zeros(2, 1))
    assert found["perplexity"] == pytest.approx(1)
    assert found["perplexity_overall"] == pytest.approx(2)


def test_variances_at_posteriors_are_those_of_the_mean_over_draws():
    torch.manual_seed(0)
    network = Network(replace(TINY, hidden=5), 4)
    images = torch.randint(2, (3, 4)).float()
    one, four = (experiment.variances(network, images, evaluations, 250) for evaluations in (2, 8))
    for name in ("leibniz", "rule + trick", "responsibilities_elements", "one-hot_elements", "all components"):
        assert one[f"variance_{name}_loc"] / four[f"variance_{name}_loc"] == pytest.approx(4, rel=0.4)
    assert set(one) == {
        f"variance_{arm}_{name}"
        for arm in (
            "leibniz",
            "rule + trick",
            "responsibilities_draws",
            "responsibilities_elements",
            "one-hot_draws",
            "one-hot_elements",
            "all components",
        )
        for name in ("logits", "loc", "scale")
    }


def test_bumps_stand_at_equal_angles_at_their_distance():
    target = bumps(2.5, torch.Generator().manual_seed(3))
    torch.testing.assert_close(target.loc.norm(dim=-1), torch.full((3,), 2.5))
    sides = (target.loc - target.loc.roll(1, 0)).norm(dim=-1)
    torch.testing.assert_close(sides, torch.full((3,), 2.5 * math.sqrt(3)))
    assert not torch.equal(target.loc, bumps(2.5, torch.Generator().manual_seed(4)).loc)


def test_a_fit_comes_nearer_and_its_divergence_is_that_of_torch_by_draws():
    found = fit(Fit("all components", 1.25, learning_rate=0.02), 0, CPU)
    assert found["divergence"] < 0.2 * found["start"]
    target = bumps(1.25, torch.Generator().manual_seed(0))
    q = MixtureNormal(torch.zeros(3), target.loc / 2, torch.ones(3, 2))
    torch.manual_seed(1)
    x = q.sample((200_000,))
    by_draws = float((q.log_prob(x) - target.log_prob(x)).mean())
    assert found["start"] == pytest.approx(by_draws, rel=0.02)


def test_clipping_bounds_the_gradient(monkeypatch):
    seen = []
    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda p, norm: seen.append(norm) or clip(p, norm))
    fit(Fit(steps=1, evaluations=3, max_norm=0.25), 0, CPU)
    fit(Fit(steps=1, evaluations=3), 0, CPU)
    assert seen == [0.25, math.inf]


def test_the_map_has_the_variances_of_the_estimators():
    config = Map(3, 2, 0.5, samples=40_000)
    found = chart(config, 3, CPU)
    torch.manual_seed(3)
    logits, loc, scale = 0.5 * torch.randn(3), 0.5 * torch.randn(3, 2), 0.5 + torch.rand(3, 2)
    axis = torch.linspace(-8, 8, 321, dtype=torch.float64)
    grid, cell = torch.cartesian_prod(axis, axis), 0.05**2
    free = logits.double().expand(len(grid), 3).clone().requires_grad_()
    fixed = MixtureNormal(free, loc.double(), scale.double())
    (by_logits,) = torch.autograd.grad(cosine(fixed.reparameterize(grid), None).sum(), free)
    mass = fixed.log_prob(grid).exp().detach()[:, None] * cell
    exact = (mass * by_logits.square()).sum() - (mass * by_logits).sum(0).square().sum()
    assert found["leibniz_logits"] == pytest.approx(float(exact), rel=0.05)
    score = (cosine(grid, None) - (mass[:, 0] * cosine(grid, None)).sum())[:, None] * (
        fixed.responsibilities(grid).detach() - logits.double().softmax(-1)
    )
    exact = (mass * score.square()).sum() - (mass * score).sum(0).square().sum()
    assert found["responsibilities_logits"] == pytest.approx(float(exact), rel=0.05)
    assert found["reversed_logits"] != found["leibniz_logits"]


def test_one_dimension_has_no_order():
    found = chart(Map(3, 1, 1.0, samples=20_000), 0, CPU)
    assert found["reversed_logits"] == pytest.approx(found["leibniz_logits"], rel=0.1)
    assert found["leibniz_loc"] == pytest.approx(found["responsibilities_loc"], rel=0.1)


def test_chunks_do_not_change_how_many_draws_there_are():
    fixed = mixture()
    single = MixtureNormal(fixed.logits[0].detach(), fixed.loc[0].detach(), fixed.scale[0].detach())
    draws = variance._draws("leibniz", single, cosine, torch.zeros(()), 1_000_001 // 6)
    assert [values.shape for values in draws] == [(166_666, 3), (166_666, 6), (166_666, 6)]


def test_automatic_implicit_samples_have_the_gradient_of_rsample():
    torch.manual_seed(0)
    tested = mixture(5)
    inputs = (tested.logits, tested.loc, tested.scale)
    torch.manual_seed(1)
    x = implicit_sample(tested)
    slope = torch.randn_like(x)
    expected = torch.autograd.grad(tested.reparameterize(x.detach()), inputs, slope)
    for a, b in zip(torch.autograd.grad(x, inputs, slope), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)


def test_pyro_is_asked_for_by_name_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyro", None)
    for call in (lambda: compare(Peer(), 0, CPU), lambda: measure(Timed(2, 2, 2), 0, CPU)):
        with pytest.raises(ModuleNotFoundError, match="pyro"):
            call()


def test_an_unknown_rival_is_named():
    with pytest.raises(ValueError, match="rival must be one of pyro, autograd, full, got 'jax'"):
        measure(Timed(2, 2, 2, "jax"), 0, CPU)


def test_ours_is_exact_in_every_recorded_case_and_pyros_only_where_the_text_says_so():
    assert missing(experiment.PYRO, "book") == []
    rows = sweep(experiment.PYRO, "book", n_jobs=1)
    assert (rows.ours - rows.exact).abs().max() < 1e-9
    right = (rows.pyro - rows.exact).abs() < 1e-6
    assert right.tolist() == [True, False, True, False, False, False]


@pytest.mark.parametrize(
    ("search", "seeds", "tuned"),
    [
        (
            "search_digits",
            {100, 101, 102},
            experiment.TUNED_DIGITS | experiment.TUNED_WIDE | experiment.TUNED_BASELINES,
        ),
        ("search_mnist", {100}, experiment.TUNED_MNIST),
    ],
)
def test_every_autoencoder_runs_with_what_its_search_chose(search, seeds, tuned):
    table = experiment.EXPERIMENTS[search]
    assert missing(table, "book") == []
    rows = sweep(table, "book", n_jobs=1)
    assert set(rows.seed) == seeds
    arms = ["data", "latent", "components", "evaluations", "estimator", "baseline"]
    best = chosen(rows, arms, ["learning_rate"], "test_bound")
    for config, rate in tuned.items():
        key = tuple(getattr(config, name) for name in arms)
        assert best.loc[key].learning_rate == rate, config
        tried = rows[(rows[arms] == pd.Series(key, arms)).all(axis=1)].learning_rate
        assert min(tried) < rate < max(tried)


@pytest.mark.parametrize("table", ["digits", "baselines", "mnist", "wide"])
def test_every_posterior_is_recorded(table):
    assert missing(experiment.EXPERIMENTS[table], "book") == []


def test_every_fit_runs_with_what_its_search_chose():
    table = experiment.EXPERIMENTS["search_fits"]
    assert missing(table, "book") == []
    rows = sweep(table, "book", n_jobs=1).assign(max_norm=lambda rows: rows.max_norm.fillna(0))
    assert set(rows.seed) == set(range(100, 110))
    best = chosen(rows, ["estimator", "apart", "max_norm"], ["learning_rate"], "divergence")
    for config, rate in experiment.TUNED_FITS.items():
        key = config.estimator, config.apart, config.max_norm or 0
        assert best.loc[key].learning_rate == rate, config
        tried = rows[(rows.estimator == key[0]) & (rows.apart == key[1]) & (rows.max_norm == key[2])].learning_rate
        assert min(tried) < rate < max(tried)
    assert missing(experiment.EXPERIMENTS["fits"], "book") == []


def test_the_scoreboard_has_a_line_for_each_claim():
    claims = scoreboard()
    assert [len(claim.runs) for claim in claims] == [10] * 12 + [5] * 5 + [3] * 3
    assert all(claim.cause for claim in claims if claim.verdict != "holds")
