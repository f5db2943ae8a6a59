"""Generative temporal models against loops that follow the formulas one example and one slot at a time."""

import copy
import io
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from workedpapers.experiments.temporal_memory.cost import (
    Cost,
    LoopedModel,
    MemoryCost,
    measure,
    measure_memories,
    recurrent_model,
)
from workedpapers.temporal_memory import (
    DifferentiableNeuralComputer,
    Introspection,
    LeastRecentlyUsed,
    NeuralTuring,
    Normal,
    Recurrent,
    TemporalGenerativeModel,
    allocation,
    kl_normal,
)

HIDDEN, LATENT, CODE, SLOTS, SLOT, PIXELS = 7, 3, 5, 4, 3, 6
WIDTHS = {"sample": LATENT, "mean": LATENT, "code": CODE, "both": LATENT + CODE}
MEMORIES = {
    "recurrent": lambda width: Recurrent(HIDDEN, width),
    "lag": lambda width: Introspection(HIDDEN, width, 3, 2),
    "content": lambda width: Introspection(HIDDEN, width, 3, addressing="content"),
    "lag and content": lambda width: Introspection(HIDDEN, width, 4, 2, addressing="both"),
    "lru": lambda width: LeastRecentlyUsed(HIDDEN, width, SLOTS, SLOT, 2),
    "ntm": lambda width: NeuralTuring(HIDDEN, width, SLOTS, SLOT, 2),
    "dnc": lambda width: DifferentiableNeuralComputer(HIDDEN, width, SLOTS, SLOT, 2),
}
LIKELIHOODS = ("bernoulli", "gaussian", "categorical")


def make(memory="lag", likelihood="bernoulli", carry="sample", context=0, seed=3):
    torch.manual_seed(seed)
    cell = MEMORIES[memory](WIDTHS[carry])
    options = {"likelihood": likelihood, "carry": carry, "context_size": context, "code_size": CODE}
    return TemporalGenerativeModel(PIXELS, LATENT, cell, **options)


def lively(model):
    """In float64, with weights far from the initial ones."""
    model = model.double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.mul_(1.5).add_(0.3 * noise)
    return model


def frames(likelihood, time=5, batch=4, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if likelihood == "categorical":
        return torch.randint(PIXELS, (time, batch), generator=generator)
    x = torch.randn(time, batch, PIXELS, generator=generator, dtype=dtype)
    return (x > 0).to(dtype) if likelihood == "bernoulli" else x


# The model anew, in numpy, for one sequence.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def cosine(k, m):
    return k @ m / math.sqrt((k @ k + 1e-8) * (m @ m + 1e-8))


def array(tensor):
    return tensor.detach().double().numpy()


def linear(layer, x):
    return array(layer.weight) @ x + (0 if layer.bias is None else array(layer.bias))


def two_layers(layers, x):
    first, second = (layer for layer in layers if isinstance(layer, nn.Linear))
    return linear(second, np.maximum(linear(first, x), 0))


def cut(values, *sizes):
    assert len(values) == sum(sizes)
    return np.split(values, np.cumsum(sizes)[:-1])


class IntrospectionByHand:
    def __init__(self, cell):
        self.cell, self.rows = cell, []

    def write(self, h, v):
        self.rows = [v, *self.rows][: self.cell.span]

    def read(self, h):
        reads = []
        for r in range(self.cell.reads):
            scores = np.zeros(len(self.rows))
            for m, row in enumerate(self.rows):
                if self.cell.lags is not None:
                    scores[m] += linear(self.cell.lags, h)[r * self.cell.span + m]
                if self.cell.keys is not None:
                    key = linear(self.cell.keys, h)[r * len(row) : (r + 1) * len(row)]
                    scores[m] += key @ row / math.sqrt(len(row))
            weights = softmax(scores)
            reads.append(sum((w * row for w, row in zip(weights, self.rows, strict=True)), np.zeros(self.cell.width)))
        return reads


class LeastRecentlyUsedByHand:
    def __init__(self, cell):
        self.cell, self.M, self.used, self.last = cell, np.zeros((SLOTS, SLOT)), np.zeros(SLOTS), np.zeros(SLOTS)

    def write(self, h, v):
        contents, gate = cut(linear(self.cell.write_heads.linear, np.concatenate((h, v))), SLOT, 1)
        least = np.zeros(SLOTS)
        least[np.argmin(self.used)] = 1
        self.M[np.argmin(self.used)] = 0
        weights = sigmoid(gate) * self.last + (1 - sigmoid(gate)) * least
        self.M = self.M + np.outer(weights, contents)
        self.used = 0.95 * self.used + weights

    def read(self, h):
        keys, sharpness = cut(linear(self.cell.read_heads.linear, h), 2 * SLOT, 2)
        weights = [
            softmax(np.array([(1 + softplus(sharpness[r])) * cosine(key, m) for m in self.M]))
            for r, key in enumerate(cut(keys, SLOT, SLOT))
        ]
        self.used, self.last = self.used + sum(weights), weights[0]
        return [w @ self.M for w in weights]


class NeuralTuringByHand:
    def __init__(self, cell):
        first = np.eye(SLOTS)[0]
        self.cell, self.M, self.written, self.read_at = cell, np.zeros((SLOTS, SLOT)), first, [first, first]

    def address(self, key, strength, gate, shift, power, before):
        content = softmax(np.array([softplus(strength) * cosine(key, m) for m in self.M]))
        mixed = sigmoid(gate) * content + (1 - sigmoid(gate)) * before
        moved = np.zeros(SLOTS)
        for i in range(SLOTS):
            for share, by in zip(softmax(shift), (-1, 0, 1), strict=True):
                moved[i] += share * mixed[(i - by) % SLOTS]
        sharp = (moved + 1e-8) ** (1 + softplus(power))
        return sharp / sharp.sum()

    def write(self, h, v):
        told = linear(self.cell.write_heads.linear, np.concatenate((h, v)))
        erase, add, key, strength, gate, shift, power = cut(told, SLOT, SLOT, SLOT, 1, 1, 3, 1)
        self.written = self.address(key, strength[0], gate[0], shift, power[0], self.written)
        for i in range(SLOTS):
            self.M[i] = self.M[i] * (1 - self.written[i] * sigmoid(erase)) + self.written[i] * add

    def read(self, h):
        keys, strength, gate, shift, power = cut(linear(self.cell.read_heads.linear, h), 2 * SLOT, 2, 2, 6, 2)
        for r in range(2):
            told = keys[r * SLOT : (r + 1) * SLOT], strength[r], gate[r], shift[3 * r : 3 * r + 3], power[r]
            self.read_at[r] = self.address(*told, self.read_at[r])
        return [w @ self.M for w in self.read_at]


class ComputerByHand:
    def __init__(self, cell):
        zeros = np.zeros(SLOTS)
        self.cell, self.M, self.L = cell, np.zeros((SLOTS, SLOT)), np.zeros((SLOTS, SLOTS))
        self.u, self.w, self.p, self.r = zeros, zeros, zeros, [zeros, zeros]

    def write(self, h, v):
        told = linear(self.cell.write_heads.linear, np.concatenate((h, v)))
        add, erase, key, strength, free, allocate, gate = cut(told, SLOT, SLOT, SLOT, 1, 2, 1, 1)
        for i in range(SLOTS):
            kept = (1 - sigmoid(free[0]) * self.r[0][i]) * (1 - sigmoid(free[1]) * self.r[1][i])
            self.u = np.where(np.arange(SLOTS) == i, (self.u + self.w - self.u * self.w) * kept, self.u)
        content = softmax(np.array([(1 + softplus(strength[0])) * cosine(key, m) for m in self.M]))
        free_list, places = sorted(range(SLOTS), key=lambda i: self.u[i]), np.zeros(SLOTS)
        for j, i in enumerate(free_list):
            places[i] = (1 - self.u[i]) * math.prod(self.u[k] for k in free_list[:j])
        self.w = sigmoid(gate) * (sigmoid(allocate) * places + (1 - sigmoid(allocate)) * content)
        self.M = self.M * (1 - np.outer(self.w, sigmoid(erase))) + np.outer(self.w, add)
        for i, j in itertools.product(range(SLOTS), repeat=2):
            self.L[i, j] = 0 if i == j else (1 - self.w[i] - self.w[j]) * self.L[i, j] + self.w[i] * self.p[j]
        self.p = (1 - self.w.sum()) * self.p + self.w

    def read(self, h):
        keys, strength, modes = cut(linear(self.cell.read_heads.linear, h), 2 * SLOT, 2, 6)
        for r in range(2):
            key = keys[r * SLOT : (r + 1) * SLOT]
            content = softmax(np.array([(1 + softplus(strength[r])) * cosine(key, m) for m in self.M]))
            back, here, on = softmax(modes[3 * r : 3 * r + 3])
            self.r[r] = back * self.L.T @ self.r[r] + here * content + on * self.L @ self.r[r]
        return [w @ self.M for w in self.r]


BY_HAND = {
    Introspection: IntrospectionByHand,
    LeastRecentlyUsed: LeastRecentlyUsedByHand,
    NeuralTuring: NeuralTuringByHand,
    DifferentiableNeuralComputer: ComputerByHand,
}


def normal_of(raw):
    mean, deviation = np.split(raw, 2)
    return mean, softplus(deviation + math.log(math.e - 1)) + 1e-4


def log_normal(x, mean, deviation):
    return (-0.5 * ((x - mean) / deviation) ** 2 - np.log(deviation * math.sqrt(2 * math.pi))).sum()


def by_hand(model, x, choose, context=None):
    """Prior, posterior, latent and log-likelihood of every frame of one sequence, latents as `choose` says."""
    cell = model.memory
    memory = BY_HAND[type(cell)](cell) if cell.reads else None
    h = c = np.zeros(cell.hidden_size)
    v, steps = np.zeros(cell.width), []
    lstm = model.controller
    for t, frame in enumerate(x):
        fed = v if context is None else np.concatenate((v, context[t]))
        gates = array(lstm.weight_ih) @ fed + array(lstm.weight_hh) @ h + array(lstm.bias_ih) + array(lstm.bias_hh)
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        psi = h
        if memory:
            if t:
                memory.write(h, v)
            gated = zip(sigmoid(linear(model.gates, h)), memory.read(h), strict=True)
            psi = np.concatenate((h, *(gate * read for gate, read in gated)))
        seen = np.eye(model.observation[0])[frame] if model.likelihood == "categorical" else frame
        code = np.maximum(two_layers(model.encoder, seen), 0)
        belief = np.maximum(linear(model.belief, psi) + linear(model.evidence, code), 0)
        prior, posterior = normal_of(two_layers(model.prior, psi)), normal_of(linear(model.posterior, belief))
        z = choose(t, prior, posterior)
        out = two_layers(model.decoder, np.concatenate((z, psi)))
        if model.likelihood == "categorical":
            likelihood = math.log(softmax(out)[frame])
        elif model.likelihood == "bernoulli":
            likelihood = (frame * np.log(sigmoid(out)) + (1 - frame) * np.log(1 - sigmoid(out))).sum()
        else:
            mean, raw = np.split(out, 2)
            likelihood = log_normal(frame, *normal_of(np.concatenate((mean, raw))))
        steps.append((prior, posterior, z, likelihood))
        v = {
            "sample": z,
            "mean": posterior[0],
            "code": code,
            "both": np.concatenate((z, code)),
        }[model.carry]
    return steps


def divergence(q, p):
    (m, s), (n, r) = q, p
    return 0.5 * (np.log(r**2 / s**2) + (s**2 + (m - n) ** 2) / r**2 - 1).sum()


CASES = [
    *((memory, "bernoulli", "sample", 2) for memory in MEMORIES),
    *((memory, "gaussian", "both", 0) for memory in MEMORIES),
    ("dnc", "categorical", "code", 1),
    ("lag", "categorical", "mean", 0),
]


@pytest.mark.parametrize(("memory", "likelihood", "carry", "context"), CASES)
def test_the_bound_is_that_of_the_formulas(memory, likelihood, carry, context):
    model = lively(make(memory, likelihood, carry, context))
    x = frames(likelihood, 6, 3, torch.float64)
    told = torch.randn(6, 3, context, dtype=torch.float64) if context else None
    torch.manual_seed(5)
    bound = model(x, told)
    torch.manual_seed(5)
    noise = torch.randn(6, 3, LATENT, dtype=torch.float64).numpy()
    for b in range(3):
        known = None if told is None else told[:, b].numpy()
        steps = by_hand(model, x[:, b].numpy(), lambda t, p, q, b=b: q[0] + q[1] * noise[t, b], known)
        reconstruction = np.array([step[3] for step in steps])
        kl = np.array([divergence(q, p) for p, q, *_ in steps])
        np.testing.assert_allclose(array(bound.reconstruction[:, b]), reconstruction, rtol=1e-9)
        np.testing.assert_allclose(array(bound.kl[:, b]), kl, rtol=1e-9)
        np.testing.assert_allclose(array(bound.total[:, b]), reconstruction - kl, rtol=1e-9)


def test_importance_weights_are_those_of_the_formulas():
    model, samples = lively(make("dnc", "gaussian", "both", 1)), 4
    x, told = frames("gaussian", 3, 2, torch.float64), torch.randn(3, 2, 1, dtype=torch.float64)
    torch.manual_seed(5)
    found = model.importance_bound(x, samples, told)
    torch.manual_seed(5)
    noise = torch.randn(3, 2 * samples, LATENT, dtype=torch.float64).numpy()
    for b in range(2):
        weights = []
        for k in range(samples * b, samples * (b + 1)):
            steps = by_hand(model, x[:, b].numpy(), lambda t, p, q, k=k: q[0] + q[1] * noise[t, k], told[:, b].numpy())
            log = sum(like + log_normal(z, *p) - log_normal(z, *q) for p, q, z, like in steps)
            weights.append(math.exp(log))
        assert found[b].item() == pytest.approx(math.log(sum(weights) / samples), rel=1e-9)


# A model small enough for quadrature: one pixel, one latent, two frames.


def tiny(memory="lag", carry="sample"):
    torch.manual_seed(4)  # with others, importance weights spread too far
    width = {"sample": 1, "mean": 1, "code": 2, "both": 3}[carry]
    cells = {
        "recurrent": lambda: Recurrent(3, width),
        "lag": lambda: Introspection(3, width, 2),
        "dnc": lambda: DifferentiableNeuralComputer(3, width, SLOTS, SLOT, 2),
    }
    model = TemporalGenerativeModel(1, 1, cells[memory](), carry=carry, code_size=2).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
        for layer in (model.prior[-1], model.posterior, model.decoder[0]):
            layer.weight.mul_(2)
    return model


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
WEIGHTS = WEIGHTS / math.sqrt(2 * math.pi)


def integrals(model, x):
    """p(x) and the bound on ln p(x) of two frames, by Gauss-Hermite quadrature over both latents."""
    probability = bound = 0.0
    for (a, u), (b, w) in itertools.product(zip(NODES, WEIGHTS, strict=True), repeat=2):
        steps = by_hand(model, x, lambda t, p, q, e=(a, b): p[0] + p[1] * e[t])
        probability += u * w * math.exp(sum(step[3] for step in steps))
        steps = by_hand(model, x, lambda t, p, q, e=(a, b): q[0] + q[1] * e[t])
        bound += u * w * sum(like - divergence(q, p) for p, q, _, like in steps)
    return probability, bound


def test_the_bound_and_the_weights_are_right_on_average():
    model, many, total = tiny(), 20_000, 0.0
    for x in itertools.product((0.0, 1.0), repeat=2):
        sequence = np.array(x)[:, None]
        batch = torch.tensor(sequence).unsqueeze(1).expand(2, many, 1).contiguous()
        probability, bound = integrals(model, sequence)
        total += probability
        torch.manual_seed(1)
        bounds = array(model(batch).total.sum(0))
        weights = array(model.importance_bound(batch, 1).exp())
        assert abs(bounds.mean() - bound) < 4 * bounds.std() / math.sqrt(many)
        assert abs(weights.mean() - probability) < 4 * weights.std() / math.sqrt(many)
        assert bound < math.log(probability) - 1e-3
        nearer = array(model.importance_bound(batch[:, :500], 20))
        assert bound < nearer.mean() < math.log(probability) + 4 * nearer.std() / math.sqrt(500)
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("memory", "carry"), [("lag", "sample"), ("dnc", "both"), ("lag", "mean"), ("recurrent", "code")]
)
def test_what_is_generated_has_the_law_of_the_model(memory, carry):
    model, many = tiny(memory, carry), 20_000
    torch.manual_seed(2)
    made = model.generate(torch.empty(0, many, 1, dtype=torch.float64), 2)[:, :, 0]
    assert made.shape == (2, many)
    for x in itertools.product((0.0, 1.0), repeat=2):
        sequence = torch.tensor(x, dtype=torch.float64).view(2, 1, 1)
        p = model.importance_bound(sequence, many).exp().item()
        share = (made == sequence[:, :, 0]).all(0).double().mean().item()
        assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / many)


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_after_a_prefix_its_latents_are_those_of_the_posterior(first):
    model, many, expected = tiny(), 20_000, 0.0
    sequence = np.array([[first], [1.0]])
    for (a, u), (b, w) in itertools.product(zip(NODES, WEIGHTS, strict=True), repeat=2):
        steps = by_hand(model, sequence, lambda t, p, q, a=a, b=b: p[0] + p[1] * b if t else q[0] + q[1] * a)
        expected += u * w * math.exp(steps[1][3])
    torch.manual_seed(2)
    prefix = torch.full((1, many, 1), first, dtype=torch.float64)
    made = model.generate(prefix, 1)
    means = model.generate(prefix, 1, expected=True)
    assert abs(made.mean().item() - expected) < 4 * math.sqrt(expected * (1 - expected) / many)
    assert abs(means.mean().item() - expected) < 4 * means.std().item() / math.sqrt(many)


@pytest.mark.parametrize("carry", WIDTHS)
def test_expected_frames_come_of_the_same_path(carry):
    """The first is the mean from which the first sample was drawn; what is carried on is the sample."""
    model = make("lag", "bernoulli", carry)
    prefix = frames("bernoulli", 2, 500)
    torch.manual_seed(1)
    drawn = model.generate(prefix, 4)
    torch.manual_seed(1)
    means = model.generate(prefix, 4, expected=True)
    assert drawn.unique().tolist() == [0, 1]
    torch.testing.assert_close(drawn.mean((1, 2)), means.mean((1, 2)), atol=0.04, rtol=0)
    torch.manual_seed(1)
    torch.bernoulli(torch.zeros(1))  # nothing of it
    again = torch.manual_seed(1) and model.generate(prefix, 4)
    assert torch.equal(again, drawn)


def constant(likelihood, parameters):
    """A model whose frames have these parameters whatever came before."""
    model = make("lag", likelihood)
    last = [layer for layer in model.decoder if isinstance(layer, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor(parameters)
    return model


def test_frames_are_drawn_from_the_likelihood():
    torch.manual_seed(0)
    mean, deviation = [0.0, 1.0, -2.0, 3.0, 0.5, 0.1], [0.0, 1.0, -1.0, -2.0, 2.0, 0.5]
    model = constant("gaussian", [*mean, *deviation])
    drawn = model.generate(torch.empty(0, 20_000, PIXELS), 1)[0]
    expected = torch.nn.functional.softplus(torch.tensor(deviation) + math.log(math.e - 1)) + 1e-4
    torch.testing.assert_close(drawn.std(0), expected, rtol=0.03, atol=0)
    torch.testing.assert_close(drawn.mean(0), torch.tensor(mean), atol=0.06, rtol=0)
    means = model.generate(torch.empty(0, 2, PIXELS), 3, expected=True)
    torch.testing.assert_close(means, torch.tensor(mean).expand(3, 2, PIXELS))

    logits = torch.tensor([0.0, 1.0, -1.0, 0.3, 2.0, -3.0])
    model = constant("categorical", logits.tolist())
    none = torch.empty(0, 20_000, dtype=torch.int64)
    drawn = model.generate(none, 2)
    assert drawn.dtype == torch.int64
    assert drawn.shape == (2, 20_000)
    shares = torch.stack([(drawn == symbol).float().mean() for symbol in range(PIXELS)])
    torch.testing.assert_close(shares, logits.softmax(0), atol=0.01, rtol=0)
    shares = model.generate(none[:, :3], 2, expected=True)
    torch.testing.assert_close(shares, logits.softmax(0).expand(2, 3, PIXELS))

    model = constant("bernoulli", logits.tolist())
    drawn = model.generate(torch.empty(0, 20_000, PIXELS), 1)[0]
    torch.testing.assert_close(drawn.mean(0), logits.sigmoid(), atol=0.015, rtol=0)


# Distributions.


def test_divergence_and_density_are_those_of_torch():
    torch.manual_seed(0)
    q, p = (Normal(torch.randn(5, 4).double(), torch.rand(5, 4).double() + 0.1) for _ in range(2))
    theirs = [torch.distributions.Normal(*each) for each in (q, p)]
    torch.testing.assert_close(kl_normal(q, p), torch.distributions.kl_divergence(*theirs).sum(-1))
    z = torch.randn(5, 4).double()
    torch.testing.assert_close(q.log_prob(z), theirs[0].log_prob(z).sum(-1))
    torch.testing.assert_close(q.sample(z), q.mean + q.deviation * z)
    assert kl_normal(q, q).abs().max() < 1e-14


def test_divergence_is_negative_by_rounding_only():
    torch.manual_seed(0)
    mean, deviation = torch.randn(10_000, 1), torch.rand(10_000, 1) * 3 + 1e-4
    q = Normal(mean, deviation)
    p = Normal(mean * (1 + 1e-7 * torch.randn(10_000, 1)), deviation * (1 + 3e-4 * torch.randn(10_000, 1)))
    assert kl_normal(q, p).min() > -3e-7
    tight, wide = Normal(torch.zeros(1), torch.tensor([1e-4])), Normal(torch.full((1,), 50.0), torch.tensor([90.0]))
    for left, right in ((tight, wide), (wide, tight)):
        theirs = torch.distributions.kl_divergence(*(torch.distributions.Normal(*each) for each in (left, right)))
        torch.testing.assert_close(kl_normal(left, right), theirs.sum(-1))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_likelihoods_are_those_of_torch(likelihood):
    model = make("lag", likelihood)
    x = frames(likelihood)
    parameters = torch.randn(5, 4, *model.parameter_shape)
    if likelihood == "categorical":
        expected = torch.distributions.Categorical(logits=parameters).log_prob(x)
    elif likelihood == "bernoulli":
        expected = torch.distributions.Bernoulli(logits=parameters).log_prob(x).sum(-1)
    else:
        deviation = torch.nn.functional.softplus(parameters[:, :, 1] + math.log(math.e - 1)) + 1e-4
        expected = torch.distributions.Normal(parameters[:, :, 0], deviation).log_prob(x).sum(-1)
    torch.testing.assert_close(model.log_likelihood(parameters, x), expected)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_frames_are_not_broadcast(likelihood):
    model = make("lag", likelihood)
    with pytest.raises(ValueError, match=r"shape|size"):
        model.log_likelihood(torch.zeros(5, 4, *model.parameter_shape), torch.zeros(5, 4, 1))


def test_grey_pixels_count_in_proportion():
    model = make("lag")
    logits, grey = torch.randn(2, 3, PIXELS), torch.rand(2, 3, PIXELS)
    white, black = (model.log_likelihood(logits, torch.full_like(grey, value)) for value in (1.0, 0.0))
    one = torch.full_like(grey, 0.3)
    torch.testing.assert_close(model.log_likelihood(logits, one), 0.3 * white + 0.7 * black)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("size", [200.0, -200.0])
def test_saturated_frames_have_finite_likelihoods_and_gradients(likelihood, size):
    model = make("lag", likelihood)
    x = frames(likelihood)
    parameters = (size * torch.ones(5, 4, *model.parameter_shape)).requires_grad_()
    with torch.no_grad():
        parameters[..., 0] = -size
    found = model.log_likelihood(parameters, x)
    found.sum().backward()
    assert found.isfinite().all()
    assert parameters.grad.isfinite().all()
    if likelihood == "bernoulli":
        wrong = (x != (parameters > 0)).sum(-1)
        torch.testing.assert_close(found, -200.0 * wrong)


@pytest.mark.parametrize("memory", MEMORIES)
def test_extreme_weights_give_finite_bounds_and_gradients(memory):
    model = make(memory, "bernoulli", "both")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(40 if name.startswith(("memory", "gates", "controller")) else 1)
    bound = model(frames("bernoulli", 30, 3))
    bound.total.sum().backward()
    assert bound.total.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


# What depends on what.


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("carry", ["sample", "both"])
def test_no_frame_sees_what_comes_later(memory, carry):
    model, x, context = lively(make(memory, "gaussian", carry, 2)), frames("gaussian", 6, 2, torch.float64), None
    context = torch.randn(6, 2, 2, dtype=torch.float64)

    def totals(x, context):
        torch.manual_seed(0)
        return model(x, context).total

    for changed in ((x.clone(), context), (x, context.clone())):
        changed[0 if changed[0] is not x else 1][3, 0] += 1
        apart = (totals(*changed) - totals(x, context)).abs()
        assert torch.equal(apart[:3], torch.zeros(3, 2, dtype=torch.float64))
        assert (apart[3:, 0] > 0).all()
        assert apart[:, 1].max() < 1e-12  # no sequence sees another


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize(
    ("carry", "likelihood"), [("sample", "categorical"), ("both", "bernoulli"), ("mean", "gaussian")]
)
def test_gradients_reach_every_parameter(memory, carry, likelihood):
    model = make(memory, likelihood, carry, 1)
    model(frames(likelihood, 6, 3), torch.randn(6, 3, 1)).total.sum().backward()
    assert [name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0] == []


def test_the_decoder_is_reached_through_the_latent_and_the_last_bound_from_the_first_frame():
    model = lively(make("lag", "gaussian"))
    x = frames("gaussian", 4, 1, torch.float64).requires_grad_()
    model(x).total[3].sum().backward()
    assert (x.grad.abs().sum((1, 2)) > 0).all()


# Memories.


def controllers(time, batch=2, width=LATENT, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(time, batch, HIDDEN, generator=generator)
    return zip(hidden, torch.randn(time, batch, width, generator=generator), strict=True)


@pytest.mark.parametrize("addressing", ["lag", "content", "both"])
def test_introspection_keeps_the_newest_rows_and_weighs_only_those(addressing):
    torch.manual_seed(0)
    cell = Introspection(HIDDEN, LATENT, 3, 2, addressing=addressing)
    state, seen = cell.reset(2), []
    hidden = torch.randn(2, HIDDEN)
    read, _ = cell.read(state, hidden)
    assert torch.equal(read, torch.zeros(2, 2, LATENT))
    for h, v in controllers(5):
        state = cell.write(state, h, v)
        seen = [v, *seen][:3]
        weights = cell.weights(state, h)
        assert torch.equal(state, torch.stack(seen, 1))
        assert weights.shape == (2, 2, len(seen))
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2))


def test_a_sharp_lag_reads_a_copy():
    cell = Introspection(HIDDEN, LATENT, 4)
    nn.init.zeros_(cell.lags.weight)
    cell.lags.bias.data = torch.tensor([0.0, 0.0, 12.0, 0.0])
    state, seen = cell.reset(2), []
    for h, v in controllers(6):
        state = cell.write(state, h, v)
        seen.append(v)
    read, _ = cell.read(state, h)
    share = 1 - 3 / (math.exp(12) + 3)
    others = seen[-1] + seen[-2] + seen[-4]
    torch.testing.assert_close(read[:, 0], share * seen[-3] + (1 - share) / 3 * others)


def test_the_computer_keeps_its_invariants():
    torch.manual_seed(0)
    cell = DifferentiableNeuralComputer(HIDDEN, LATENT, 6, 2, 3).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(8)
    state = cell.reset(4)
    for h, v in controllers(30, 4):
        _, state = cell.read(cell.write(state, h.double(), v.double()), h.double())
        for share in (state.usage, state.written, state.precedence, state.link, state.weights):
            assert share.min() > -1e-12
            assert share.max() < 1 + 1e-12
        sums = (state.written, state.precedence, state.link, state.link.mT, state.weights)
        assert max(part.sum(-1).max() for part in sums) < 1 + 1e-12
        assert torch.equal(state.link.diagonal(dim1=1, dim2=2), torch.zeros(4, 6, dtype=torch.float64))


def test_a_turing_memory_begins_by_writing_slot_after_slot():
    torch.manual_seed(0)
    cell = NeuralTuring(HIDDEN, LATENT, SLOTS, SLOT, 2)
    state = cell.reset(2)
    for step, (h, v) in enumerate(controllers(6), 1):
        state = cell.write(state, h, v)
        assert state.weights[:, 2].argmax(-1).tolist() == [step % SLOTS] * 2


def test_a_turing_memory_of_torchs_biases_lacks_the_start_of_a_tape_and_no_more():
    torch.manual_seed(0)
    tape = NeuralTuring(HIDDEN, LATENT, SLOTS, SLOT, 2)
    torch.manual_seed(0)
    plain = NeuralTuring(HIDDEN, LATENT, SLOTS, SLOT, 2, tape=False)
    written = tape.write_heads.linear.bias - plain.write_heads.linear.bias
    read = tape.read_heads.linear.bias - plain.read_heads.linear.bias
    #                             erase, contents, keys, strength, gate, shift, power
    torch.testing.assert_close(written, torch.tensor([0.0] * 9 + [0, -3, 0, 0, 4, 0]))
    #                             keys, strength, gate, shift, power, of two heads each
    torch.testing.assert_close(read, torch.tensor([0.0] * 6 + [3, 3, 3, 3, 0, 3, 0, 0, 3, 0, 0, 0]))
    bound = torch.nn.Linear(HIDDEN, 1).in_features ** -0.5
    assert plain.read_heads.linear.bias.abs().max() <= bound


def test_a_memory_that_reads_must_say_how_much():
    class Last(Recurrent):
        def read(self, state, hidden):
            return hidden.new_ones(len(hidden), 1, self.width), state

    with pytest.raises(ValueError, match="Last reads, so it must say in `reads` and `read_width` what"):
        TemporalGenerativeModel(PIXELS, LATENT, Last(HIDDEN, LATENT))
    memory = Last(HIDDEN, LATENT)
    memory.reads, memory.read_width = 1, LATENT
    model = TemporalGenerativeModel(PIXELS, LATENT, memory)
    assert model.psi_size == HIDDEN + LATENT
    assert model(torch.rand(3, 2, PIXELS).round()).total.shape == (3, 2)


def test_allocation_takes_the_least_used_slot_and_leaves_what_is_used():
    usage = torch.rand(50, 5, dtype=torch.float64)
    found = allocation(usage)
    torch.testing.assert_close(found.sum(-1), 1 - usage.prod(-1))
    for u, a in zip(usage, found, strict=True):
        order = sorted(range(5), key=lambda i: u[i])
        expected = [(1 - u[i]) * math.prod(u[k] for k in order[: order.index(i)]) for i in range(5)]
        torch.testing.assert_close(a, torch.stack(expected))
    torch.testing.assert_close(allocation(torch.zeros(2, 3)), torch.tensor([[1.0, 0, 0], [1, 0, 0]]))
    assert torch.equal(allocation(torch.ones(3)), torch.zeros(3))
    assert torch.equal(allocation(torch.tensor([0.3])), torch.tensor([1 - 0.3]))


@pytest.mark.parametrize("memory", [name for name in MEMORIES if name != "recurrent"])
def test_a_memory_leaves_the_state_that_it_is_given_alone(memory):
    torch.manual_seed(0)
    cell = MEMORIES[memory](LATENT)
    state = cell.reset(2)
    for h, v in controllers(3):
        parts = [state] if isinstance(state, torch.Tensor) else list(state)
        before = [part.clone() for part in parts]
        written = cell.write(state, h, v)
        read, state = cell.read(written, h)
        assert read.shape == (2, cell.reads, cell.read_width)
        assert all(map(torch.equal, before, parts))


# Numbers, precision, copies.

# Losses first and after 20 updates of Adam, the sums of expected frames and of importance bounds: of the version that
# trained the recorded rows.
GOLDEN = {
    ("recurrent", "bernoulli", "both", 0): [24.087307, 20.5887642, 39.0113106, -82.295639],
    ("lag", "bernoulli", "sample", 2): [23.8821793, 20.3110962, 41.2819138, -80.4830017],
    ("content", "gaussian", "mean", 0): [47.9730606, 41.4817963, 0.97323662, -167.718964],
    ("lag and content", "categorical", "sample", 0): [11.2336159, 8.42659473, 12.0, -33.486969],
    ("lru", "bernoulli", "code", 0): [23.6225395, 20.3358288, 34.8049431, -81.1795959],
    ("ntm", "gaussian", "sample", 0): [49.2281113, 41.9595795, -3.26570559, -167.381927],
    ("dnc", "categorical", "both", 2): [10.0875006, 8.58359814, 12.0, -34.0680313],
    ("dnc", "bernoulli", "sample", 0): [22.9341965, 19.8789177, 41.4599419, -79.2118073],
}


@pytest.mark.parametrize("case", GOLDEN)
def test_losses_are_those_of_recorded_rows(case):
    model = make(*case)
    drawn = torch.rand(5, 4, PIXELS).round(), torch.randn(5, 4, PIXELS), torch.randint(PIXELS, (5, 4))
    x = drawn[LIKELIHOODS.index(case[1])]
    context = torch.randn(5, 4, case[3]) if case[3] else None
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(21):
        loss = -model(x, context).total.sum(0).mean()
        losses.append(loss.item())
        if len(losses) <= 20:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    made = model.generate(x[:2], 3, context, expected=True).sum().item()
    weighted = model.importance_bound(x, 5, context).sum().item()
    assert [losses[0], losses[20], made, weighted] == pytest.approx(GOLDEN[case], rel=1e-5)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_memory_latents_and_bound_are_single(memory, dtype):
    single = make(memory, "gaussian", "both", 1)
    half = copy.deepcopy(single).to(dtype)
    x, context = frames("gaussian").to(dtype), torch.randn(5, 4, 1).to(dtype)
    state = half.memory.reset(2)
    parts = [state] if isinstance(state, torch.Tensor) else list(state)
    assert all(part.dtype == torch.float32 for part in parts)
    bounds = []
    for model in (single, half):
        torch.manual_seed(0)
        like = next(model.parameters()).dtype
        bounds.append(model(x.to(like), context.to(like)))
    assert all(part.dtype == torch.float32 for part in bounds[1])
    torch.testing.assert_close(bounds[1].total, bounds[0].total, rtol=0.03, atol=0.3)
    bounds[1].total.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in half.parameters())
    assert half.generate(x[:2], 2, context[:4]).dtype == dtype
    assert half.generate(x[:2], 2, context[:4], expected=True).dtype == torch.float32
    assert half.importance_bound(x, 2, context).dtype == torch.float32


@pytest.mark.parametrize("memory", MEMORIES)
def test_autocast_reaches_encoder_and_decoder_alone(memory):
    model = make(memory, "gaussian", "both", 1)
    x, context = frames("gaussian"), torch.randn(5, 4, 1)
    torch.manual_seed(0)
    exact = model(x, context)
    seen = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o.dtype}))
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        near = model(x.bfloat16(), context)
        model.generate(x[:2], 2, context[:4])
    assert {name for name, dtype in seen.items() if dtype == torch.bfloat16} == {
        "encoder.1", "encoder.3", "decoder.0", "decoder.2"
    }  # fmt: skip
    assert all(part.dtype == torch.float32 for part in near)
    torch.testing.assert_close(near.total, exact.total, rtol=0.03, atol=0.3)
    assert not torch.equal(near.total, exact.total)


def test_nothing_is_kept_between_calls_and_copies_are_alike():
    model, x = make("dnc"), frames("bernoulli")
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = make("dnc", seed=9)
    other.load_state_dict(torch.load(file))
    bounds = []
    for each in (model, model.eval(), copy.deepcopy(model), other):
        torch.manual_seed(0)
        bounds.append(each(x).total)
        bounds[-1].sum().backward()  # a graph of an earlier call would be gone
    assert all(torch.equal(bounds[0], bound) for bound in bounds[1:])


def test_a_decoder_that_copies_what_it_was_given_sees_latents_before_what_was_read():
    class Keeper(nn.Module):
        def forward(self, x):
            self.seen = x
            return x[:, :PIXELS]

    keeper = Keeper()
    model = TemporalGenerativeModel(PIXELS, LATENT, Introspection(HIDDEN, LATENT, 2), decoder=keeper)
    torch.manual_seed(0)
    bound = model(frames("bernoulli"))
    torch.manual_seed(0)
    _, z, psi = model.infer(frames("bernoulli"))
    torch.testing.assert_close(keeper.seen, torch.cat((z, psi), -1).flatten(0, 1))
    assert bound.total.shape == (5, 4)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_images_and_layers_of_ones_own(likelihood):
    maps = 2 if likelihood == "gaussian" else 1
    shape = (2, 3, 4, 4) if likelihood == "gaussian" else (3, 4, 4)
    encoder = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, CODE))
    memory = Introspection(HIDDEN, CODE, 2)
    size = LATENT + HIDDEN + CODE
    decoder = nn.Sequential(nn.Linear(size, maps * 48), nn.Unflatten(1, shape))
    options = {"likelihood": likelihood, "carry": "code", "code_size": CODE, "encoder": encoder}
    for own in (decoder, None):
        model = TemporalGenerativeModel((3, 4, 4), LATENT, memory, decoder=own, **options)
        x = torch.rand(5, 2, 3, 4, 4)
        assert model(x).total.shape == (5, 2)
        for expected in (False, True):
            assert model.generate(x[:1], 3, expected=expected).shape == (3, 2, 3, 4, 4)


def test_an_empty_encoder_is_an_encoder():
    """A `Sequential` without layers is false."""
    model = TemporalGenerativeModel(
        PIXELS, LATENT, Recurrent(HIDDEN, LATENT), code_size=PIXELS, encoder=nn.Sequential()
    )
    assert len(model.encoder) == 0
    assert model(frames("bernoulli")).total.shape == (5, 4)


@pytest.mark.parametrize("memory", ["recurrent", "lag", "lru", "ntm", "dnc"])
def test_sizes_of_one(memory):
    cells = {
        "recurrent": lambda: Recurrent(1, 1),
        "lag": lambda: Introspection(1, 1, 1),
        "lru": lambda: LeastRecentlyUsed(1, 1, 1, 1),
        "ntm": lambda: NeuralTuring(1, 1, 1, 1),
        "dnc": lambda: DifferentiableNeuralComputer(1, 1, 1, 1),
    }
    model = TemporalGenerativeModel(1, 1, cells[memory](), code_size=1)
    for time in (1, 3):
        assert model(torch.ones(time, 1, 1)).total.shape == (time, 1)
    assert model.generate(torch.ones(1, 1, 1), 1).shape == (1, 1, 1)
    assert model.importance_bound(torch.ones(2, 1, 1), 1).shape == (1,)


# Refusals.


@pytest.mark.parametrize(
    ("error", "match", "options"),
    [
        (TypeError, "latent_size must be an int", {"latent_size": 2.0}),
        (TypeError, "latent_size must be an int", {"latent_size": True}),
        (ValueError, "latent_size must be at least 1", {"latent_size": 0}),
        (ValueError, "code_size must be at least 1", {"code_size": 0}),
        (ValueError, "context_size must be at least 1, got -1", {"context_size": -1}),
        (TypeError, "context_size must be an int", {"context_size": 1.5}),
        (ValueError, r"observation\[1\] must be at least 1", {"observation": (3, 0)}),
        (TypeError, r"observation\[0\] must be an int", {"observation": 6.0}),
        (ValueError, "observation has 0 sizes", {"observation": ()}),
        (ValueError, "observation has 2 sizes", {"observation": (3, 2), "likelihood": "categorical"}),
        (ValueError, "likelihood must be one of bernoulli, gaussian, categorical", {"likelihood": "normal"}),
        (ValueError, "carry must be one of sample, mean, code, both", {"carry": "z"}),
        (TypeError, "memory must be a Recurrent, such as Introspection, got LSTMCell", {"memory": nn.LSTMCell(3, 3)}),
        (ValueError, "carry='both' has width 8, the memory takes 3", {"carry": "both"}),
        (ValueError, "carry='code' has width 5, the memory takes 3", {"carry": "code"}),
        (ValueError, "carry='sample' has width 4, the memory takes 3", {"latent_size": 4}),
    ],
)
def test_a_model_that_fits_nothing_is_refused(error, match, options):
    sizes = {"observation": PIXELS, "latent_size": LATENT, "memory": Recurrent(HIDDEN, LATENT), "code_size": CODE}
    with pytest.raises(error, match=match):
        TemporalGenerativeModel(**{**sizes, **options})


@pytest.mark.parametrize(
    ("error", "match", "build"),
    [
        (ValueError, "span must be at least 1", lambda: Introspection(3, 3, 0)),
        (ValueError, "reads must be at least 1", lambda: Introspection(3, 3, 2, 0)),
        (ValueError, "addressing must be one of lag, content, both", lambda: Introspection(3, 3, 2, addressing="z")),
        (ValueError, "hidden_size must be at least 1", lambda: Recurrent(0, 3)),
        (ValueError, "width must be at least 1", lambda: NeuralTuring(3, 0, 2, 2)),
        (ValueError, "slots must be at least 1", lambda: DifferentiableNeuralComputer(3, 3, 0, 2)),
        (ValueError, "slot_width must be at least 1", lambda: DifferentiableNeuralComputer(3, 3, 2, 0)),
        (TypeError, "reads must be an int", lambda: DifferentiableNeuralComputer(3, 3, 2, 2, 1.0)),
        (ValueError, "reads <= slots", lambda: LeastRecentlyUsed(3, 3, 2, 2, 3)),
    ],
)
def test_a_memory_of_no_size_is_refused(error, match, build):
    with pytest.raises(error, match=match):
        build()


X, SYMBOLS = torch.zeros(5, 4, PIXELS), torch.zeros(5, 4, dtype=torch.int64)
WRONG = [
    ("bernoulli", 0, TypeError, "x must be a tensor, got list", [1.0], None),
    ("bernoulli", 0, ValueError, r"x must have shape \(time, batch, 6\), got \(5, 4, 5\)", X[..., 1:], None),
    ("gaussian", 0, ValueError, r"x must have shape \(time, batch, 6\), got \(5, 4, 1\)", X[..., :1], None),
    ("bernoulli", 0, ValueError, r"got \(5, 4, 6, 1\)", X[..., None], None),
    ("bernoulli", 0, ValueError, r"a time of at least 1 and a batch of at least 1, got \(0, 4, 6\)", X[:0], None),
    ("bernoulli", 0, ValueError, r"at least 1, got \(5, 0, 6\)", X[:, :0], None),
    ("bernoulli", 0, TypeError, "x is torch.uint8, expected torch.float32", X.to(torch.uint8), None),
    ("bernoulli", 0, TypeError, "x is torch.float64, expected torch.float32", X.double(), None),
    ("bernoulli", 0, ValueError, "x is on meta, expected cpu", X.to("meta"), None),
    ("bernoulli", 0, ValueError, r"x must lie in \[0, 1\], got 0 to 255", torch.cat((X[:4], X[4:] + 255)), None),
    ("bernoulli", 0, ValueError, r"x must lie in \[0, 1\], got -0.1 to -0.1", X - 0.1, None),
    ("bernoulli", 0, ValueError, r"x must lie in \[0, 1\], got nan", X * math.nan, None),
    ("categorical", 0, TypeError, "x is torch.float32, expected torch.int64", SYMBOLS.float(), None),
    ("categorical", 0, ValueError, r"x must have shape \(time, batch\), got \(5, 4, 6\)", X.long(), None),
    ("categorical", 0, ValueError, r"x must lie in \[0, 5\], got 6 to 6", SYMBOLS + 6, None),
    ("categorical", 0, ValueError, r"x must lie in \[0, 5\], got -1 to -1", SYMBOLS - 1, None),
    ("gaussian", 0, ValueError, "a model of context_size 0 takes no context", X, X),
    ("gaussian", 2, TypeError, "context must be a tensor, got NoneType", X, None),
    ("gaussian", 2, ValueError, r"context must have shape \(5, 4, 2\), got \(4, 4, 2\)", X, torch.zeros(4, 4, 2)),
    ("gaussian", 2, TypeError, "context is torch.int64, expected torch.float32", X, torch.zeros(5, 4, 2).long()),
]


@pytest.mark.parametrize(("likelihood", "context_size", "error", "match", "x", "context"), WRONG)
def test_wrong_input_is_refused(likelihood, context_size, error, match, x, context):
    model = make("lag", likelihood, context=context_size)
    with pytest.raises(error, match=match):
        model(x, context)
    with pytest.raises(error, match=match):
        model.infer(x, context)
    if isinstance(x, torch.Tensor):
        with pytest.raises(error, match=match):
            model.importance_bound(x, 3, context)


def test_generate_wants_context_for_all_frames_and_frames_to_add():
    model = make("lag", context=1)
    with pytest.raises(ValueError, match=r"context must have shape \(7, 4, 1\), got \(5, 4, 1\)"):
        model.generate(X, 2, torch.zeros(5, 4, 1))
    with pytest.raises(ValueError, match="steps must be at least 1"):
        model.generate(X, 0, torch.zeros(5, 4, 1))
    with pytest.raises(ValueError, match="prefix needs a time of at least 0 and a batch of at least 1"):
        model.generate(X[:, :0], 1, torch.zeros(6, 0, 1))
    with pytest.raises(ValueError, match="samples must be at least 1"):
        model.importance_bound(X, 0, torch.zeros(5, 4, 1))
    assert model.generate(X, 2, torch.zeros(7, 4, 1)).shape == (2, 4, PIXELS)
    assert model.generate(X[:0], 1, torch.zeros(1, 4, 1)).shape == (1, 4, PIXELS)


def test_layers_that_return_another_shape_are_refused():
    memory = Introspection(HIDDEN, LATENT, 2)
    model = TemporalGenerativeModel(PIXELS, LATENT, memory, encoder=nn.Linear(PIXELS, 9))
    with pytest.raises(ValueError, match=r"encoder must return \(n, 64\), got \(20, 9\)"):
        model(X)
    narrow = nn.Sequential(nn.Linear(LATENT + HIDDEN + LATENT, 2), nn.Unflatten(1, (2, 1)))
    model = TemporalGenerativeModel(PIXELS, LATENT, memory, likelihood="gaussian", decoder=narrow)
    with pytest.raises(ValueError, match=r"decoder must return \(n, \*\(2, 6\)\), got \(20, 2, 1\)"):
        model(X)


# What is timed.


def test_the_loop_that_is_timed_computes_the_same():
    config = Cost(5, 3, 4, 6, 2, 3)
    torch.manual_seed(0)
    model = recurrent_model(config)
    x = torch.rand(5, 3, 4).round()
    torch.manual_seed(1)
    ours = model(x).total.sum(0)
    torch.manual_seed(1)
    theirs = LoopedModel(model)(x, torch.randn(5, 3, 2))
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(bound.sum(), list(model.parameters())) for bound in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_costs_are_measured():
    cpu = torch.device("cpu")
    found = measure(Cost(3, 2, 4, 5, 2, 3, repeats=1), 0, cpu)
    assert found.keys() == {
        "ours_seconds", "ours_bytes", "ours_ratio", "ours_best_ratio", "loop_seconds", "loop_bytes"
    }  # fmt: skip
    assert all(value > 0 for value in found.values())
    found = measure_memories(MemoryCost(3, 2, 5, 4, 3, 2, 1, repeats=1), 0, cpu)
    names = {"dnc", "ntm", "lru", "introspection"}
    assert {f"{name}_{what}" for name in names for what in ("seconds", "bytes")} <= found.keys()
