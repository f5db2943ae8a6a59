"""The experiments on memory-augmented networks: labels, episodes, rivals, neighbours, official runs, probes, rates."""

import math
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from workedpapers.experiments.memory_augmented import (
    ARMS,
    EXPERIMENTS,
    LIVE,
    FewShot,
    Neighbours,
    claims,
    episodes,
    labels,
    named,
    neighbours,
    oneshot,
    probes,
    rivals,
    tables,
    training,
)
from workedpapers.lab import missing
from workedpapers.lab.paths import folder_from
from workedpapers.lab.sweeps import recorded
from workedpapers.memory_augmented import MemoryAugmentedNetwork, MemoryState

CPU = torch.device("cpu")
TINY = FewShot(
    data="strokes", classes=3, length=12, start=2, hidden=12, slots=5, width=4, updates=4, batch=4, episodes=8
)
WORDS = replace(TINY, labels="words", easier="numbers")
PIXELS = episodes.SIZE**2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def differ(a, b):
    return sum(x != y for x, y in zip(a, b, strict=True))


def batch_of(config, part="train", seed=0, classes=None, labels=None):
    return episodes.draw(config, part, classes or config.classes, config.batch, seeded(seed), CPU, labels)


def learner_of(config, seed=0):
    torch.manual_seed(seed)
    return episodes.Learner(config, CPU)


class Says:
    """A learner that answers with the class that `which` picks, given the batch."""

    def __init__(self, config, which):
        self.config, self.which = config, which

    def __call__(self, batch):
        which = self.which(batch)
        digits = batch.all_digits[torch.arange(which.shape[1]), which]
        return labels.encode(digits, batch.values)


# Labels


def test_labels_that_are_numbers_are_the_class_in_one_digit_or_in_five_letters():
    assert labels.deal("one-hot", 3, 2, seeded()).tolist() == [[[0], [1], [2]]] * 2
    assert labels.deal("numbers", 3, 2, seeded()).tolist() == [[[0] * 5, [1] * 5, [2] * 5]] * 2


def test_words_of_an_episode_are_all_different_and_all_words_occur_alike():
    words = labels.deal("words", 15, 400, seeded())
    assert words.shape == (400, 15, 5)
    for episode in words.tolist():
        assert len({tuple(word) for word in episode}) == 15
    assert set(words.flatten().tolist()) == set(range(5))
    shares = F.one_hot(words, 5).double().mean((0, 1))  # of 6,000 words
    torch.testing.assert_close(shares, torch.full((5, 5), 0.2, dtype=torch.float64), atol=0.03, rtol=0)
    distances = Counter(differ(a, b) for episode in words[:100].tolist() for a, b in combinations(episode, 2))
    for d in range(1, 6):
        expected = math.comb(5, d) * 4**d / (5**5 - 1)
        assert distances[d] / distances.total() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("classes", [2, 5])
def test_spread_words_differ_in_every_letter(classes):
    words = labels.deal("spread", classes, 50, seeded()).tolist()
    assert {differ(a, b) for episode in words for a, b in combinations(episode, 2)} == {5}
    assert len({str(episode) for episode in words}) > 40


@pytest.mark.parametrize("kind", ["numbers", "spread"])
def test_more_classes_than_symbols_are_refused(kind):
    with pytest.raises(ValueError, match=f"labels '{kind}' take at most 5 classes, got 6"):
        labels.deal(kind, 6, 1, seeded())


def test_other_labels_are_named():
    with pytest.raises(ValueError, match="labels must be one of one-hot, numbers, words, spread, got 'names'"):
        labels.deal("names", 3, 1, seeded())


@pytest.mark.parametrize("kind", labels.LABELS)
def test_digits_fit_their_sizes_and_values_in_use(kind):
    digits = labels.deal(kind, 4, 30, seeded())
    count, values = labels.symbols(kind, 4)
    assert digits.shape == (30, 4, count)
    assert int(digits.max()) == labels.values_in_use(kind, 4) - 1
    assert labels.values_in_use(kind, 4) <= values


def test_a_label_is_given_as_a_one_for_each_digit():
    assert labels.encode(torch.tensor([[2], [0]]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert labels.encode(torch.tensor([1, 0]), 3).tolist() == [0, 1, 0, 1, 0, 0]
    assert labels.encode(torch.tensor([1]), 2).dtype == torch.float32


def test_the_loss_of_a_word_is_the_sum_over_its_letters_of_their_cross_entropy():
    logits = torch.randn(4, 3, 25, generator=seeded(), dtype=torch.float64)
    digits = torch.randint(5, (4, 3, 5), generator=seeded(1))
    total = 0.0
    for word, right in zip(logits.flatten(0, 1).tolist(), digits.flatten(0, 1).tolist(), strict=True):
        for letter in range(5):
            scores = word[5 * letter : 5 * letter + 5]
            total += math.log(sum(map(math.exp, scores))) - scores[right[letter]]
    assert float(labels.loss(logits, digits)) == pytest.approx(total / 12)


def test_the_answer_has_the_most_likely_value_of_each_digit():
    logits = torch.tensor([[0.0, 2.0, 1.0, 5.0, 4.0, 3.0]])
    assert labels.answer(logits, 1).tolist() == [[3]]
    assert labels.answer(logits, 2).tolist() == [[1, 0]]
    assert labels.answer(logits, 3).tolist() == [[1, 1, 0]]


# Episodes


@pytest.mark.parametrize("config", [TINY, replace(WORDS, easier=None)])
def test_a_label_arrives_a_step_after_its_drawing(config):
    batch = batch_of(config)
    values = labels.symbols(config.labels, config.classes)[1]
    offset, aligned = batch.inputs("offset", values), batch.inputs("aligned", values)
    for b in range(config.batch):
        for t in range(config.length):
            code, earlier = torch.zeros(batch.digits.shape[-1] * values), torch.zeros(PIXELS)
            if t:
                earlier = batch.drawing[t - 1, b]
                for place, value in enumerate(batch.all_digits[b, batch.which[t - 1, b]].tolist()):
                    code[place * values + value] = 1
            assert torch.equal(offset[t, b], torch.cat((batch.drawing[t, b], code)))
            assert torch.equal(aligned[t, b], torch.cat((batch.drawing[t, b], earlier, code)))


def test_drawings_of_a_class_are_of_one_character_and_showings_are_counted():
    pixels, mask = episodes.drawings("strokes", "train")
    assert mask.all()
    owner = {image.numpy().tobytes(): c for c, drawn in enumerate(pixels) for image in drawn}
    config = replace(TINY, length=30)
    batch = batch_of(config)
    for b in range(config.batch):
        shown, character = Counter(), {}
        for t in range(config.length):
            which = int(batch.which[t, b])
            shown[which] += 1
            assert int(batch.showing[t, b]) == shown[which]
            found = owner[batch.drawing[t, b].numpy().tobytes()]
            assert character.setdefault(which, found) == found
        assert len(set(character.values())) == len(character) == 3


def test_no_test_character_is_trained_on():
    train, test = (episodes.drawings("strokes", part)[0] for part in ("train", "test"))
    assert (len(train), len(test)) == (4 * 240, 4 * 60)  # 24 and 6 of 30 alphabets, four ways up
    seen = {image.numpy().tobytes() for image in train.flatten(0, 1)}
    assert not seen & {image.numpy().tobytes() for image in test.flatten(0, 1)}


def test_test_episodes_are_the_same_for_all_networks_and_seeds():
    other = replace(TINY, model="lstm", hidden=20, learning_rate=0.1, updates=1, inputs="aligned", ready=0.9)
    episodes.train(other, 3, CPU)
    one, two = (list(episodes.test_batches(config, 3, CPU)) for config in (TINY, other))
    assert len(one) == len(two) == 2
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.drawing, b.drawing)
        assert torch.equal(a.which, b.which)
        assert torch.equal(a.all_digits, b.all_digits)
    assert not torch.equal(one[0].drawing, one[1].drawing)


def test_the_length_of_an_episode_is_in_proportion_to_its_classes():
    for classes, length in ((1, 4), (2, 8), (3, 12), (5, 20)):
        batch = batch_of(TINY, classes=classes)
        assert batch.drawing.shape == (length, 4, PIXELS)
        assert int(batch.which.max()) == classes - 1


@pytest.mark.parametrize("model", ["memory", "lstm", "feedforward", "transformer", "matching"])
def test_only_names_in_use_are_answers(model):
    learner = learner_of(replace(TINY, model=model, tested=(5,)))
    assert learner(batch_of(TINY, classes=5)).shape == (20, 4, 5)
    batch = batch_of(TINY, classes=2)
    found, every = learner(batch), learner.network(batch.inputs("offset", 5))
    every = every[0] if model == "memory" else every
    assert torch.equal(found, every[..., :2])


def test_only_symbols_in_use_are_letters():
    learner = learner_of(replace(WORDS, model="lstm"))
    batch = batch_of(WORDS, classes=2, labels="numbers")
    every = learner.network(batch.inputs("offset", 5))
    expected = torch.cat([every[..., 5 * letter : 5 * letter + 2] for letter in range(5)], -1)
    assert torch.equal(learner(batch), expected)
    batch = batch_of(WORDS)
    assert torch.equal(learner(batch), learner.network(batch.inputs("offset", 5)))


def episodes_seen(monkeypatch, config, right):
    """(labels, classes) of each update's episodes, when so many of the four answers of each step are right."""
    seen = []
    draw = episodes.draw

    def spied(config, part, classes, batch, generator, device, labels):
        assert part == "train"
        seen.append((labels, classes))
        spied.batch = draw(config, part, classes, batch, generator, device, labels)
        return spied.batch

    def answer(logits, digits):
        found = spied.batch.digits.clone()
        found[:, right[len(seen) - 1] :] += 1
        return found

    monkeypatch.setattr(episodes, "draw", spied)
    monkeypatch.setattr(episodes, "answer", answer)
    monkeypatch.setattr(episodes, "WINDOW", 3)
    _, path = episodes.train(replace(config, updates=len(right)), 0, CPU)
    assert path["count"] == [classes for _, classes in seen]
    assert path["right"] == [count / 4 for count in right]
    return seen


def test_a_class_is_added_when_enough_answers_of_a_window_were_right(monkeypatch):
    right = [2, 2, 2, 4, 2, 4, 4, 2, 1, 4, 4, 0, 0]  # of four; eight of twelve are enough
    expected = [1] * 4 + [2] * 3 + [3] * 6
    config = replace(TINY, start=1, ready=8 / 12)
    assert episodes_seen(monkeypatch, config, right) == [("one-hot", classes) for classes in expected]


def test_training_begins_with_easier_labels_and_then_adds_classes(monkeypatch):
    expected = [("numbers", 2)] * 3 + [("words", 2)] * 3 + [("words", 3)] * 5
    assert episodes_seen(monkeypatch, WORDS, [4] * 11) == expected


def test_who_masters_nothing_keeps_the_classes_and_labels_of_the_start(monkeypatch):
    assert episodes_seen(monkeypatch, WORDS, [2] * 8) == [("numbers", 2)] * 8


def test_training_never_starts_with_more_classes_than_it_ends_with(monkeypatch):
    assert episodes_seen(monkeypatch, replace(TINY, start=5), [4] * 4) == [("one-hot", 3)] * 4


def test_the_first_loss_of_a_curve_is_that_of_fresh_weights_on_the_first_episodes():
    config = replace(TINY, start=3, updates=1)
    _, path = episodes.train(config, 7, CPU)
    batch = batch_of(config, seed=7)
    torch.manual_seed(7)
    logits, _ = episodes.build(config)(batch.inputs("offset", 3))
    expected = F.cross_entropy(logits.flatten(0, 1), batch.which.flatten())
    assert path["curve"] == [pytest.approx(expected.item(), rel=1e-6)]
    assert path["right"] == [pytest.approx(float((logits.argmax(-1) == batch.which).float().mean()))]


def test_a_curve_has_the_means_of_equal_parts(monkeypatch):
    config = replace(TINY, updates=12)
    _, every = episodes.train(config, 0, CPU)
    monkeypatch.setattr(episodes, "POINTS", 3)
    _, path = episodes.train(config, 0, CPU)
    for name in ("curve", "right", "count"):
        assert path[name] == pytest.approx(np.array(every[name]).reshape(3, 4).mean(1))


def test_training_lowers_the_loss():
    config = replace(TINY, model="matching", start=3, hidden=40, learning_rate=0.01, updates=60, batch=16)
    _, path = episodes.train(config, 0, CPU)
    assert path["curve"][-1] < 0.9 * path["curve"][0]


@pytest.mark.parametrize("config", [replace(TINY, length=40), replace(WORDS, length=30, classes=5)])
def test_a_test_counts_what_a_loop_over_steps_counts(config):
    def which(batch):  # half of the answers right, the others of any class
        other = torch.randint(config.classes, batch.which.shape, generator=which.generator)
        return torch.where(torch.rand(other.shape, generator=which.generator) < 0.5, batch.which, other)

    which.generator = seeded(3)
    found = episodes.test(Says(config, which), config.classes, CPU)
    which.generator = seeded(3)
    digits, steps = labels.symbols(config.labels, config.classes)[0], 0
    right, shown, near, confused = Counter(), Counter(), Counter(), Counter()
    for batch in episodes.test_batches(config, config.classes, CPU):
        said = which(batch)
        for b in range(config.batch):
            words, times = batch.all_digits[b].tolist(), Counter()
            for t in range(len(said)):
                steps += 1
                c, answer = int(batch.which[t, b]), int(said[t, b])
                times[c] += 1
                shown[times[c]] += 1
                right[times[c]] += answer == c
                for rival in set(times) - {c}:
                    near[differ(words[rival], words[c])] += 1
                    confused[differ(words[rival], words[c])] += rival == answer
    showings = range(1, episodes.SHOWINGS + 1)
    assert found["accuracy"] == pytest.approx([right[k] / max(shown[k], 1) for k in showings])
    assert found["rivals"] == pytest.approx([near[d] / steps for d in range(1, digits + 1)])
    assert found["confused"] == pytest.approx([confused[d] / steps for d in range(1, digits + 1)])
    assert sum(found["confused"]) > 0.1


def test_an_answer_that_is_no_word_of_the_episode_is_wrong_and_confused_with_nothing():
    class Garbles(Says):
        def __call__(self, batch):
            words = (batch.digits + torch.tensor([0, 0, 0, 0, 1])) % 5
            return labels.encode(words, batch.values)

    found = episodes.test(Garbles(replace(WORDS, labels="spread"), None), 3, CPU)
    assert found["accuracy"] == [0] * 10
    assert found["confused"] == [0] * 5
    assert found["rivals"][:4] == [0] * 4
    assert found["rivals"][4] > 1


@pytest.mark.parametrize("addressing", ["lru", "ntm"])
def test_a_memory_that_is_not_wiped_is_carried_on_with_a_fresh_controller_and_no_gradient(addressing):
    config = replace(TINY, wiped=False, addressing=addressing)
    learner = learner_of(config)
    first, second = batch_of(config, seed=0), batch_of(config, seed=1)
    learner(first)
    network = learner.network
    _, state = network(first.inputs("offset", 3))
    kept = state.memory.detach()
    assert all(torch.equal(*pair) for pair in zip(learner.carried, kept, strict=True))
    assert not any(part.requires_grad for part in learner.carried)
    found = learner(second)
    expected, _ = network(second.inputs("offset", 3), network.initial_state(4)._replace(memory=kept))
    assert torch.equal(found, expected)
    assert not torch.equal(found, network(second.inputs("offset", 3))[0])
    weights = list(network.parameters())
    ours, theirs = (torch.autograd.grad(labels.loss(logits, second.digits), weights) for logits in (found, expected))
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))


def test_a_memory_that_is_wiped_knows_nothing_of_earlier_episodes():
    learner = learner_of(TINY)
    batch = batch_of(TINY)
    first = learner(batch)
    learner(batch_of(TINY, seed=1))
    assert torch.equal(learner(batch), first)
    assert learner.carried is None


def test_other_data_are_named():
    with pytest.raises(ValueError, match="data must be one of omniglot, strokes, all, got 'digits'"):
        episodes.drawings("digits", "train")


# Networks


def test_what_a_configuration_says_of_the_memory_reaches_the_network():
    changed = {
        "decay": 0.5,
        "controller": "feedforward",
        "gate": "learned",
        "targets": "shared",
        "ties": "all",
        "erase": False,
        "order": "address",
        "sharpness": 3.0,
        "feedback": False,
        "slots": 7,
        "width": 3,
        "reads": 3,
        "writes": 2,
    }
    network = episodes.build(replace(TINY, content="separate", **changed))
    assert network.write_content == "separate"
    assert network.hidden_size == TINY.hidden
    for name, value in changed.items():
        owner = network if hasattr(network, name) else network.memory
        assert getattr(owner, name) == value, name
        assert getattr(TINY, name) != value, name


def test_key_strengths_of_the_turing_memory_start_where_a_configuration_says():
    plain, sharp = (
        learner_of(replace(TINY, addressing="ntm", sharpness=sharpness)).network for sharpness in (None, 10.0)
    )
    difference = (sharp.heads.bias - plain.heads.bias).detach()
    parts = dict(zip(sharp.head_sizes, difference.split(list(sharp.head_sizes.values())), strict=True))
    for name, part in parts.items():
        torch.testing.assert_close(part, torch.full_like(part, 10.0 if name == "strength" else 0.0), msg=name)
    assert torch.equal(plain.heads.weight, sharp.heads.weight)
    strengths = []
    address = sharp.memory.address

    def spy(memory, before, *, strength, **others):
        strengths.append(strength)
        return address(memory, before, strength=strength, **others)

    sharp.memory.address = spy
    sharp(batch_of(TINY).inputs("offset", 3))
    assert torch.cat(strengths, 1).mean().item() == pytest.approx(10, abs=1)


def size_of(config):
    return sum(parameter.numel() for parameter in episodes.build(config).parameters())


def test_the_matched_lstm_has_as_many_parameters_as_the_memory():
    memory = size_of(ARMS["memories"]["memory"])
    assert size_of(ARMS["memories"]["sharp"]) == memory
    assert size_of(ARMS["rivals"]["matched"]) == pytest.approx(memory, rel=0.01)


def test_a_gain_multiplies_the_starting_weights_of_an_lstm_and_nothing_else():
    plain, doubled = (
        dict(learner_of(replace(TINY, model="lstm", gain=gain)).network.named_parameters()) for gain in (1.0, 2.0)
    )
    for name, value in plain.items():
        assert torch.equal(doubled[name], (2 if name.startswith("lstm.weight") else 1) * value), name


def network_of(name):
    torch.manual_seed(0)
    if name == "memory":
        memory = MemoryAugmentedNetwork(9, 5, hidden_size=8, slots=6, width=4, reads=2)
        return lambda x: memory(x)[0]
    made = {"lstm": lambda: rivals.Recurrent(9, 5, 8), "transformer": lambda: rivals.Transformer(9, 5, 8, 12)}
    return made.get(name, lambda: rivals.Matching(4, 6))()


@pytest.mark.parametrize("name", ["memory", "lstm", "transformer", "matching"])
@torch.no_grad()
def test_a_change_at_a_step_alters_nothing_before_it(name):
    network = network_of(name)
    x = torch.rand(10, 3, 9, generator=seeded())
    before = network(x)
    for step in range(10):
        for part in (slice(0, 4), slice(4, 9)):  # the drawing; the label of the step before
            changed = x.clone()
            changed[step, :, part] += 1
            after = network(changed)
            torch.testing.assert_close(after[:step], before[:step])
            if name != "matching" or step:  # which knows that at the first step there is nothing to see
                assert not torch.allclose(after[step:], before[step:], atol=1e-4), (step, part)


def test_a_feed_forward_network_sees_one_step():
    network = rivals.FeedForward(9, 5, 8)
    x = torch.rand(10, 3, 9, generator=seeded())
    torch.testing.assert_close(network(x), torch.stack([network(step) for step in x]))


@pytest.mark.parametrize("digits", [1, 2])
@torch.no_grad()
def test_a_matching_network_is_a_soft_vote_of_the_earlier_drawings(digits):
    torch.manual_seed(0)
    network = rivals.Matching(4, 6).double()
    x = torch.rand(7, 3, 4, generator=seeded(), dtype=torch.float64)
    names = torch.randint(3, (7, 3, digits), generator=seeded(1))
    before = F.pad(labels.encode(names, 3).double()[:-1], (0, 0, 0, 0, 1, 0))
    found = network(torch.cat((x, before), -1))
    for b in range(3):
        embedded = [network.embedding(drawing) for drawing in x[:, b]]
        for t in range(7):
            share = torch.zeros(3 * digits, dtype=torch.float64)
            scores = [float(10 * F.cosine_similarity(embedded[t], embedded[s], 0)) for s in range(t)]
            for s, score in enumerate(scores):
                for place in range(digits):
                    weight = math.exp(score) / sum(map(math.exp, scores))
                    share[3 * place + int(names[s, b, place])] += weight
            torch.testing.assert_close(found[t, b], (share + 1e-4).log())


# Nearest neighbours


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 30])
def test_a_vote_is_of_the_nearest_earlier_drawings(k):
    features = torch.randn(15, 6, 3, generator=seeded())
    which = torch.randint(3, (15, 6), generator=seeded(1))
    found = neighbours.vote(features, which, k, 3, seeded(2))
    for b in range(6):
        for t in range(1, 15):
            near = sorted(range(t), key=lambda s: float((features[s, b] - features[t, b]).norm()))[:k]
            votes = Counter(int(which[s, b]) for s in near)
            tied = [c for c in votes if votes[c] == max(votes.values())]
            assert int(found[t, b]) == next(int(which[s, b]) for s in near if int(which[s, b]) in tied)


def test_one_neighbour_is_the_nearest_one():
    features = torch.tensor([0.0, 10.0, 9.0, 1.0]).view(4, 1, 1)
    which = torch.tensor([[2], [0], [1], [0]])
    assert neighbours.vote(features, which, 1, 3, seeded())[1:].flatten().tolist() == [2, 0, 2]


def test_the_first_answer_is_random_and_the_seed_tells_which():
    features, which = torch.zeros(2, 4000, 1), torch.ones(2, 4000, dtype=torch.int64)
    found = neighbours.vote(features, which, 3, 4, seeded())
    for c in range(4):
        assert float((found[0] == c).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert found[1].unique().tolist() == [1]
    assert torch.equal(found, neighbours.vote(features, which, 3, 4, seeded()))
    assert not torch.equal(found, neighbours.vote(features, which, 3, 4, seeded(1)))


NEAR = Neighbours(data="strokes", classes=3, length=12, episodes=32)


def test_neighbours_are_asked_the_test_episodes_of_the_networks():
    found = neighbours.accuracy(nn.Identity(), replace(NEAR, neighbours=2), CPU)
    generator, right, shown = seeded(), Counter(), Counter()
    for batch in episodes.test_batches(replace(TINY, batch=16, episodes=32), 3, CPU):
        said = neighbours.vote(batch.drawing, batch.which, 2, 3, generator)
        columns = (part.flatten().tolist() for part in (said, batch.which, batch.showing))
        for answer, which, showing in zip(*columns, strict=True):
            shown[showing] += 1
            right[showing] += answer == which
    assert found == pytest.approx([right[k] / max(shown[k], 1) for k in range(1, 11)])
    assert found[2] > 0.5  # of three


def test_components_keep_as_much_variance_as_a_projection_can():
    torch.manual_seed(0)
    layer = neighbours.components(NEAR, 20)
    pixels, mask = episodes.drawings("strokes", "train")
    flat = pixels[mask].double()
    centred = flat - flat.mean(0)
    most = torch.linalg.eigvalsh(centred.T @ centred / len(flat)).flip(0)
    projected = layer(pixels[mask]).detach().double()
    assert float(projected.mean(0).abs().max()) < 1e-4
    torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(20), atol=1e-4, rtol=0)
    assert float(projected.square().sum(1).mean()) == pytest.approx(float(most[:20].sum()), rel=0.01)


def test_other_features_are_named():
    with pytest.raises(ValueError, match="features must be one of pixels, components, classifier, got 'edges'"):
        neighbours.run(replace(NEAR, features="edges"), 0, CPU)


# The official one-shot runs

needs_runs = pytest.mark.skipif(
    not ((folder_from("WORKEDPAPERS_DATA") or Path("none")) / "omniglot" / "omniglot_oneshot_runs.zip").is_file(),
    reason="WORKEDPAPERS_DATA holds no one-shot runs",
)


@pytest.fixture
def runs(monkeypatch):
    """Three runs; a drawing is as bright as its character's number, and 100 brighter where it is asked."""
    numbers = (torch.arange(20).view(1, 20, 1, 1) + 20 * torch.arange(3).view(3, 1, 1, 1)).expand(3, 20, 28, 28)
    target = torch.stack([torch.randperm(20, generator=seeded(run)) for run in range(3)])
    found = numbers.to(torch.uint8), (numbers + 100).to(torch.uint8), target
    monkeypatch.setattr(oneshot, "oneshot_runs", lambda: found)
    return found


@pytest.mark.parametrize("ways", [2, 5, 20])
def test_a_question_shows_the_right_character_and_others_of_its_run_once_each(runs, ways):
    asked = list(oneshot.questions(ways, seeded()))
    assert len(asked) == 3 * oneshot.ORDERS
    places, others = Counter(), Counter()
    for number, (drawing, which) in enumerate(asked):
        run = number // oneshot.ORDERS
        assert drawing.shape == (ways + 1, 20, PIXELS)
        brightness = (drawing.mean(-1) * 255).round().long() - 20 * run
        assert brightness[-1].tolist() == list(range(100, 120))  # each drawing is asked
        assert which[:-1].tolist() == [[place] * 20 for place in range(ways)]
        for question, (place, right) in enumerate(zip(which[-1].tolist(), runs[2][run].tolist(), strict=True)):
            shown = brightness[:-1, question].tolist()
            assert len(set(shown)) == ways
            assert set(shown) <= set(range(20))
            assert shown[place] == right
            places[place] += 1
            others.update(shown)
    assert len(places) == ways
    assert max(places.values()) / places.total() == pytest.approx(1 / ways, abs=0.07)
    assert len(others) == 20
    assert max(others.values()) / others.total() == pytest.approx(1 / 20, abs=0.02)


def test_the_orders_of_a_question_differ(runs):
    asked = [drawing[:-1, 0, 0] for drawing, _ in oneshot.questions(5, seeded())][: oneshot.ORDERS]
    assert len({tuple(shown.tolist()) for shown in asked}) > oneshot.ORDERS // 2


@pytest.mark.parametrize(("kind", "ways"), [("one-hot", 5), ("words", 5), ("words", 20), ("spread", 3)])
def test_an_official_score_is_the_share_of_right_words(runs, kind, ways):
    config = replace(TINY, labels=kind, classes=5)
    assert oneshot.official(Says(config, lambda batch: batch.which), ways, CPU) == 1
    wrong = Says(config, lambda batch: torch.where(batch.which == 0, 1, 0))
    assert oneshot.official(wrong, ways, CPU) == 0
    first = oneshot.official(Says(config, lambda batch: torch.zeros_like(batch.which)), ways, CPU)
    assert first == pytest.approx(1 / ways, abs=0.07)


def test_neighbours_are_asked_the_same_questions(runs):
    mean = nn.Linear(PIXELS, 1)
    with torch.no_grad():
        mean.weight.fill_(1 / PIXELS)
        mean.bias.zero_()
    generator, right = seeded(), []
    for drawing, which in oneshot.questions(5, generator):
        neighbours.vote(drawing, which, 1, 5, generator)  # which draws first answers
        right.append((drawing[:-1].mean(-1).argmax(0) == which[-1]).float())  # what is asked is brighter than all
    assert neighbours.asked(mean, NEAR, 5, CPU) == pytest.approx(float(torch.cat(right).mean()))


def test_more_ways_than_a_network_knows_names_are_refused(runs):
    with pytest.raises(RuntimeError, match="smaller than num_classes"):
        oneshot.official(learner_of(TINY), 5, CPU)


@needs_runs
def test_networks_that_know_words_and_neighbours_can_be_asked_among_twenty(monkeypatch):
    monkeypatch.setattr(oneshot, "ORDERS", 1)
    for model in ("memory", "matching"):
        learner = learner_of(replace(WORDS, model=model))
        assert all(0 <= oneshot.official(learner, ways, CPU) < 0.5 for ways in (5, 20))
    five, twenty = (neighbours.asked(nn.Identity(), NEAR, ways, CPU) for ways in (5, 20))
    assert twenty == pytest.approx(0.25, abs=0.1)
    assert five > twenty


# Probes


class Planted(MemoryAugmentedNetwork):
    """Writes what a test says to the least used slot, and adds to what it has written a step before."""

    def __init__(self, config, width, write, later):
        super().__init__(PIXELS + config.classes, config.classes, slots=config.length, width=width, reads=1)
        self.write, self.later, self.last = write, later, None

    def forward(self, input, state):
        memory, weights, usage = (part.clone() for part in state.memory)
        drawing, label = input[0].split((PIXELS, input.shape[-1] - PIXELS), -1)
        every, slot = torch.arange(len(memory)), usage.argmin(-1)
        memory[every, slot] = self.write(drawing, label)
        if usage.any():
            memory[every, self.last] += self.later(drawing, label)
        usage[every, slot] += 1
        self.last = slot
        return input[..., PIXELS:], state._replace(memory=MemoryState(memory, weights, usage))


PROBED = replace(TINY, length=24, episodes=160, batch=16)
CHANCE = pytest.approx(1 / 3, abs=0.05)
NOTHING = pytest.approx(0, abs=0.05)


def probed(width, write, later=lambda drawing, label: torch.zeros(())):
    learner = learner_of(PROBED)
    learner.network = Planted(PROBED, width, write, later)
    return probes.probe(learner, CPU)


def noise(width):
    generator = seeded()
    return lambda drawing, label: torch.randn(len(label), width, generator=generator)


def test_a_drawing_is_found_in_the_rows_that_hold_it():
    found = probed(PIXELS, lambda drawing, label: drawing)
    for right_after_or_later in found["drawing"]:
        assert right_after_or_later[0] == pytest.approx(1, abs=0.02)
        assert abs(right_after_or_later[1]) < 0.25  # 196 numbers fit a little of the noise


def test_the_label_that_has_arrived_is_found_in_the_rows_that_hold_it():
    found = probed(6, lambda drawing, label: F.pad(label, (0, 3)))
    assert found["label"] == [[CHANCE, 1]] * 2
    assert found["drawing"][0][0] == NOTHING


def test_a_label_that_is_added_a_step_later_is_found_a_step_later():
    found = probed(6, lambda drawing, label: torch.zeros(len(label), 6), lambda drawing, label: F.pad(label, (0, 3)))
    assert found["label"] == [[CHANCE, CHANCE], [1, CHANCE]]
    assert found["drawing"][0] == [NOTHING] * 2


def test_nothing_is_found_in_noise():
    found = probed(6, noise(6))
    assert found["label"] == [[CHANCE] * 2] * 2
    assert found["drawing"] == [[NOTHING] * 2] * 2


@pytest.mark.parametrize("change", [{"model": "lstm"}, {"addressing": "ntm"}, {"labels": "words"}])
def test_what_cannot_be_probed_is_refused(change):
    with pytest.raises(ValueError, match="only a memory that overwrites what was used least, of one-hot labels"):
        probes.probe(learner_of(replace(TINY, **change)), CPU)


# Rows, searches and tables

ROWS = [
    (training.run, replace(TINY, probed=True)),
    (training.run, replace(TINY, model="lstm", tested=(2, 5))),
    (neighbours.run, replace(NEAR, features="components")),
    (neighbours.run, replace(NEAR, features="classifier", updates=2)),
]


@pytest.mark.parametrize(("run", "config"), ROWS)
def test_a_row_repeats_and_leaves_the_generator_alone(run, config):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = run(config, 0, CPU)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(6)
    assert first == run(config, 0, CPU)
    if config != replace(NEAR, features="components"):
        assert first != run(config, 1, CPU)


def test_a_row_says_what_was_asked(runs):
    config = replace(TINY, tested=(2,), ways=(2, 3))
    found = training.run(config, 0, CPU)
    assert set(found) == {"accuracy", "rivals", "confused", "curve", "right", "count", "parameters", "more", "official"}
    assert [len(found[name]) for name in ("accuracy", "rivals", "confused", "more", "official")] == [10, 1, 1, 1, 2]
    assert found["parameters"] == size_of(config)
    learner, _ = episodes.train(config, 0, CPU)
    assert found["more"] == [episodes.test(learner, 2, CPU)["accuracy"]]
    assert found["official"] == [oneshot.official(learner, ways, CPU) for ways in (2, 3)]


def test_check_rows_have_every_kind():
    rows = EXPERIMENTS["check"].configs("check")
    options = {
        "model": {"memory", "lstm", "feedforward", "transformer", "matching"},
        "labels": {"one-hot", "words", "spread"},
        "easier": {None, "numbers"},
        "inputs": {"offset", "aligned"},
        "controller": {"lstm", "feedforward"},
        "addressing": {"lru", "ntm"},
        "order": {"write", "address"},
        "targets": {"own", "shared"},
        "ties": {"first", "all"},
        "gate": {"controller", "learned"},
        "content": {"key", "separate"},
        "sharpness": {None, 10.0, "learned"},
        **{name: {True, False} for name in ("erase", "feedback", "wiped", "probed")},
    }
    for name, values in options.items():
        assert {getattr(row, name) for row in rows} == values, name
    assert any(row.tested for row in rows)
    assert {row.data for row in (*rows, LIVE)} == {"strokes"}  # which need no download
    assert {row.features for row in EXPERIMENTS["neighbours"].configs("check")} >= {"pixels", "classifier"}


def test_a_check_row_reaches_more_classes():
    check = EXPERIMENTS["check"]
    assert missing(check, "check") == []
    first = check.configs("check")[0]
    assert first.start < first.classes
    assert recorded(check, "check")[0]["metrics"]["count"][-1] == first.classes


SEARCHED = {"search_rivals": tables.SEARCHED_RIVALS, "search_readings": (*tables.SEARCHED_READINGS, "NTM, sharp")}
GROUPS = {"search_rivals": "rivals", "search_readings": "readings"}
BASE, LSTM = ("readings", "base"), ("rivals", "lstm, doubled")
#: Arms without a search of their own, and whose rate they have; None: that of `FewShot`.
LIKE = {
    "memories": {"memory": ("readings", "strength 1"), "sharp": BASE},
    "rivals": {"matched": LSTM, "feedforward": None},  # which learns nothing at any rate
    "readings": {name: BASE for name in tables.READINGS if name not in tables.SEARCHED_READINGS},
    "bindings": {
        **dict.fromkeys(("no feedback", "feed-forward", "aligned", "not wiped"), BASE),
        **dict.fromkeys(("lstm", "aligned, lstm"), LSTM),
    },
    "longer": {"memory": ("readings", "strength 1"), "lstm, doubled": LSTM},
    "words": {
        "words": BASE,
        "spread": BASE,
        "lstm, words": LSTM,
        "lstm, spread": LSTM,
        "matching, words": ("rivals", "matching"),
    },
}
SOURCES = {
    "memories": tables.MEMORIES,
    "rivals": tables.RIVALS,
    "readings": tables.READINGS,
    "bindings": tables.BINDINGS,
    "longer": tables.LONGER,
    "words": tables.WORD_ARMS,
}


def bare(config):
    return replace(config, learning_rate=1.0, ways=(), probed=False)


def arm_of(table, name):
    if name == "NTM, sharp":
        return bare(replace(tables.READINGS["NTM"], sharpness=tables.SHARP))
    return bare(SOURCES[GROUPS[table]][name])


def ends(table, name):
    """Loss at the end of a search by rate, as a share of a guess's: with fewer classes the loss itself is lower."""
    found, arm = EXPERIMENTS[table], arm_of(table, name)
    assert missing(found, "book") == []  # a test trains none of these
    by_rate = {}
    for row in recorded(found, "book"):
        config = FewShot(**{k: tuple(v) if isinstance(v, list) else v for k, v in row["config"].items()})
        if bare(config) == arm:
            classes, loss = (row["metrics"][metric][-1] for metric in ("count", "curve"))
            by_rate[config.learning_rate] = math.inf if loss is None else loss / math.log(classes)
    return by_rate


@pytest.mark.parametrize("table", SEARCHED)
def test_a_search_tries_the_same_rates_for_every_arm_and_changes_nothing_else(table):
    configs = EXPERIMENTS[table].configs("book")
    arms = {name: arm_of(table, name) for name in SEARCHED[table]}
    tried = {name: [c.learning_rate for c in configs if bare(c) == arm] for name, arm in arms.items()}
    assert sum(map(len, tried.values())) == len(configs)
    for name, rates in tried.items():
        assert len(rates) == len(set(rates)), name
        assert set(rates) == {*tables.RATES, *tables.FURTHER.get(name, ())}, name
    assert not any(config.ways or config.probed for config in configs)


@pytest.mark.parametrize("table", SEARCHED)
def test_an_arm_has_the_rate_of_the_lowest_loss_at_the_end_with_worse_ones_on_either_side(table):
    for name in SEARCHED[table]:
        found = ends(table, name)
        best = min(found, key=found.get)
        if name in ARMS[GROUPS[table]]:
            assert best == ARMS[GROUPS[table]][name].learning_rate, (name, found)
            assert min(found) < best < max(found), (name, found)


LEFT_OUT = [("search_rivals", "lstm", "lstm, doubled"), ("search_readings", "NTM, sharp", "NTM")]


@pytest.mark.parametrize(("table", "worse", "better"), LEFT_OUT)
def test_what_is_searched_and_left_out_is_no_better_than_what_stays(table, worse, better):
    assert worse not in ARMS[GROUPS[table]]
    assert min(ends(table, worse).values()) > min(ends(table, better).values())


@pytest.mark.parametrize("group", ARMS)
def test_an_arm_without_a_search_has_the_rate_of_the_arm_that_it_differs_from(group):
    searched = {name for table, names in SEARCHED.items() for name in names if GROUPS[table] == group}
    left_out = {worse for table, worse, _ in LEFT_OUT if GROUPS[table] == group}
    assert set(ARMS[group]) == (searched | set(LIKE[group])) - left_out
    for name, like in LIKE[group].items():
        expected = ARMS[like[0]][like[1]] if like else FewShot()
        assert ARMS[group][name].learning_rate == expected.learning_rate, name


def test_rates_are_tuned_for_arms_that_there_are():
    for group, rates in tables.TUNED.items():
        assert set(rates) <= set(ARMS[group]), group


@pytest.mark.parametrize("group", ARMS)
def test_an_arm_is_what_its_table_says_but_for_its_rate(group):
    for name, arm in ARMS[group].items():
        assert replace(arm, learning_rate=1.0) == replace(SOURCES[group][name], learning_rate=1.0), name
    assert EXPERIMENTS[group].configs("book") == list(ARMS[group].values())


def test_searches_and_other_tables_of_episodes_share_no_seed():
    of_episodes = {name: table for name, table in EXPERIMENTS.items() if table.config in (FewShot, Neighbours)}
    assert set(SEARCHED) == {name for name in of_episodes if name.startswith("search")}
    searched = {seed for name in SEARCHED for seed in EXPERIMENTS[name].seeds("book")}
    for name, table in of_episodes.items():
        if "book" in table.grid and name not in SEARCHED:
            assert not searched & set(table.seeds("book")), name
            assert len(table.seeds("book")) >= 3 or name == "longer", name


def test_arms_can_be_had_by_name():
    table = named("rivals", "transformer", "matching")
    assert table.configs("book") == [ARMS["rivals"]["transformer"], ARMS["rivals"]["matching"]]
    assert table.seeds("book") == EXPERIMENTS["rivals"].seeds("book")
    assert named("longer", "memory").seeds("book") == EXPERIMENTS["longer"].seeds("book")
    with pytest.raises(KeyError):
        named("rivals", "gru")


# Scoreboard


def test_the_scoreboard_is_empty_while_rows_are_missing(monkeypatch):
    monkeypatch.setattr(claims, "missing", lambda table, scale: [1])
    assert claims.scoreboard() == []


def test_a_claim_of_the_scoreboard_is_a_difference_below_zero():
    for runs, verdict, cause in (
        ((-1.0, -2.0), "holds", ""),
        ((-2.0, 1.0), "holds in part", "seeds disagree"),
        ((1.0, 2.0), "fails", "why"),
    ):
        claim = claims._claim("text", -3.0, runs, "why")
        assert (claim.verdict, claim.cause, claim.runs) == (verdict, cause, runs)
    rows = pd.DataFrame({"accuracy": [[0.1 * k for k in range(10)], [0.5] * 10]})
    assert claims._at(rows, 3).tolist() == pytest.approx([20, 50])
    assert claims._later(rows).tolist() == pytest.approx([40, 50])
