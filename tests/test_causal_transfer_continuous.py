"""Continuous causes and effects, and the encoder that finds them: worlds, episodes, rotations."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from workedpapers.causal_transfer import GaussianMixture, MixtureDensityNetwork, structural_loss
from workedpapers.experiments.causal_transfer import continuous, encoder
from workedpapers.experiments.causal_transfer.continuous import (
    CONTINUOUS,
    Continuous,
    Models,
    Spline,
    adapt,
    beliefs,
    copies,
    draw,
    means_of,
    online,
    pretrained,
    worlds,
)
from workedpapers.experiments.causal_transfer.encoder import (
    DECODER,
    ENCODER,
    Encoder,
    direction,
    distance,
    episode,
    rotate,
    summary,
    train,
)

CPU = torch.device("cpu")
TINY = Continuous(samples=20, worlds=2, episodes=3, iterations=5, batch=30, steps=2)
TURNING = Encoder(samples=20, preheat=2, steps=2, rounds=2, iterations=4, runs=2)


def models(runs=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    network = MixtureDensityNetwork(continuous.COMPONENTS, runs=(2, runs), dtype=dtype, generator=generator)
    shape = 2, runs, continuous.COMPONENTS
    logits, loc, log_scale = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(3))
    return Models(GaussianMixture(logits, 3 * loc, log_scale.exp()), network)


def pairs(*shape, seed=1, dtype=torch.float64):
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def exchanged(one):
    """A and B change their names."""
    network = copies(one.conditionals)
    network.load_state_dict({name: value.flip(0) for name, value in one.conditionals.state_dict().items()})
    return Models(GaussianMixture(*(value.flip(0) for value in one.marginals)), network)


def fresh(one):
    return Models(one.marginals, copies(one.conditionals))


@pytest.fixture(scope="module")
def fitted():
    """Two worlds and models that are nearly right."""
    with torch.random.fork_rng():
        return {name: pretrained(name, 2, None, 1_000, 150, 0, CPU) for name in ("linear", "spline")}


def test_a_spline_is_scipys_between_its_anchors_and_straight_outside():
    heights = pairs(3, 8)
    curve, x = Spline(heights), torch.linspace(-8, 8, 161, dtype=torch.float64)
    found = curve(x.expand(3, -1))
    knots = np.linspace(-8, 8, 8)
    for values, height in zip(found, heights, strict=True):
        np.testing.assert_allclose(values, CubicSpline(knots, height, bc_type="natural")(x), atol=1e-12)
    torch.testing.assert_close(curve(torch.as_tensor(knots).expand(3, -1)), heights)
    for end in (-8.0, 8.0):
        near = curve(
            (end + math.copysign(1, end) * torch.tensor([-1e-5, 0, 1, 2, 30], dtype=torch.float64)).expand(3, -1)
        )
        slope = near[:, 2] - near[:, 1]
        torch.testing.assert_close((near[:, 1] - near[:, 0]) * 1e5, slope, atol=1e-3, rtol=0)
        torch.testing.assert_close(near[:, 3:] - near[:, 1:2], slope[:, None] * torch.tensor([2.0, 30.0]))


def test_worlds_differ_or_are_the_identity():
    torch.manual_seed(0)
    x = torch.linspace(-20, 20, 41).expand(3, -1)
    torch.testing.assert_close(worlds("linear", 3, CPU)(x), x)
    curves = worlds("spline", 3, CPU)
    assert float((curves(x)[0] - curves(x)[1]).abs().max()) > 1
    with pytest.raises(ValueError, match="mechanism must be one of spline, linear, got 'cubic'"):
        worlds("cubic", 1, CPU)


@pytest.mark.parametrize(
    ("intervention", "expected"),  # means of A and B, covariance of A and B, variance of B
    [("cause", (3, 3, 4, 5)), ("effect", (0, 3, 0, 4)), ("nothing", (0, 0, 4, 5))],
)
def test_an_intervention_moves_what_it_says(intervention, expected):
    torch.manual_seed(0)
    a, b = draw(worlds("linear", 1, CPU), intervention, torch.tensor([3.0]), 400_000)[:, 0].double()
    table = torch.stack((a, b)).cov()
    assert [float(a.mean()), float(b.mean()), float(table[0, 1]), float(table[1, 1])] == pytest.approx(
        expected, abs=0.05
    )
    assert float(table[0, 0]) == pytest.approx(4, abs=0.05)


def test_an_unknown_intervention_is_named():
    with pytest.raises(ValueError, match="intervention must be one of cause, effect, nothing, got 'both'"):
        draw(worlds("linear", 1, CPU), "both", torch.zeros(1), 3)


def test_the_conditional_of_a_linear_world_comes_near_its_entropy(fitted):
    curve, one = fitted["linear"]
    torch.manual_seed(9)
    sample = draw(curve, "nothing", torch.zeros(2), 20_000)
    with torch.no_grad():
        forward, backward = one.conditionals.log_prob(sample.flip(-3), sample).mean(-1)
        joint = one.log_prob(sample).mean(-1)
    noise = 0.5 * math.log(2 * math.pi * math.e)
    for found, exact in ((forward, -noise), (backward, -noise - 0.5 * math.log(4 / 5))):
        assert float((found - exact).abs().max()) < 0.04
    assert float((joint + 2 * noise + math.log(2)).abs().max()) < 0.05


def test_both_factorisations_are_a_marginal_and_a_conditional():
    one, sample = models(1), pairs(2, 1, 5)
    found = one.log_prob(sample)
    marginal = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=one.marginals.logits[1, 0]),
        torch.distributions.Normal(one.marginals.loc[1, 0], one.marginals.scale[1, 0]),
    )
    grid = torch.linspace(-60, 60, 6_001, dtype=torch.float64)
    given = sample[1, 0, 0]
    both = torch.stack((grid, given.expand(6_001)))[:, None]
    whole = torch.trapezoid(one.log_prob(both)[1, 0].exp(), grid)  # over A, of p(b) p(a|b)
    torch.testing.assert_close(whole, marginal.log_prob(given).exp())
    assert found.shape == (2, 1, 5)


def test_exchanging_cause_and_effect_exchanges_the_models():
    one, batches = models(), pairs(4, 2, 3, 6)
    found = online(fresh(one), batches, 1e-2)
    other = online(exchanged(one), batches.flip(-3), 1e-2)
    torch.testing.assert_close(other, found.flip(1))
    assert float((found[:, 0] - found[:, 1]).abs().min()) > 1e-3


def test_a_batch_is_scored_before_adam_steps_on_it():
    one, batches = models(1), pairs(2, 2, 1, 6)
    found = online(fresh(one), batches, 1e-2)
    torch.testing.assert_close(found[0], one.log_prob(batches[0]).detach().sum(-1))
    parameters = list(one.conditionals.parameters())
    slopes = torch.autograd.grad(-one.log_prob(batches[0]).mean(-1).sum(), parameters)
    with torch.no_grad():
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter -= 1e-2 * slope / (slope.abs() + 1e-8)  # Adam's first step
        torch.testing.assert_close(found[1], one.log_prob(batches[1]).sum(-1))


def test_episodes_and_worlds_adapt_apart():
    one, batches = models(2), pairs(3, 4, 2, 2, 6)
    start = GaussianMixture(*(value.expand(4, *value.shape) for value in one.marginals))
    together = online(Models(start, copies(one.conditionals, (4,))), batches, 1e-2)
    single = MixtureDensityNetwork(continuous.COMPONENTS, runs=(2, 1), dtype=torch.float64)
    single.load_state_dict({name: value[:, 1:] for name, value in one.conditionals.state_dict().items()})
    alone = Models(GaussianMixture(*(value[:, 1:] for value in one.marginals)), single)
    torch.testing.assert_close(together[:, 2, :, 1:], online(alone, batches[:, 2, :, 1:], 1e-2))


def test_copies_are_trained_apart():
    network = models().conditionals
    before = {name: value.clone() for name, value in network.state_dict().items()}
    online(Models(models().marginals, copies(network)), pairs(2, 2, 3, 4), 0.1)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_both_marginals_are_fitted_to_one_sample_that_is_not_scored(monkeypatch):
    samples, scored = [], []
    fit, step = GaussianMixture.fit.__func__, continuous.online

    def spy(cls, sample, *args, **kwargs):
        samples.append(sample)
        return fit(cls, sample, *args, **kwargs)

    def watch(adapting, batches, rate):
        batches = list(batches)
        scored.append((adapting.marginals, batches))
        return step(adapting, batches, rate)

    pretrained.cache_clear()
    monkeypatch.setattr(GaussianMixture, "fit", classmethod(spy))
    monkeypatch.setattr(continuous, "online", watch)
    adapt(TINY, 5, CPU)
    pretrained.cache_clear()
    assert [sample.shape for sample in samples] == [(2, 2, continuous.FIT_BATCHES * 30), (3, 2, 2, 1_000)]
    ((marginals, batches),) = scored
    assert marginals.loc.shape == (3, 2, 2, continuous.COMPONENTS)
    assert len(batches) == TINY.steps + 1
    assert not any(torch.isin(batch, samples[1]).all() for batch in batches)
    means = means_of(TINY, 5)
    torch.testing.assert_close(samples[1][:, 0].mean(-1), means, atol=0.3, rtol=0)


def test_metrics_are_those_of_the_scores(monkeypatch):
    seen = []
    step = continuous.online
    monkeypatch.setattr(continuous, "online", lambda *args: seen.append(step(*args)) or seen[-1])
    pretrained.cache_clear()
    found = adapt(TINY, 0, CPU)
    pretrained.cache_clear()
    scores = seen[0].double()  # (steps + 1, episodes, 2, worlds)
    delta = [
        sum(float(scores[t, e, 0, w] - scores[t, e, 1, w]) for t in range(TINY.steps))
        for w in range(TINY.worlds)
        for e in range(TINY.episodes)
    ]
    assert found["delta"] == pytest.approx(delta, rel=1e-4)
    assert found["gap"] == pytest.approx([float((s[:, 0] - s[:, 1]).mean()) / TINY.samples for s in scores], rel=1e-4)
    assert found["before_ab"] == pytest.approx((scores[0, :, 0].mean(0) / TINY.samples).tolist(), rel=1e-4)
    assert found["after_ba"] == pytest.approx((scores[-1, :, 1].mean(0) / TINY.samples).tolist(), rel=1e-4)
    assert found["belief"] == pytest.approx(beliefs(torch.tensor(delta).view(2, 3).T)[-1].tolist(), rel=1e-4)


def test_a_fixed_training_set_is_the_same_at_every_iteration(monkeypatch):
    seen = []
    step = continuous.descend
    monkeypatch.setattr(continuous, "descend", lambda *args: seen.append(args[-1]) or step(*args))
    for training in (17, None):
        pretrained("spline", 2, training, 3, 12, 0, CPU)
    pretrained.cache_clear()
    assert [batch.shape[-1] for batch in seen] == [17] * 3 + [12] * 3
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[3], seen[5])


def test_the_belief_is_adams_on_the_paper_s_loss():
    deltas = pairs(6, 3, seed=4)
    gamma = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([gamma], 0.1)
    expected = [torch.full((3,), 0.5, dtype=torch.float64)]
    for delta in deltas:
        optimizer.zero_grad()
        structural_loss(delta - 7, torch.full_like(delta, -7), gamma).sum().backward()
        optimizer.step()
        expected.append(gamma.detach().sigmoid())
    torch.testing.assert_close(beliefs(deltas), torch.stack(expected))


def test_a_rotation_keeps_areas_and_turns_back():
    sample, angle = pairs(2, 3, 5), torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(rotate(rotate(sample, angle), -angle), sample)
    jacobian = torch.autograd.functional.jacobian(lambda point: rotate(point[:, None, None], 0.7).flatten(), pairs(2))
    torch.testing.assert_close(jacobian @ jacobian.T, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.det(jacobian), torch.tensor(1.0, dtype=torch.float64))
    exact = complex(sample[0, 1, 2], sample[1, 1, 2]) * np.exp(-1j)
    assert complex(*rotate(sample, angle)[:, 1, 2].tolist()) == pytest.approx(exact)


def test_two_angles_turn_the_decoder_back():
    sample = pairs(2, 3, 5)
    observed = rotate(sample, DECODER)
    torch.testing.assert_close(rotate(observed, math.pi / 4), sample)
    torch.testing.assert_close(rotate(observed, -math.pi / 4), torch.stack((sample[1], -sample[0])))
    angles = math.pi / 4 * torch.tensor([1.0, -1.0, 3.0, 5.0, 0.0, 2.0])
    torch.testing.assert_close(distance(angles), math.pi / 4 * torch.tensor([0.0, 0, 0, 0, 1, 1]), atol=1e-6, rtol=0)
    assert direction(angles)[:4].tolist() == [1, -1, -1, 1]


def test_the_slope_of_the_angle_is_that_of_finite_differences_with_fixed_modules():
    one, batches = models(), pairs(2, 2, 3, 6).unbind()
    angle = torch.tensor([0.2, -0.4, 1.1], dtype=torch.float64)
    gamma = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)

    def loss(at):
        total, _ = episode(one, batches, at, 0.0)
        return structural_loss(total[0], total[1], gamma)

    total, slope = episode(one, batches, angle, 0.0)
    weight = (gamma + total[0] - total[1]).sigmoid()
    found = -(weight * slope[0] + (1 - weight) * slope[1])
    torch.testing.assert_close(found, (loss(angle + 1e-6) - loss(angle - 1e-6)) / 2e-6, rtol=1e-6, atol=1e-6)


def test_an_episode_at_the_right_angle_is_that_of_the_encoded_pairs():
    one, batches = models(), pairs(4, 2, 3, 6)
    angle = torch.tensor([0.2, -0.4, 1.1], dtype=torch.float64)
    total, _ = episode(fresh(one), batches.unbind(), angle, 1e-2)
    torch.testing.assert_close(total, online(fresh(one), [rotate(batch, angle) for batch in batches], 1e-2).sum(0))


def test_the_right_angle_favours_the_direction_from_cause_to_effect(fitted):
    curve, one = fitted["spline"]
    torch.manual_seed(3)
    means = torch.tensor([3.5, -3.5])
    sample = draw(curve, "cause", means, 1_000)
    marginals = GaussianMixture.fit(sample, iterations=5, start=one.marginals)
    batches = [rotate(draw(curve, "cause", means, 250), DECODER) for _ in range(5)]
    total, _ = episode(Models(marginals, copies(one.conditionals)), batches, torch.full((2,), math.pi / 4), 1e-3)
    assert float((total[0] - total[1]).mean()) > 0


def test_a_run_is_summed_up_from_its_paths():
    near, wrong = math.pi / 4, -math.pi / 4
    angles = torch.tensor(
        [[0.0, 0.0, 0.0], [near, 0.0, wrong], [0.3, 0.0, wrong], [near, 0.1, wrong], [near, 0.2, wrong]]
    )
    gammas = torch.tensor([[0.0, 0, 0], [-0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.1]])
    found = summary(angles, gammas, torch.tensor([[-1.0, 1, 1], [1, 1, 1], [1, 1, 1], [1, -1, 1]]))
    assert found["success"] == pytest.approx(1 / 3)  # the second is far off, the third has its directions exchanged
    assert found["distance"] == pytest.approx([0, near - 0.2, 0], abs=1e-6)
    assert found["decided"] == [1, 0, 0]
    assert found["arrived"] == [2, 4, 0]
    assert found["right"] == [1, 0, 0]
    assert found["angle_path"][:5] == pytest.approx([0, near, 0.3, near, near], rel=1e-4)


def test_the_angle_climbs_the_likelihood_of_the_model_that_the_episode_favours(monkeypatch):
    total, slope = torch.tensor([[50.0, 0.0], [0.0, 50.0]]), torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    monkeypatch.setattr(encoder, "episode", lambda *_: (total, slope))
    found = train(replace(TURNING, iterations=1), 0, CPU)
    assert found["angle_path"] == pytest.approx([0, 0.01, 0, -0.01], rel=1e-4)  # Adam's first step is its rate
    assert found["gamma_path"] == pytest.approx([0, 0.001, 0, -0.001], rel=1e-4)


def test_a_fixed_belief_stays_and_an_angle_moves_by_at_most_adams_rate():
    found = train(replace(TURNING, gamma=1e9, gamma_rate=0.0), 0, CPU)
    assert set(found["gamma_path"]) == {1e9}
    steps = np.diff(np.reshape(found["angle_path"], (2, -1)))
    assert 0 < np.abs(steps).max() < 0.05
    assert set(train(TURNING, 0, CPU)["gamma_path"]) != {0.0}


def test_an_encoder_meets_the_intervention_that_it_is_told(monkeypatch):
    seen = []
    step = encoder.draw
    monkeypatch.setattr(encoder, "draw", lambda *args: seen.append(args) or step(*args))
    train(replace(TURNING, intervention="nothing"), 0, CPU)
    train(TURNING, 0, CPU)
    episodes = [args for args in seen if args[2].dim() == 2]
    assert [args[1] for args in episodes] == ["nothing"] * 4 + ["cause"] * 4
    means = torch.stack([args[2] for args in episodes])
    assert means.shape == (8, TURNING.steps + 1, 2)
    assert torch.equal(means[:, 0], means[:, -1])  # one mean an episode
    assert 2 < float(means.abs().max()) <= 4
    assert {args[1] for args in seen if args[2].dim() == 1} == {"nothing"}  # the modules stay those of training


def test_training_leaves_the_global_generator_alone_and_repeats_itself():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    for run, config in ((adapt, TINY), (train, TURNING)):
        pretrained.cache_clear()
        first = run(config, 0, CPU)
        assert run(config, 0, CPU) == first  # from the cache
        pretrained.cache_clear()
        assert run(config, 1, CPU) != first
        json.dumps(first, allow_nan=False)
    assert torch.equal(torch.rand(1), expected)


def test_cheap_rows_have_every_option_of_the_expensive_ones():
    cheap, book = CONTINUOUS.configs("check"), CONTINUOUS.configs("book")
    for name in ("intervention", "mechanism"):
        assert {getattr(config, name) for config in book} <= {getattr(config, name) for config in cheap}
    assert {config.training is None for config in cheap} == {True, False}
    cheap, book = ENCODER.configs("check"), ENCODER.configs("book")
    assert {config.gamma_rate > 0 for config in cheap} == {True, False}
    assert {config.intervention for config in book} == {config.intervention for config in cheap}
