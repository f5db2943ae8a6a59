"""The experiments on generative models with memory: stocks, sequences, what is trained and measured, rates, claims."""

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from workedpapers.experiments.temporal_memory import (
    ARMS,
    EXPERIMENTS,
    LIVE,
    Temporal,
    claims,
    draw,
    measure,
    named,
    run,
    scoreboard,
    tables,
    train,
    training,
)
from workedpapers.lab import missing
from workedpapers.lab.paths import folder_from
from workedpapers.lab.sweeps import recorded
from workedpapers.tasks import sequences
from workedpapers.tasks.images import Images, digits
from workedpapers.tasks.omniglot import strokes
from workedpapers.tasks.retrieval import SYMBOLS, decode
from workedpapers.tasks.sequences import Episodes
from workedpapers.temporal_memory import (
    Addressing,
    Bound,
    Carry,
    DifferentiableNeuralComputer,
    Introspection,
    LeastRecentlyUsed,
    NeuralTuring,
    Recurrent,
)

CPU = torch.device("cpu")
TINY = Temporal(stored=3, recalled=2, latent=3, code=8, hidden=8, width=4, batch=4, learning_rate=0.1, updates=4)
TASKS = {
    "recall": TINY,
    "parity": replace(TINY, task="parity"),
    "parity, answered": replace(TINY, task="parity", answered=True),
    "pointer": replace(TINY, task="pointer"),
    "cue": replace(TINY, task="cue"),
    "walk": replace(TINY, task="walk", recalled=7),
    "panorama": replace(TINY, task="panorama", recalled=9),
    "strings": replace(TINY, task="strings"),
}
MEMORIES = {
    "none": Recurrent,
    "introspection": Introspection,
    "lru": LeastRecentlyUsed,
    "ntm": NeuralTuring,
    "dnc": DifferentiableNeuralComputer,
}
TESTED = 24
RECORDED = (training.TESTED, training.TEST_SEED)  # before a test changes them


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Few test sequences."""
    monkeypatch.setattr(training, "TESTED", TESTED)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def spied(monkeypatch, name):
    """Arguments of all calls of a function of the module, and what it returned."""
    calls, function = [], getattr(training, name)

    def spy(*args):
        calls.append((args, function(*args)))
        return calls[-1][1]

    monkeypatch.setattr(training, name, spy)
    return calls


# Stocks of images


@pytest.mark.parametrize("part", ["train", "test"])
def test_small_digits_are_moved_by_a_pixel_in_all_directions(part):
    images, labels = training.stock("digits", part)
    given = digits(part)
    ink = (given.images >= 128).numpy()
    count = len(ink)
    assert images.shape == (9 * count, training.PIXELS["digits"])
    assert images.dtype == torch.float32
    found = images.view(9, count, 8, 8).numpy()
    shifts = [(down, right) for down in (1, 0, -1) for right in (1, 0, -1)]
    for place, (down, right) in enumerate(shifts):
        expected = np.zeros((count, 8, 8))
        for row in range(8):
            for column in range(8):
                if 0 <= row - down < 8 and 0 <= column - right < 8:
                    expected[:, row, column] = ink[:, row - down, column - right]
        assert np.array_equal(found[place], expected)
        assert torch.equal(labels[place * count : (place + 1) * count], given.labels)


def test_test_digits_are_those_of_other_writers():
    train_images, test_images = (training.stock("digits", part)[0] for part in ("train", "test"))
    assert (len(train_images), len(test_images)) == (9 * 1400, 9 * 397)
    seen = {image.numpy().tobytes() for image in train_images}
    common = sum(image.numpy().tobytes() in seen for image in test_images)
    assert common / len(test_images) < 0.05  # two drawings can have the same few pixels


def test_mnist_is_averaged_down_to_ink_or_none(monkeypatch):
    pictures = torch.randint(256, (5, 28, 28), generator=seeded(), dtype=torch.uint8)
    pictures[0, :2, :2] = 128  # half as bright as can be: ink
    asked = []
    monkeypatch.setattr(training, "mnist", lambda part: asked.append(part) or Images(pictures, torch.arange(5)))
    images, labels = training.stock.__wrapped__("mnist", "test")
    assert asked == ["test"]
    assert labels.tolist() == [0, 1, 2, 3, 4]
    assert images.shape == (5, training.PIXELS["mnist"])
    for i, picture in enumerate(pictures.tolist()):
        for place, value in enumerate(images[i].tolist()):
            row, column = 2 * (place // 14), 2 * (place % 14)
            total = sum(picture[row + a][column + b] for a in (0, 1) for b in (0, 1))
            assert value == (total >= 4 * 128)


def test_characters_to_test_on_are_of_alphabets_that_training_lacks(monkeypatch):
    characters, asked = strokes(16, 3, alphabets=8, seed=0), []
    monkeypatch.setattr(training, "omniglot", lambda part: asked.append(part) or characters)
    (known, known_labels), (unknown, labels) = (
        training.stock.__wrapped__("omniglot", part) for part in ("train", "test")
    )
    assert set(asked) == {"background"}
    assert known.shape == (4 * 2 * 2 * 3, training.PIXELS["omniglot"])  # two of eight alphabets, four ways up
    assert unknown.shape == (6 * 2 * 3, training.PIXELS["omniglot"])
    assert known_labels.tolist() == [i // 3 for i in range(4 * 4 * 3)]
    assert labels.tolist() == [i // 3 for i in range(12 * 3)]
    pooled = F.avg_pool2d(characters.images.float(), 2).flatten(2) / 255
    ours = {drawing.numpy().tobytes(): c for c, of in enumerate((pooled >= 0.25).float()) for drawing in of}
    tested = {ours[image.numpy().tobytes()] for image in unknown}
    upright = {ours[image.numpy().tobytes()] for image in known if image.numpy().tobytes() in ours}
    assert len(tested) == 12
    assert len(upright) == 4
    assert not tested & upright
    assert len({c // 2 for c in tested}) == 6


def test_drawings_that_a_file_lacks_are_no_images(monkeypatch):
    characters = strokes(16, 3, alphabets=8, seed=0)
    mask = torch.rand(16, 3, generator=seeded()) < 0.6
    lacking = characters._replace(images=characters.images * mask[..., None, None], mask=mask)
    full = {}
    for which in (characters, lacking):
        monkeypatch.setattr(training, "omniglot", lambda part, which=which: which)
        for part in ("train", "test"):
            images, labels = training.stock.__wrapped__("omniglot", part)
            if which is characters:
                full[part] = images, labels
                continue
            there = torch.tensor([bool(image.any()) for image in _blanked(full[part][0], images)])
            assert images.shape[0] == len(labels) == int(there.sum()) < len(there)
            assert torch.equal(full[part][1][there], labels)
            assert bool(images.any(1).all())


def _blanked(full, some):
    """The images of a full stock, zeros where some, which are in the same order, lack one."""
    found, rest = [], iter(some)
    image = next(rest, None)
    for whole in full:
        same = image is not None and torch.equal(whole, image)
        found.append(whole if same else torch.zeros_like(whole))
        image = next(rest, None) if same else image
    return found


@pytest.mark.skipif(
    not ((folder_from("WORKEDPAPERS_DATA") or Path("none")) / "omniglot").is_dir(),
    reason="WORKEDPAPERS_DATA holds no omniglot",
)
def test_known_and_unknown_characters_are_about_as_dark():
    shares = [float(training.stock("omniglot", part)[0].mean()) for part in ("train", "test")]
    assert shares[0] == pytest.approx(shares[1], rel=0.05)


def test_other_stocks_are_named():
    with pytest.raises(ValueError, match="stock must be one of digits, mnist, omniglot, got 'faces'"):
        training.stock("faces", "train")
    with pytest.raises(ValueError, match="stock must be one of digits, mnist, omniglot, got 'faces'"):
        train(replace(TINY, stock="faces"), 0, CPU)


# Sequences


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("part", ["train", "test"])
def test_sequences_are_those_of_the_task_at_the_sizes_asked_for(name, part):
    config = replace(TASKS[name], stored=4, recalled=TASKS[name].recalled + 1)
    images, labels = training.stock("digits", part)
    stored, recalled = config.stored, config.recalled
    expected = {
        "recall": lambda g: sequences.recall(images, 5, stored, recalled, g),
        "parity": lambda g: sequences.parity(images, labels, 5, stored, recalled, g),
        "parity, answered": lambda g: sequences.parity(images, labels, 5, stored, recalled, g, told=True),
        "pointer": lambda g: sequences.pointer(images, labels, 5, stored, recalled, g),
        "cue": lambda g: sequences.cue(images, 5, stored, recalled, g),
        "walk": lambda g: sequences.walk(images, 5, stored, recalled, g),
        "panorama": lambda g: sequences.panorama(5, 16, 4, recalled, g),
    }
    found = draw(config, part, 5, seeded(3))
    assert len(found.frames) == config.frames
    if name in expected:
        for one, two in zip(found, expected[name](seeded(3)), strict=True):
            assert one is two is None or torch.equal(one, two)


def test_a_string_ends_in_the_digit_that_followed_its_letter():
    config = replace(TASKS["strings"], stored=4)
    episodes = draw(config, "train", 50, seeded())
    assert episodes.frames.shape == (12, 50)
    assert episodes.frames.dtype == torch.int64
    assert episodes.context is None
    for text in decode(episodes.frames.T):
        assert text[8:10] == "??"
        assert text[-1] == text[text.index(text[10]) + 1]
        assert text[-1].isdigit()
    for b in range(50):
        assert episodes.new[:, b].tolist() == [True] * 8 + [False] * 4
        assert episodes.told[:, b].tolist() == [False] * 11 + [True]
    generator = seeded()
    first, second = (draw(config, "train", 50, generator) for _ in range(2))
    assert torch.equal(first.frames, episodes.frames)
    assert not torch.equal(second.frames, first.frames)


def test_other_tasks_are_named():
    with pytest.raises(ValueError, match="unknown task 'forget'"):
        draw(replace(TINY, task="forget"), "train", 1, seeded())


# Models


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_model_has_the_sizes_of_its_configuration(memory):
    config = replace(TINY, memory=memory, hidden=10, latent=5, code=7, reads=2, width=6, stored=4)
    model = training.build(config)
    assert type(model.memory) is MEMORIES[memory]
    assert (model.latent_size, model.code_size, model.memory.hidden_size) == (5, 7, 10)
    assert model.memory.reads == (0 if memory == "none" else 2)
    if memory == "introspection":
        assert (model.memory.span, model.memory.read_width) == (6, 5)  # as many rows as frames, four and two
    elif memory != "none":
        state = model.memory.reset(3)
        assert state.memory.shape == (3, 6, 6)


@pytest.mark.parametrize(("carry", "width"), [("sample", 3), ("mean", 3), ("code", 8), ("both", 11)])
def test_what_is_carried_has_its_width(carry, width):
    model = training.build(replace(TINY, carry=carry))
    assert model.carry == carry
    assert model.memory.width == width


@pytest.mark.parametrize("addressing", get_args(Addressing))
def test_introspection_is_addressed_as_asked(addressing):
    assert training.build(replace(TINY, addressing=addressing)).memory.addressing == addressing


@pytest.mark.parametrize("name", TASKS)
def test_a_model_takes_the_sequences_of_its_task(name):
    config = TASKS[name]
    model, episodes = training.build(config), draw(config, "train", 3, seeded())
    likelihood = {"panorama": "gaussian", "strings": "categorical"}.get(name, "bernoulli")
    assert model.likelihood == likelihood
    assert model.observation == ({"panorama": 4, "strings": len(SYMBOLS)}.get(name, 64),)
    assert model.context_size == (0 if episodes.context is None else episodes.context.shape[-1])
    bound = model(episodes.frames, episodes.context)
    assert bound.total.shape == episodes.told.shape


@pytest.mark.parametrize("stock", ["mnist", "omniglot"])
def test_a_model_takes_the_images_of_its_stock(stock):
    assert training.build(replace(TINY, stock=stock)).observation == (training.PIXELS[stock],)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory": "hopfield"}, "unknown memory 'hopfield'"),
        ({"carry": "nothing"}, "carry must be one of sample, mean, code, both, got 'nothing'"),
        ({"addressing": "place"}, "addressing must be one of lag, content, both, got 'place'"),
        ({"scored": "new"}, "scored must be all or told, got 'new'"),
        ({"task": "forget"}, "unknown task 'forget'"),
    ],
)
def test_other_models_and_scores_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        train(replace(TINY, **change), 0, CPU)


# The loss


def bound_of(reconstruction, kl):
    reconstruction, kl = (torch.tensor(part) for part in (reconstruction, kl))
    return Bound(reconstruction - kl, reconstruction, kl)


MARKED = Episodes(torch.zeros(2, 2, 1), torch.zeros(2, 2).bool(), torch.tensor([[False, True], [True, False]]))
PARTS = ([[-1.0, -2.0], [-3.0, -4.0]], [[0.5, 1.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (1.5 + 3 + 6 + 9) / 4),
        ({"scored": "told"}, (3 + 6) / 2),
        ({"free": 2.0}, (1 + 2 + 2 + 2 + 6 + 9) / 4),
        ({"free": 2.0, "scored": "told"}, (2 + 2 + 6) / 2),
        ({"free": 0.2}, (1.5 + 3 + 6 + 9) / 4),
    ],
)
def test_the_loss_is_a_mean_over_the_frames_that_count(change, expected):
    assert float(training.loss(bound_of(*PARTS), MARKED, replace(TINY, **change))) == pytest.approx(expected)


def test_free_nats_have_no_gradient_and_others_have():
    reconstruction, kl = (torch.tensor(part, requires_grad=True) for part in PARTS)
    training.loss(Bound(reconstruction - kl, reconstruction, kl), MARKED, replace(TINY, free=2.0)).backward()
    assert kl.grad.tolist() == [[0, 0], [0.25, 0.25]]
    assert reconstruction.grad.tolist() == [[-0.25, -0.25], [-0.25, -0.25]]


# Training


def test_the_rate_rises_stays_and_falls():
    rates = [training.rate(update, 1000) for update in range(1, 1001)]
    assert rates[:50] == pytest.approx([update / 50 for update in range(1, 51)])
    assert set(rates[49:700]) == {1.0}
    assert rates[700:] == pytest.approx([(1000 - update) / 300 for update in range(701, 1001)])
    assert rates[-1] == 0
    short = [training.rate(update, 10) for update in range(1, 11)]
    assert short == pytest.approx([*[update / 50 for update in range(1, 10)], 0])


def test_adam_has_the_scheduled_rate_and_a_gradient_of_norm_one_at_most(monkeypatch):
    rates, norms = [], []

    class Watched(torch.optim.Adam):
        def step(self, *args):
            rates.append(self.param_groups[0]["lr"])
            parameters = self.param_groups[0]["params"]
            norms.append(math.sqrt(sum(float(p.grad.double().square().sum()) for p in parameters)))
            return super().step(*args)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    model, _ = train(replace(TINY, updates=10), 0, CPU)
    assert rates == pytest.approx([0.1 * training.rate(update, 10) for update in range(1, 11)])
    assert max(norms) == pytest.approx(training.CLIPPED, rel=1e-4)
    assert sum(p.numel() for p in model.parameters()) == run(TINY, 0, CPU)["parameters"]


def test_training_sees_training_images_and_tests_see_test_images(monkeypatch):
    calls = spied(monkeypatch, "draw")
    run(TINY, 5, CPU)
    seen = [(part, batch, generator.initial_seed()) for (_, part, batch, generator), _ in calls]
    curve = ("test", TESTED // 4, training.TEST_SEED + 1)
    assert seen == [curve, *[("train", 4, 5)] * 4, ("test", TESTED, training.TEST_SEED)]
    frames = [episodes.frames for _, episodes in calls[1:5]]
    assert not any(torch.equal(frames[0], other) for other in frames[1:])
    assert torch.equal(frames[0], draw(TINY, "train", 4, seeded(5)).frames)


def test_all_models_and_seeds_are_tested_on_the_same_sequences(monkeypatch):
    calls = spied(monkeypatch, "measure")
    run(TINY, 0, CPU)
    run(replace(TINY, memory="lru", hidden=5, updates=1, learning_rate=0.2, batch=7), 3, CPU)
    tested = [episodes for (_, episodes, _), _ in calls]
    by_size = {size: [e.frames for e in tested if e.frames.shape[1] == size] for size in (TESTED, TESTED // 4)}
    assert [len(found) for found in by_size.values()] == [2, 4 + 1]
    for found in by_size.values():
        assert all(torch.equal(found[0], other) for other in found)


@pytest.mark.parametrize(("updates", "at"), [(4, [1, 2, 3, 4]), (40, range(2, 41, 2)), (100, range(5, 101, 5))])
def test_a_curve_has_twenty_points_or_one_an_update(monkeypatch, updates, at):
    seen = []
    monkeypatch.setattr(training, "loss", lambda bound, episodes, config: seen.append(0) or bound.total.sum())
    monkeypatch.setattr(training, "measure", lambda *_: {"told": len(seen), "new": -len(seen)})
    config = replace(TINY, stored=1, recalled=1, memory="none", carry="sample", updates=updates, batch=1)
    assert train(config, 0, CPU)[1] == {"curve": [[update, -update] for update in at]}


def test_no_update_moves_weights_at_a_rate_of_zero(monkeypatch):
    monkeypatch.setattr(training, "rate", lambda update, updates: 0.0)
    model, _ = train(TINY, 4, CPU)
    torch.manual_seed(4)
    for one, two in zip(model.parameters(), training.build(TINY).parameters(), strict=True):
        assert torch.equal(one, two)


def test_only_told_frames_teach_where_they_alone_are_scored(monkeypatch):
    losses = spied(monkeypatch, "loss")
    config = replace(TINY, scored="told")
    train(config, 0, CPU)
    (bound, episodes, _), found = losses[0]
    by_hand = [-bound.total[t, b].item() for t in (3, 4) for b in range(4)]
    assert found.item() == pytest.approx(sum(by_hand) / 8)
    assert torch.equal(episodes.told, torch.arange(5)[:, None].expand(5, 4) >= 3)


def test_training_raises_the_bound():
    config = replace(TINY, hidden=24, latent=6, code=24, updates=120, learning_rate=0.01, batch=16)
    _, path = train(config, 0, CPU)
    assert path["curve"][-1][1] > path["curve"][0][1] + 8


CHANGES = {
    "task": (TINY, "cue"),
    "stock": (TINY, "mnist"),
    "stored": (TINY, 4),
    "recalled": (TINY, 1),
    "memory": (TINY, "dnc"),
    "carry": (TINY, "mean"),
    "latent": (TINY, 4),
    "code": (TINY, 9),
    "hidden": (TINY, 9),
    "addressing": (TINY, "content"),
    "reads": (TINY, 2),
    "width": (replace(TINY, memory="lru"), 5),
    "answered": (TASKS["parity"], True),
    "scored": (TINY, "told"),
    "free": (TINY, 0.5),
    "learning_rate": (TINY, 0.05),
    "updates": (TINY, 5),
    "batch": (TINY, 5),
    "samples": (TINY, 2),
    "shown": (TINY, True),
    "tape": (replace(TINY, memory="ntm"), False),
}


@pytest.fixture
def any_stock(monkeypatch):
    """Stocks that need no download: all are small digits, repeated to the right size."""
    original = training.stock

    def stock(name, part):
        images, labels = original("digits", part)
        return (images, labels) if name == "digits" else (images.repeat(1, 4)[:, :196], labels)

    monkeypatch.setattr(training, "stock", stock)


def test_each_field_of_a_configuration_has_an_effect(any_stock):
    assert set(CHANGES) == {field.name for field in fields(Temporal)}
    for name, (base, value) in CHANGES.items():
        assert getattr(base, name) != value
        plain, changed = (run(config, 0, CPU) for config in (base, replace(base, **{name: value})))
        if name in ("samples", "shown"):
            assert {key: changed[key] for key in plain} == plain
            assert set(changed) - set(plain) == (
                {"closer"} if name == "samples" else {"attention", "frames", "continued"}
            )
        else:
            assert changed["told"] != plain["told"], name


# Measures


def test_told_and_new_frames_are_measured_apart():
    total, kl = (torch.randn(5, 7, generator=seeded(s)) for s in (1, 2))
    told, new = torch.rand(5, 7, generator=seeded(3)) < 0.3, torch.rand(5, 7, generator=seeded(4)) < 0.3
    context, asked = torch.rand(5, 7, 2), []

    def model(x, known):
        asked.append((x, known))
        return Bound(total, total + kl, kl)

    found = measure(model, Episodes(torch.zeros(5, 7, 1), new, told, context), CPU)
    for name, mask in (("told", told), ("new", new)):
        places = [(t, b) for t in range(5) for b in range(7) if mask[t, b]]
        assert found[name] == pytest.approx(sum(float(total[p]) for p in places) / len(places), rel=1e-5)
        assert found[f"{name}_kl"] == pytest.approx(sum(float(kl[p]) for p in places) / len(places), rel=1e-5)
    assert asked[0][1] is context
    assert set(found) == {"told", "new", "told_kl", "new_kl"}


LOGITS = torch.linspace(-2, 1.5, 64)


def blind(config):
    """A model whose latents say nothing, in posterior and prior alike: every pixel has a probability of its own."""
    model = training.build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.decoder[2].bias.copy_(LOGITS)
    return model


def surprise(frames):
    """Minus ln p of frames under `blind`, (time, batch)."""
    p = 1 / (1 + np.exp(-LOGITS.double().numpy()))
    x = frames.double().numpy()
    return -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(-1)


@pytest.mark.parametrize("name", ["recall", "cue", "walk", "parity, answered"])
def test_a_row_has_the_bound_of_a_model_whose_bound_is_known(monkeypatch, name):
    monkeypatch.setattr(training, "TESTED", 210)
    config = replace(TASKS[name], samples=3, memory="introspection")
    monkeypatch.setattr(training, "train", lambda config, seed, device: (blind(config), {"curve": [seed]}))
    found = run(config, 8, CPU)
    episodes = draw(config, "test", 210, seeded(training.TEST_SEED))
    expected = -surprise(episodes.frames)
    for kind, mask in (("told", episodes.told), ("new", episodes.new)):
        assert found[kind] == pytest.approx(expected[mask.numpy()].mean(), rel=1e-5)
        assert found[f"{kind}_kl"] == 0
    assert found["by_frame"][0] == pytest.approx(expected.mean(1), rel=1e-5)
    assert found["by_frame"][1] == [0] * config.frames
    whole = expected[:, :200].sum(0).mean()  # the first two hundred sequences
    assert found["closer"] == pytest.approx([whole, whole], rel=1e-5)
    assert found["curve"] == [8]
    assert set(found) == {
        *("told", "new", "told_kl", "new_kl", "by_frame", "curve", "parameters", "closer")
    }  # fmt: skip


def test_a_row_has_the_kl_of_a_posterior_that_lies_off_its_prior(monkeypatch):
    model = blind(TINY)
    with torch.no_grad():
        model.posterior.bias.copy_(torch.tensor([1.0, -2.0, 0.5, 0.0, 0.0, 0.0]))  # means, raw deviations
    monkeypatch.setattr(training, "train", lambda *_: (model, {}))
    found = run(TINY, 0, CPU)
    kl = (1 + 4 + 0.25) / 2 / (1 + 1e-4) ** 2
    expected = -surprise(draw(TINY, "test", TESTED, seeded(training.TEST_SEED)).frames) - kl
    assert [found["told_kl"], found["new_kl"], *found["by_frame"][1]] == pytest.approx([kl] * 7, rel=1e-5)
    assert found["by_frame"][0] == pytest.approx(expected.mean(1), rel=1e-5)
    assert found["told"] == pytest.approx(expected[3:].mean(), rel=1e-5)


def test_importance_weights_come_closer_to_the_log_probability():
    found = run(replace(TINY, samples=50, learning_rate=0.02, updates=60), 0, CPU)
    assert found["closer"][0] < found["closer"][1] < found["closer"][0] + 10


@pytest.mark.parametrize(
    "config", [TINY, replace(TASKS["panorama"], memory="lru"), replace(TASKS["strings"], samples=2)]
)
def test_a_row_repeats_and_leaves_the_generator_alone(config):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = run(config, 0, CPU)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(6)
    assert first == run(config, 0, CPU)
    assert first != run(config, 1, CPU)


# What is shown


def shown(config, model=None):
    episodes = draw(config, "test", 9, seeded(7))
    model = model or blind(config)
    torch.manual_seed(3)
    return training.show(model, episodes), episodes, model


def test_attention_is_that_of_the_first_read_head_over_the_frames_so_far():
    config = replace(TINY, stored=4, reads=2)
    model = blind(config)
    logits = [0.0, math.log(3), math.log(2), math.log(5), 1.0, 1.0]
    with torch.no_grad():
        model.memory.lags.bias.copy_(torch.tensor([*logits, *([9.0] + [0.0] * 5)]))
    found, *_ = shown(config, model)
    assert [len(row) for row in found["attention"]] == [0, 1, 2, 3, 4, 5]
    for row in found["attention"]:
        chances = [math.exp(logit) for logit in logits[: len(row)]]
        assert row == pytest.approx([chance / sum(chances) for chance in chances], abs=6e-4)
    assert found["attention"][3] == [0.167, 0.5, 0.333]
    assert "read" not in vars(model.memory)  # it is let go


def test_attention_by_content_is_that_of_the_first_sequence():
    config = replace(TINY, addressing="both")
    torch.manual_seed(1)
    model = training.build(config)
    found, episodes, _ = shown(config, model)
    weights = []

    def keep(self, state, hidden):
        weights.append(Introspection.weights(self, state, hidden)[0, 0].tolist())
        return Introspection.weights(self, state, hidden)

    model.memory.weights = keep.__get__(model.memory)
    torch.manual_seed(3)
    with torch.no_grad():
        model(episodes.frames[:, :4])
    expected = [row for row in weights if row]
    assert len(expected) == 4
    for row, right in zip(found["attention"][1:], expected, strict=True):
        assert row == pytest.approx(right, abs=6e-4)


@pytest.mark.parametrize("memory", ["lru", "ntm", "dnc"])
def test_attention_of_other_memories_is_over_their_slots(memory):
    config = replace(TINY, memory=memory, reads=2)
    torch.manual_seed(1)
    model = training.build(config)
    found, episodes, _ = shown(config, model)
    assert np.shape(found["attention"]) == (config.frames, config.frames)  # as many slots as frames
    watched, read = [], model.memory.read

    def keep(state, hidden):
        out, after = read(state, hidden)
        watched.append(after.weights[0, 0].tolist())
        return out, after

    model.memory.read = keep
    torch.manual_seed(3)
    with torch.no_grad():
        model(episodes.frames[:, :4])
    np.testing.assert_allclose(found["attention"], watched, atol=6e-4)
    assert np.sum(found["attention"], 1).max() <= 1 + 1e-2


@pytest.mark.parametrize("name", ["recall", "cue", "pointer", "parity, answered"])
def test_a_continuation_begins_after_the_new_frames(name):
    config = replace(TASKS[name], stored=4)
    found, episodes, _ = shown(config)
    frames = np.array(found["frames"])
    assert frames.shape == (4, config.frames, 64)
    assert np.array_equal(frames / 100, episodes.frames[:, :4].transpose(0, 1).numpy())
    continued = np.array(found["continued"])
    assert continued.shape == (4, config.frames - 4, 64)
    expected = 100 / (1 + np.exp(-LOGITS.numpy()))
    assert np.abs(continued - expected).max() <= 0.5 + 1e-3
    assert all(isinstance(value, int) for value in found["continued"][0][0])


def test_a_continuation_is_what_the_model_generates():
    torch.manual_seed(2)
    model = training.build(replace(TINY, memory="none"))
    found, episodes, _ = shown(replace(TINY, memory="none"), model)
    assert found["attention"] == []
    torch.manual_seed(3)
    after = model.generate(episodes.frames[:3, :4], 2, expected=True)
    assert found["continued"] == (100 * after).round().int().transpose(0, 1).tolist()


# Tables


def test_check_rows_have_every_kind():
    rows = EXPERIMENTS["check"].configs("check")
    options = {
        "task": {"recall", "parity", "pointer", "cue", "walk", "panorama", "strings"},
        "memory": set(MEMORIES),
        "carry": set(get_args(Carry)),
        "addressing": set(get_args(Addressing)),
        "scored": {"all", "told"},
        "answered": {True, False},
        "shown": {True, False},
    }
    for name, values in options.items():
        assert {getattr(row, name) for row in rows} == values, name
    for name in ("free", "samples"):
        assert {bool(getattr(row, name)) for row in rows} == {True, False}, name
    assert {row.reads for row in rows} == {1, 2}
    assert {row.stock for row in (*rows, LIVE)} == {"digits"}  # which need no download
    assert not any(row.shown and row.memory == "introspection" for row in rows)  # rows of different lengths


def test_a_check_row_learns():
    assert missing(EXPERIMENTS["check"], "check") == []
    curve = recorded(EXPERIMENTS["check"], "check")[0]["metrics"]["curve"]
    assert curve[-1][1] > curve[0][1] + 8


def test_arms_have_the_sizes_that_the_page_names():
    sizes = {"latent": 16, "code": 64, "hidden": 96, "reads": 1, "width": 24, "batch": 32, "updates": 2500}
    larger = {"one-shot": {"latent": 32, "code": 128}, "mnist": {"latent": 32, "code": 128}}
    of_name = {"VRNN, wide": {"hidden": 192}}
    for group, arms in ARMS.items():
        for name, arm in arms.items():
            if group == "longer":
                assert arm.updates > 2500
                continue
            expected = sizes | larger.get(group, {}) | of_name.get(name.rpartition(", ")[0], {})
            assert {field: getattr(arm, field) for field in sizes} == expected, (group, name)
    shown = ARMS["recall"]["Introspection"]
    assert (shown.stored, shown.recalled, shown.stock, shown.free, shown.scored) == (6, 3, "digits", 0, "all")


def test_rows_are_tested_on_the_sequences_that_the_page_names():
    assert RECORDED == (1000, 1_000_000)


def test_the_models_of_a_task_differ_only_in_what_they_remember():
    for task, arms in ((task, ARMS[task]) for task in tables.TASKS):
        assert set(arms) == set(tables.MODELS)
        assert len({replace(arm, memory="none", carry="both") for arm in arms.values()}) == 1, task
        memories = {name: arm.memory for name, arm in arms.items()}
        assert memories == {name: name.lower() if name != "VRNN" else "none" for name in arms}
        assert {name: arm.carry for name, arm in arms.items()} == {
            name: "both" if name == "VRNN" else "sample" for name in arms
        }


def test_a_turing_memory_of_torchs_biases_is_an_arm_that_differs_in_nothing_else():
    (arm,) = ARMS["start"].values()
    assert arm == replace(tables.MODELS["NTM"], tape=False)
    torch.manual_seed(0)
    tape = training.build(tables.MODELS["NTM"]).state_dict()
    torch.manual_seed(0)
    plain = training.build(arm).state_dict()
    moved = {name for name in tape if not torch.equal(tape[name], plain[name])}
    assert moved == {"memory.write_heads.linear.bias", "memory.read_heads.linear.bias"}


def size_of(config):
    return sum(parameter.numel() for parameter in training.build(config).parameters())


def test_no_model_has_more_parameters_than_the_recurrent_one():
    for task in tables.TASKS:
        sizes = {name: size_of(arm) for name, arm in ARMS[task].items()}
        assert max(sizes, key=sizes.get) == "VRNN", (task, sizes)


def test_every_arm_can_be_drawn_and_built(any_stock):
    for group, arms in ARMS.items():
        for name, arm in arms.items():
            episodes = draw(arm, "test", 2, seeded())
            assert len(episodes.frames) == arm.frames, (group, name)
            training.build(arm)


def test_a_search_tries_the_same_rates_for_every_model_and_changes_nothing_else():
    configs = EXPERIMENTS["search_rates"].configs("book")
    for arm in tables.MODELS.values():
        tried = [c.learning_rate for c in configs if replace(c, learning_rate=arm.learning_rate) == arm]
        assert tuple(tried) == tables.RATES
    assert len(configs) == len(tables.MODELS) * len(tables.RATES)


@pytest.mark.parametrize("name", tables.MODELS)
def test_the_rate_of_a_model_has_the_best_bound_of_the_search_with_worse_ones_on_either_side(name):
    arm, table = tables.MODELS[name], EXPERIMENTS["search_rates"]
    if missing(table, "book"):
        pytest.skip("the search is not recorded yet")
    same = {
        row["config"]["learning_rate"]: row["metrics"]
        for row in recorded(table, "book")
        if replace(Temporal(**row["config"]), learning_rate=arm.learning_rate) == arm
    }
    assert tuple(sorted(same)) == tables.RATES
    whole = {rate: sum(metrics["by_frame"][0]) for rate, metrics in same.items()}  # of a sequence
    told = {rate: metrics["told"] for rate, metrics in same.items()}
    for found in (whole, told):
        best = max(found, key=found.get)
        assert best == arm.learning_rate
        assert min(found) < best < max(found)


def test_every_row_of_the_page_has_the_searched_rate():
    for group, arms in ARMS.items():
        assert {arm.learning_rate for arm in arms.values()} == {0.003}, group


def test_searches_and_other_tables_share_no_seed():
    searched = set(EXPERIMENTS["search_rates"].seeds("book"))
    for group in ARMS:
        seeds = EXPERIMENTS[group].seeds("book")
        assert not searched & set(seeds)
        assert len(seeds) >= 3, group


def test_arms_can_be_had_by_name():
    table = named("recall", "DNC", "LRU")
    assert table.configs("book") == [ARMS["recall"]["DNC"], ARMS["recall"]["LRU"]]
    assert table.seeds("book") == EXPERIMENTS["recall"].seeds("book")
    assert EXPERIMENTS["recall"].configs("book") == list(ARMS["recall"].values())
    with pytest.raises(KeyError):
        named("recall", "GRU")


def test_the_paper_scale_has_the_five_models_at_larger_sizes():
    configs = EXPERIMENTS["paper"].configs("paper")
    assert [config.memory for config in configs] == [arm.memory for arm in tables.MODELS.values()]
    for config in configs:
        assert (config.stock, config.stored, config.recalled, config.latent) == ("mnist", 10, 5, 32)
        assert (config.hidden, config.updates) == (200, 100_000)


# Scoreboard


@pytest.fixture
def made_up(monkeypatch):
    """Rows with the bounds that a test says, by table and arm, a function of the seed; KLs of `kls`."""
    names = {id_of(config): (group, name) for group in ARMS for name, config in ARMS[group].items()}
    bounds, kls = {}, {"told": 0.1, "new": 2.0}

    def sweep(table, scale, device):
        assert (scale, device) == ("book", "cpu")
        (config,) = table.configs(scale)
        of_seed = bounds.get(names[id_of(config)], lambda seed: -20.0)
        rows = [
            {"seed": s, "told": of_seed(s), "told_kl": kls["told"] + s / 100, "new_kl": kls["new"]} for s in (2, 0, 1)
        ]
        return pd.DataFrame(rows).sort_values("seed")

    monkeypatch.setattr(claims, "sweep", sweep)
    monkeypatch.setattr(claims, "missing", lambda table, scale: [])
    return bounds, kls


def id_of(config):
    return tuple(getattr(config, field.name) for field in fields(Temporal))


#: What the claims compare, in their order; each names it.
COMPARED = [
    *[("VRNN", "Introspection", task) for task in tables.TASKS],
    ("VRNN", "Introspection", "recall", "both"),
    *[("other memory", "Introspection", task) for task in claims.FIXED_LAGS],
    *[("Introspection", name, "cue") for name in ("DNC", "LRU")],
    ("KL", "Introspection", "recall", "tenth"),
]


def claim_of(*words):
    return scoreboard()[COMPARED.index(words)]


def test_the_scoreboard_is_empty_while_rows_are_missing(monkeypatch):
    for lacking in (*tables.TASKS, "carry"):
        arms = named(lacking).configs("book")
        monkeypatch.setattr(
            claims, "missing", lambda table, scale, arms=arms: [1] if table.configs(scale) == arms else []
        )
        monkeypatch.setattr(claims, "sweep", lambda *_, **__: pytest.fail("it trains"))
        assert scoreboard() == []


def test_there_is_a_claim_for_every_task_and_what_is_compared_is_named(made_up):
    found = scoreboard()
    assert len({claim.claim for claim in found}) == len(found)
    for claim, words in zip(found, COMPARED, strict=True):
        assert all(word in claim.claim for word in words), claim.claim
        assert "nats" in claim.claim
        assert claim.scale == "book"
        asked = words[-1] in ("strings", "both")  # by reviewers; the paper has neither
        assert claim.paper == ("a review asks" if asked else "below 0")


@pytest.mark.parametrize("task", tables.TASKS)
def test_a_task_asks_whether_introspection_beats_the_recurrent_model(made_up, task):
    bounds, _ = made_up
    bounds[task, "VRNN"] = lambda seed: -25.0 - seed
    found = claim_of("VRNN", "Introspection", task)
    assert (found.runs, found.verdict, found.cause) == ((-5, -6, -7), "holds", "")
    bounds[task, "Introspection"] = lambda seed: -26.0
    found = claim_of("VRNN", "Introspection", task)
    assert (found.runs, found.verdict, found.cause) == ((1, 0, -1), "fails", claims.CAUSES.get(task, "not tested"))
    bounds[task, "Introspection"] = lambda seed: -25.5
    found = claim_of("VRNN", "Introspection", task)
    assert (found.runs, found.verdict, found.cause) == ((0.5, -0.5, -1.5), "holds in part", "seeds disagree")


def test_a_cause_is_named_only_where_rows_test_it():
    assert set(claims.CAUSES) == {"panorama"}
    told = {
        arm: np.mean([row["metrics"]["told"] for row in recorded(named(*arm), "book")])
        for arm in (
            ("panorama", "VRNN"),
            ("panorama", "Introspection"),
            ("carry, panorama", "VRNN, sample"),
            ("carry, panorama", "Introspection, both"),
        )
    }
    both, memory, sample, same = told.values()
    assert both - memory > 1  # nats; with the same carried by each there is little left
    assert max(both - same, sample - memory) < 0.2


def test_models_that_carry_the_same_are_compared_too(made_up):
    bounds, _ = made_up
    bounds["recall", "VRNN"] = lambda seed: -22.0
    bounds["carry", "Introspection, both"] = lambda seed: -17.0 + seed
    assert claim_of("VRNN", "Introspection", "recall", "both").runs == (-5, -6, -7)


@pytest.mark.parametrize("task", claims.FIXED_LAGS)
def test_at_fixed_lags_introspection_is_compared_with_the_other_memory_of_the_best_mean(made_up, task):
    bounds, _ = made_up
    bounds[task, "Introspection"] = lambda seed: -15.0
    bounds[task, "LRU"] = lambda seed: (-17.0, -19.0, -19.0)[seed]
    bounds[task, "DNC"] = lambda seed: (-18.0, -16.5, -19.0)[seed]
    bounds[task, "VRNN"] = lambda seed: -1.0  # is no memory
    for other in set(ARMS[task]) - {"Introspection", "LRU", "DNC", "VRNN"}:
        bounds[task, other] = lambda seed: -30.0
    assert claim_of("other memory", "Introspection", task).runs == (-3, -1.5, -4)  # the DNC


@pytest.mark.parametrize("name", ["DNC", "LRU"])
def test_on_the_cue_introspection_should_lose(made_up, name):
    bounds, _ = made_up
    bounds["cue", name] = lambda seed: -18.0
    found = claim_of("Introspection", name, "cue")
    assert (found.runs, found.verdict) == ((-2, -2, -2), "holds")


def test_what_is_foretold_should_cost_a_tenth(made_up):
    _, kls = made_up
    found = claim_of(*COMPARED[-1])
    assert found.runs == pytest.approx((-0.1, -0.09, -0.08))
    assert found.verdict == "holds"
    kls["told"] = 0.3
    assert claim_of(*COMPARED[-1]).verdict == "fails"
