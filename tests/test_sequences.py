"""Sequences that can be told from their past: the rules replayed by loops, what is random, what is known beforehand."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workedpapers.tasks.sequences import MOVES, cue, panorama, parity, pointer, recall, walk

STOCK = 30
IMAGES = torch.stack((torch.arange(STOCK), torch.arange(STOCK).square()), 1).float()  # image i is [i, i²]
LABELS = torch.arange(STOCK).flip(0) // 3  # three images of each digit
MANY = 6000  # sequences, for shares


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbers(episodes):
    """Which image of the stock each frame is, (time, batch); every pixel must be that image's."""
    found = episodes.frames[..., 0].long()
    assert torch.equal(episodes.frames, IMAGES[found])
    return found


def of_digit(digit):
    """The images of a digit."""
    return [i for i, label in enumerate(LABELS.tolist()) if label == digit]


def kinds(new, told, other=0):
    """Columns of marks: so many new frames, others, told ones."""
    marks = ["new"] * new + ["neither"] * other + ["told"] * told
    return [[mark == kind for mark in marks] for kind in ("new", "told")]


def marks(episodes, b):
    return [episodes.new[:, b].tolist(), episodes.told[:, b].tolist()]


def assert_uniform(found, cells):
    """Each of some cells is found alike, within 4.5 standard deviations of a count."""
    counts = Counter(found)
    assert set(counts) <= set(cells)
    mean = len(found) / len(cells)
    for cell in cells:
        assert abs(counts[cell] - mean) < 4.5 * math.sqrt(mean), cell


def assert_independent(found):
    """Frames, (time, sequences), are uniform over the stock, each, and in pairs: in time and among sequences."""
    for frame in found:
        assert_uniform(frame.tolist(), range(STOCK))
    pairs = [(found[s], found[t]) for s in range(len(found)) for t in range(s)]
    for one, two in [*pairs, (found[0, :-1], found[0, 1:])]:
        same = (one[:, None] == two[:, None]).double().mean()
        assert float(same) == pytest.approx(1 / STOCK, abs=4.5 * math.sqrt(1 / STOCK / MANY))
        assert_uniform(((one - two) % STOCK).tolist(), range(STOCK))


sizes = st.integers(1, 5)
seeds = st.integers(0, 99)


# Recall


@given(batch=sizes, recalled=sizes, more=st.integers(0, 4), seed=seeds)
@settings(deadline=None, max_examples=40)
def test_what_is_recalled_is_what_was_stored_in_order(batch, recalled, more, seed):
    episodes = recall(IMAGES, batch, recalled + more, recalled, seeded(seed))
    found = numbers(episodes)
    assert found.shape == (recalled + more + recalled, batch)
    assert episodes.context is None
    for b in range(batch):
        for i in range(recalled):
            assert found[recalled + more + i, b] == found[i, b]
        assert marks(episodes, b) == kinds(recalled + more, recalled)


def test_new_frames_of_recall_are_independent_draws():
    assert_independent(numbers(recall(IMAGES, MANY, 3, 1, seeded(1)))[:3])


# Parity


@given(batch=sizes, recalled=sizes, more=st.integers(0, 4), told=st.booleans(), seed=seeds)
@settings(deadline=None, max_examples=40)
def test_parity_is_answered_by_a_one_where_the_digit_was_odd_else_by_a_zero(batch, recalled, more, told, seed):
    stored = recalled + more
    episodes = parity(IMAGES, LABELS, batch, stored, recalled, seeded(seed), told=told)
    found = numbers(episodes)
    assert found.shape == (stored + recalled, batch)
    assert (episodes.context is not None) == told
    for b in range(batch):
        assert marks(episodes, b) == kinds(stored, recalled)
        context = [[1, 0, 0]] * stored  # a random digit
        for i in range(recalled):
            asked, answer = (int(LABELS[found[t, b]]) for t in (i, stored + i))
            assert answer == (1 if asked in (1, 3, 5, 7, 9) else 0)
            context.append([0, 0, 1] if answer else [0, 1, 0])
        if told:
            assert episodes.context[:, b].tolist() == context


def test_being_told_the_parity_changes_no_frame():
    told, plain = (parity(IMAGES, LABELS, 7, 4, 3, seeded(2), told=told) for told in (True, False))
    assert torch.equal(told.frames, plain.frames)
    assert told.context.dtype == IMAGES.dtype


def test_digits_of_parity_and_images_of_its_answers_are_independent_draws():
    found = numbers(parity(IMAGES, LABELS, MANY, 3, 2, seeded(3)))
    assert_independent(found[:3])
    for t in (3, 4):
        for digit in (0, 1):
            images = of_digit(digit)
            assert_uniform([i for i in found[t].tolist() if i in images], images)
    same_digit = LABELS[found[3]] == LABELS[found[4]]
    same_image = (found[3] == found[4])[same_digit].double().mean()
    assert float(same_image) == pytest.approx(1 / 3, abs=0.05)


# Pointers


@given(batch=sizes, stored=st.integers(1, 10), data=st.data(), seed=seeds)
@settings(deadline=None, max_examples=40)
def test_a_digit_names_the_place_of_the_next_one(batch, stored, data, seed):
    recalled = data.draw(st.integers(1, stored))
    episodes = pointer(IMAGES, LABELS, batch, stored, recalled, seeded(seed))
    found = numbers(episodes)
    assert found.shape == (stored + recalled, batch)
    assert episodes.context is None
    for b in range(batch):
        digits = LABELS[found[:stored, b]].tolist()
        assert sorted(digits) == list(range(stored))
        assert marks(episodes, b) == kinds(stored, recalled)
        place, visited = 0, []
        for i in range(recalled):
            assert found[stored + i, b] == found[place, b]
            visited.append(place)
            place = digits[place]
        assert len(set(visited)) == recalled  # one cycle: no place comes twice


def test_each_cycle_of_digits_is_as_likely_and_each_image_of_a_digit():
    found = numbers(pointer(IMAGES, LABELS, MANY, 4, 1, seeded(4)))[:4]
    cycles = [tuple(LABELS[column].tolist()) for column in found.T]
    expected = {  # of the 24 orders of four digits those in which no place names one that leads back too soon
        (1, 2, 3, 0),
        (1, 3, 0, 2),
        (2, 3, 1, 0),
        (2, 0, 3, 1),
        (3, 2, 0, 1),
        (3, 0, 1, 2),
    }
    assert_uniform(cycles, expected)
    for digit in range(4):
        images = of_digit(digit)
        assert_uniform([i for i in found.flatten().tolist() if i in images], images)
    zeros, ones = ((found * (LABELS[found] == digit)).sum(0) % 3 for digit in (0, 1))
    assert float((zeros == ones).double().mean()) == pytest.approx(1 / 3, abs=0.03)


# Cues


@given(batch=sizes, recalled=sizes, more=sizes, seed=seeds)
@settings(deadline=None, max_examples=40)
def test_after_a_cue_comes_what_followed_it(batch, recalled, more, seed):
    stored = recalled + more
    episodes = cue(IMAGES, batch, stored, recalled, seeded(seed))
    found = numbers(episodes)
    assert found.shape == (stored + 1 + recalled, batch)
    assert episodes.context is None
    for b in range(batch):
        shown = found[:stored, b].tolist()
        assert len(set(shown)) == stored
        place = shown.index(int(found[stored, b]))
        assert found[stored:, b].tolist() == shown[place : place + 1 + recalled]
        assert marks(episodes, b) == kinds(stored, recalled, other=1)


def test_each_place_with_enough_followers_is_cued_alike():
    found = numbers(cue(IMAGES, MANY, 5, 2, seeded(5)))
    places = (found[:5] == found[5]).long().argmax(0)
    assert_uniform(places.tolist(), range(3))
    for frame in found[:5]:
        assert_uniform(frame.tolist(), range(STOCK))
    after = (found[1] - found[0]) % STOCK  # distinct, and else anything
    assert_uniform(after.tolist(), range(1, STOCK))
    for part in (found[0][places == 0], found[0, 1:][places[:-1] == 1]):  # where the cue is tells nothing
        assert_uniform(part.tolist(), range(STOCK))


def test_a_cue_can_take_the_whole_stock():
    found = numbers(cue(IMAGES[:4], 9, 4, 3, seeded(0)))
    assert found[:4].sort(0).values.T.tolist() == [[0, 1, 2, 3]] * 9
    assert torch.equal(found[4:], found[:4])


# Walks


@given(batch=sizes, side=st.integers(2, 4), steps=st.integers(1, 25), seed=seeds)
@settings(deadline=None, max_examples=40)
def test_a_place_shows_what_it_showed_and_is_told_where_it_was_visited(batch, side, steps, seed):
    episodes = walk(IMAGES, batch, side, steps, seeded(seed))
    found = numbers(episodes)
    assert found.shape == (steps, batch)
    assert episodes.context.shape == (steps, batch, 4)
    for b in range(batch):
        row, column, seen = 0, 0, {}
        for t in range(steps):
            told = episodes.context[t, b].tolist()
            if t == 0:
                assert told == [0, 0, 0, 0]
            else:
                assert sorted(told) == [0, 0, 0, 1]
                up, down, left, right = told
                row, column = (row + down - up) % side, (column + right - left) % side
            visited = (row, column) in seen
            assert bool(episodes.told[t, b]) == visited
            assert bool(episodes.new[t, b]) == (not visited)
            assert found[t, b] == seen.setdefault((row, column), int(found[t, b]))


def test_the_edges_of_a_map_meet():
    steps = 4
    episodes = walk(IMAGES, MANY, steps - 1, steps, seeded(6))
    moves, found = episodes.context[1:], numbers(episodes)
    for direction in range(4):
        around = moves[..., direction].all(0)  # three moves in one direction, on a map of side three
        assert int(around.sum()) > MANY / 4**3 / 2
        assert torch.equal(found[0, around], found[3, around])
        assert episodes.told[3, around].all()
        assert episodes.new[:3, around].all()


def test_moves_are_uniform_and_independent_and_so_are_places():
    episodes = walk(IMAGES, MANY, 5, 3, seeded(7))
    moves = episodes.context[1:].argmax(-1)
    cells = [(a, b) for a in range(4) for b in range(4)]
    assert_uniform(list(zip(*moves.tolist(), strict=True)), cells)
    assert_uniform(list(zip(moves[0, :-1].tolist(), moves[0, 1:].tolist(), strict=True)), cells)
    assert_independent(numbers(episodes)[:2])
    assert MOVES == ((-1, 0), (1, 0), (0, -1), (0, 1))


# Panoramas


@given(batch=sizes, window=sizes, more=st.integers(0, 6), steps=st.integers(1, 30), seed=seeds)
@settings(deadline=None, max_examples=40)
def test_a_pixel_of_the_ring_looks_the_same_whenever_it_is_seen(batch, window, more, steps, seed):
    ring = max(3, window + more)
    episodes = panorama(batch, ring, window, steps, seeded(seed), noise=0.0)
    assert episodes.frames.shape == (steps, batch, window)
    assert episodes.context.shape == (steps, batch, window)
    for b in range(batch):
        turned, seen = 0, {}
        for t in range(steps):
            told = episodes.context[t, b].tolist()
            if t == 0:
                assert told == [0] * window
            else:
                assert sorted(told) == [0] * (window - 1) + [1]
                turned += 1 + told.index(1)
            places = [(turned + i) % ring for i in range(window)]
            known = [place in seen for place in places]
            for place, value in zip(places, episodes.frames[t, b].tolist(), strict=True):
                assert seen.setdefault(place, value) == value
            assert bool(episodes.told[t, b]) == (turned >= ring)
            assert bool(episodes.new[t, b]) == (turned + window <= ring)
            if episodes.told[t, b]:
                assert all(known)
            if episodes.new[t, b] and t:
                assert not known[-1]  # at least one pixel comes into view


def test_a_ring_is_standard_normal_and_smooth_over_three_pixels():
    ring = panorama(MANY, 8, 8, 1, seeded(8), noise=0.0).frames[0].double()
    covariance = ring.T @ ring / MANY
    for i in range(8):
        for j in range(8):
            apart = min((i - j) % 8, (j - i) % 8)
            assert float(covariance[i, j]) == pytest.approx(max(0, 3 - apart) / 3, abs=0.07)
    assert float(ring.mean()) == pytest.approx(0, abs=0.02)
    assert float((ring**4).mean()) == pytest.approx(3, abs=0.2)
    neighbours = (ring[1:] * ring[:-1]).mean()  # of other sequences
    assert float(neighbours) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_noise_comes_on_top_anew_in_every_frame(noise):
    noisy, plain = (panorama(MANY, 6, 2, 5, seeded(9), noise=level) for level in (noise, 0.0))
    assert torch.equal(noisy.context, plain.context)
    rest = ((noisy.frames - plain.frames) / noise).double()
    assert float(rest.std()) == pytest.approx(1, abs=0.02)
    assert float((rest**4).mean()) == pytest.approx(3, abs=0.1)
    columns = rest.permute(0, 2, 1).flatten(0, 1)
    torch.testing.assert_close(columns @ columns.T / MANY, torch.eye(10).double(), atol=0.07, rtol=0)


def test_the_noise_is_a_tenth_unless_another_is_asked_for():
    default, tenth = panorama(3, 6, 2, 5, seeded()), panorama(3, 6, 2, 5, seeded(), noise=0.1)
    assert torch.equal(default.frames, tenth.frames)


def test_turns_are_uniform_and_independent():
    turns = panorama(MANY, 9, 3, 3, seeded(10)).context[1:].argmax(-1)
    cells = [(a, b) for a in range(3) for b in range(3)]
    assert_uniform(list(zip(*turns.tolist(), strict=True)), cells)
    assert_uniform(list(zip(turns[0, :-1].tolist(), turns[0, 1:].tolist(), strict=True)), cells)


# All of them

DRAWS = {
    "recall": lambda images, generator: recall(images, 4, 5, 3, generator),
    "parity": lambda images, generator: parity(images, LABELS, 4, 5, 3, generator),
    "parity, told": lambda images, generator: parity(images, LABELS, 4, 5, 3, generator, told=True),
    "pointer": lambda images, generator: pointer(images, LABELS, 4, 5, 3, generator),
    "cue": lambda images, generator: cue(images, 4, 5, 3, generator),
    "walk": lambda images, generator: walk(images, 4, 3, 9, generator),
    "panorama": lambda images, generator: panorama(4, 7, 3, 9, generator),
}


@pytest.mark.parametrize("task", DRAWS)
def test_only_the_generator_counts(task):
    images = IMAGES.clone()
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = DRAWS[task](images, seeded(1))
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(2)
    again, generator = DRAWS[task](images, seeded(1)), seeded(1)
    for one, two in zip(first, again, strict=True):
        assert one is two is None or torch.equal(one, two)
    one, two = DRAWS[task](images, generator), DRAWS[task](images, generator)
    assert torch.equal(one.frames, first.frames)
    assert not torch.equal(one.frames, two.frames)
    assert torch.equal(images, IMAGES)


@pytest.mark.parametrize("task", DRAWS)
def test_every_part_has_time_and_batch_and_no_frame_is_new_and_told(task):
    episodes = DRAWS[task](IMAGES, seeded(11))
    time = {"cue": 9, "walk": 9, "panorama": 9}.get(task, 8)
    assert episodes.frames.shape == (time, 4, 3 if task == "panorama" else 2)
    for marked in (episodes.new, episodes.told):
        assert (marked.dtype, marked.shape) == (torch.bool, (time, 4))
        assert marked.any()
    assert not (episodes.new & episodes.told).any()
    entries = {"parity, told": 3, "walk": 4, "panorama": 3}
    assert (episodes.context is not None) == (task in entries)
    if task in entries:
        assert episodes.context.shape == (time, 4, entries[task])
    assert {part.device.type for part in episodes if part is not None} == {"cpu"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.uint8])
@pytest.mark.parametrize("task", [task for task in DRAWS if task != "panorama"])
def test_frames_and_context_have_the_dtype_of_the_images(task, dtype):
    given, plain = (DRAWS[task](images, seeded(12)) for images in (IMAGES.to(dtype), IMAGES))
    assert given.frames.dtype == dtype
    assert torch.equal(given.frames, plain.frames.to(dtype))
    if plain.context is not None:
        assert given.context.dtype == dtype
        assert torch.equal(given.context, plain.context.to(dtype))


def test_images_keep_their_shape():
    pictures = IMAGES.unflatten(1, (1, 2)).expand(STOCK, 3, 2)
    assert recall(pictures, 4, 5, 3, seeded()).frames.shape == (8, 4, 3, 2)


def test_an_image_of_a_stock_of_one_is_all_there_is():
    frames = recall(IMAGES[:1], 2, 3, 1, seeded()).frames
    assert torch.equal(frames, torch.zeros(4, 2, 2))


# Errors

EMPTY = IMAGES[:0]
REFUSED = [
    (lambda g: recall(EMPTY, 1, 2, 1, g), r"images must hold at least one, got shape \(0, 2\)"),
    (lambda g: recall(IMAGES, 0, 2, 1, g), "batch must be at least 1, got 0"),
    (lambda g: recall(IMAGES, 1, 2, 3, g), "1 <= recalled <= stored must hold, got 3 and 2"),
    (lambda g: recall(IMAGES, 1, 2, 0, g), "1 <= recalled <= stored must hold, got 0 and 2"),
    (lambda g: parity(EMPTY, LABELS[:0], 1, 2, 1, g), "images must hold at least one"),
    (lambda g: parity(IMAGES, LABELS, -1, 2, 1, g), "batch must be at least 1, got -1"),
    (lambda g: parity(IMAGES, LABELS, 1, 2, 3, g), "1 <= recalled <= stored must hold"),
    (lambda g: parity(IMAGES, LABELS[1:], 1, 2, 1, g), r"labels must be one an image, \(30,\), got \(29,\)"),
    (lambda g: parity(IMAGES, LABELS[:, None], 1, 2, 1, g), r"labels must be one an image, \(30,\), got \(30, 1\)"),
    (lambda g: parity(IMAGES, LABELS + 1, 1, 2, 1, g), "must hold every digit below 2, there is no 0"),
    (lambda g: parity(IMAGES, 2 * LABELS, 1, 2, 1, g), "must hold every digit below 2, there is no 1"),
    (lambda g: pointer(EMPTY, LABELS[:0], 1, 2, 1, g), "images must hold at least one"),
    (lambda g: pointer(IMAGES, LABELS, 0, 2, 1, g), "batch must be at least 1, got 0"),
    (lambda g: pointer(IMAGES, LABELS, 1, 2, 3, g), "1 <= recalled <= stored must hold"),
    (lambda g: pointer(IMAGES, LABELS, 1, 11, 3, g), "stored must be at most 10, one place a digit, got 11"),
    (lambda g: pointer(IMAGES, LABELS[1:], 1, 2, 1, g), "labels must be one an image"),
    (lambda g: pointer(IMAGES, LABELS + 10 * (LABELS == 3), 1, 4, 1, g), "every digit below 4, there is no 3"),
    (lambda g: cue(IMAGES, 0, 3, 2, g), "batch must be at least 1, got 0"),
    (lambda g: cue(IMAGES, 1, 3, 3, g), "1 <= recalled < stored <= number of images must hold, got 3, 3, 30"),
    (lambda g: cue(IMAGES, 1, 3, 0, g), "1 <= recalled < stored <= number of images must hold, got 0, 3, 30"),
    (lambda g: cue(IMAGES, 1, 31, 2, g), "1 <= recalled < stored <= number of images must hold, got 2, 31, 30"),
    (lambda g: walk(EMPTY, 1, 2, 3, g), "images must hold at least one"),
    (lambda g: walk(IMAGES, 0, 2, 3, g), "batch must be at least 1, got 0"),
    (lambda g: walk(IMAGES, 1, 2, 0, g), "steps must be at least 1, got 0"),
    (lambda g: walk(IMAGES, 1, 1, 3, g), "side must be at least 2, for a move to lead elsewhere, got 1"),
    (lambda g: panorama(0, 5, 2, 3, g), "batch must be at least 1, got 0"),
    (lambda g: panorama(1, 5, 0, 3, g), "window must be at least 1, got 0"),
    (lambda g: panorama(1, 5, 2, 0, g), "steps must be at least 1, got 0"),
    (lambda g: panorama(1, 5, 6, 3, g), "ring must be at least 3, and at least window, 6, got 5"),
    (lambda g: panorama(1, 2, 2, 3, g), "ring must be at least 3, and at least window, 2, got 2"),
    (lambda g: panorama(1, 5, 2, 3, g, noise=-0.1), "noise must not be negative, got -0.1"),
    (lambda g: panorama(1, 5, 2, 3, g, noise=math.nan), "noise must not be negative, got nan"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_cannot_be_drawn_is_refused_before_anything_is(call, message):
    generator = seeded()
    with pytest.raises(ValueError, match=message):
        call(generator)
    assert torch.equal(generator.get_state(), seeded().get_state())


def test_the_smallest_sizes_are_allowed():
    assert recall(IMAGES, 1, 1, 1, seeded()).frames.shape == (2, 1, 2)
    assert parity(IMAGES, LABELS, 1, 1, 1, seeded()).frames.shape == (2, 1, 2)
    assert pointer(IMAGES, LABELS, 1, 10, 10, seeded()).frames.shape == (20, 1, 2)
    assert cue(IMAGES, 1, 2, 1, seeded()).frames.shape == (4, 1, 2)
    assert walk(IMAGES, 1, 2, 1, seeded()).told.tolist() == [[False]]
    assert panorama(1, 3, 3, 1, seeded()).new.tolist() == [[True]]
