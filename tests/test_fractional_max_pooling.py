"""Fractional max-pooling against loops over regions, fractions, torch's own layer, counts and finite differences."""

import copy
import io
import math
import pickle
from collections import Counter
from fractions import Fraction
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._inductor import config as inductor_config
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from workedpapers import fractional_max_pooling as module
from workedpapers.fractional_max_pooling import FractionalMaxPool2d, fractional_max_pool2d, pooling_regions
from workedpapers.lab.timing import saved_bytes

KINDS = ["pseudorandom", "random"]
OVERLAPS = ["disjoint", "square", "interval"]
SIZES = [(n_in, n_out) for n_in in range(41) for n_out in range(n_in) if n_in < 2 * n_out]
BITS = {torch.float16: torch.int16, torch.bfloat16: torch.int16, torch.float32: torch.int32, torch.float64: torch.int64}
# The paper's two networks, by their reduction: sizes before and after each pooling.
NETWORKS = {
    2**0.5: [(35, 25), (24, 17), (16, 11), (10, 7), (6, 4), (3, 2)],
    2 ** (1 / 3): [
        *[(93, 74), (73, 58), (57, 45), (44, 35), (34, 27), (26, 21)],
        *[(20, 16), (15, 12), (11, 9), (8, 6), (5, 4), (3, 2)],
    ],
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def slope(n_in, n_out, overlap):
    """What a step is on average, α."""
    return {
        "disjoint": Fraction(n_in, n_out),
        "square": Fraction(n_in - 2, n_out - 1),
        "interval": Fraction(n_in - 1, n_out),
    }[overlap]


def exact_regions(n_in, n_out, overlap, phase):
    """The definition, ⌊α i + phase⌋, in fractions: starts and stops."""
    alpha = slope(n_in, n_out, overlap)
    marks = [math.floor(alpha * i + Fraction(phase)) for i in range(n_out + 1)]
    starts = marks[:n_out]
    stops = {
        "disjoint": marks[1:],
        "square": [start + 2 for start in starts],
        "interval": [mark + 1 for mark in marks[1:]],
    }[overlap]
    return starts, stops


def every_word(n_in, n_out, overlap):
    """Starts of pseudorandom regions and in what share of the phases each comes: phases between any two jumps."""
    steps = slope(n_in, n_out, overlap).denominator * 2  # at least twice as fine as the jumps
    phases = [Fraction(2 * k + 1, 2 * steps) for k in range(steps)]
    words = Counter(tuple(exact_regions(n_in, n_out, overlap, phase)[0]) for phase in phases)
    return {word: Fraction(count, steps) for word, count in words.items()}


def listed(regions):
    """Starts and stops of a single draw as Python ints."""
    return tuple(part.tolist() for part in regions)


def stacked(draws):
    """Regions of several draws as one pair, draws first."""
    return tuple(torch.stack(parts) for parts in zip(*draws, strict=True))


def chi_square(counts, expected):
    return sum((counts[word] - expected) ** 2 for word in counts) / expected


def assert_same_bits(found, expected):
    assert found.dtype == expected.dtype
    assert torch.equal(found.contiguous().view(BITS[found.dtype]), expected.contiguous().view(BITS[found.dtype]))


def largest_places(x, rows, columns):
    """Where in its plane the largest value of every region is, (*lead, n_rows, n_columns), by a scan row after row.

    A later value takes over where it is larger or not a number.
    """
    lead, width = x.shape[:-2], x.shape[-1]
    flat = [part.expand(*lead, -1).reshape(math.prod(lead), part.shape[-1]) for part in (*rows, *columns)]
    planes = x.reshape(math.prod(lead), *x.shape[-2:])
    places = []
    for plane, *axes in zip(*(part.tolist() for part in (planes, *flat)), strict=True):
        for row in zip(*axes[:2], strict=True):
            for column in zip(*axes[2:], strict=True):
                best, place = -math.inf, row[0] * width + column[0]
                for i, j in product(range(*row), range(*column)):
                    if plane[i][j] > best or math.isnan(plane[i][j]):
                        best, place = plane[i][j], i * width + j
                places.append(place)
    return torch.tensor(places, dtype=torch.int64).view(*lead, rows[0].shape[-1], columns[0].shape[-1])


def looped(x, rows, columns, grad_output):
    """Values and the gradient of x, output by output."""
    places = largest_places(x, rows, columns).flatten(-2)
    y = x.flatten(-2).gather(-1, places)
    grad = torch.zeros_like(x.reshape(-1, x.shape[-2] * x.shape[-1]))
    outputs = places.reshape(len(grad), -1).tolist()
    for plane, where, gradients in zip(grad, outputs, grad_output.reshape(len(grad), -1), strict=True):
        for place, number in zip(where, gradients, strict=True):
            plane[place] += number
    return y.view(grad_output.shape), grad.view(x.shape)


def pooled(x, rows, columns, grad_output):
    """Values and the gradient of x of the code under test."""
    x = x.detach().requires_grad_()
    y = fractional_max_pool2d(x, rows, columns)
    return y.detach(), torch.autograd.grad(y, x, grad_output)[0]


def gradients_for(x, rows, columns, seed=1):
    """Small whole numbers: their sums are exact in every dtype."""
    shape = (*x.shape[:-2], rows[0].shape[-1], columns[0].shape[-1])
    return torch.randint(-4, 5, shape, generator=seeded(seed)).to(x.dtype)


def assert_as_looped(x, rows, columns):
    grad_output = gradients_for(x, rows, columns)
    y, grad = pooled(x, rows, columns, grad_output)
    expected_y, expected_grad = looped(x, rows, columns, grad_output)
    assert y.shape == expected_y.shape
    assert_same_bits(y, expected_y)
    assert torch.equal(grad, expected_grad)


def picture(*sizes, levels=4, seed=0, dtype=torch.float32):
    """Images full of ties: few different values, both zeros, infinities and NaN among them if there are many levels."""
    palette = torch.tensor([1.0, 0.0, -0.0, 2.0, -1.0, math.inf, -math.inf, math.nan][:levels], dtype=dtype)
    return palette[torch.randint(levels, sizes, generator=seeded(seed))]


def regions_for(shape, kinds=("random", "random"), overlaps=("square", "square"), draws=((), ()), seed=0):
    """Rows and columns for images of a shape (*lead, H, W), pooled to about 3/4."""
    return tuple(
        pooling_regions(n, 3 * n // 4, kind=kind, overlap=overlap, size=size, generator=seeded(seed + i))
        for i, (n, kind, overlap, size) in enumerate(zip(shape[-2:], kinds, overlaps, draws, strict=True))
    )


# --- regions along an axis ---


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_one_or_two_and_all_is_covered_at_every_size(kind, overlap):
    for n_in, n_out in SIZES:
        starts, stops = pooling_regions(n_in, n_out, kind=kind, overlap=overlap, size=(4,), generator=seeded(n_in))
        assert starts.dtype == stops.dtype == torch.int64
        assert starts.shape == stops.shape == (4, n_out)
        for first, last in zip(starts.tolist(), stops.tolist(), strict=True):
            assert {after - before for before, after in pairwise(first)} <= {1, 2}
            lines = Counter(line for region in zip(first, last, strict=True) for line in range(*region))
            assert sorted(lines) == list(range(n_in))
            widths = Counter(stop - start for start, stop in zip(first, last, strict=True))
            ends = list(zip(first[1:], last[:-1], strict=True))
            if overlap == "disjoint":
                assert set(lines.values()) == {1}
                assert widths == {1: 2 * n_out - n_in, 2: n_in - n_out}
            elif overlap == "square":
                assert widths == {2: n_out}
                assert sum(after - before == 2 for before, after in pairwise(first)) == n_in - n_out - 1
            else:
                assert all(stop - start == 1 for start, stop in ends)
                assert widths[2] + widths[3] == n_out
                assert widths[3] == n_in - 1 - n_out


def phases(n_in, n_out, overlap):
    """Ordinary phases, the ends of [0, 1), and where a start jumps, with the numbers next to it."""
    steps = slope(n_in, n_out, overlap).denominator
    jumps = [k / steps for k in range(1, steps)]
    beside = [math.nextafter(jump, end) for jump in jumps[::3] for end in (0, 1)]
    drawn = torch.rand(2, dtype=torch.float64, generator=seeded(n_in)).tolist()
    return [0, 0.0, 5e-324, 1 / 3, 0.5, 1 - 2**-53, *drawn, *jumps[::2], *beside]


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_pseudorandom_regions_start_at_the_whole_part_of_slope_times_index_plus_phase(overlap):
    for n_in, n_out in [*SIZES[::3], (93, 74), (36, 25)]:
        for phase in phases(n_in, n_out, overlap):
            regions = pooling_regions(n_in, n_out, overlap=overlap, phase=phase)
            assert listed(regions) == exact_regions(n_in, n_out, overlap, phase)


@given(data=st.data(), n_out=st.integers(2, 3000), overlap=st.sampled_from(OVERLAPS))
@settings(deadline=None, max_examples=60)
def test_no_phase_and_no_size_makes_a_start_slip(data, n_out, overlap):
    n_in = data.draw(st.integers(n_out + 1, 2 * n_out - 1))
    phase = data.draw(st.floats(0, 1, exclude_max=True) | st.integers(0, n_out - 2).map(lambda k: k / (n_out - 1)))
    regions = pooling_regions(n_in, n_out, overlap=overlap, phase=phase)
    assert listed(regions) == exact_regions(n_in, n_out, overlap, phase)


def test_torchs_samples_are_phases():
    for n_in, n_out in SIZES[::2]:
        samples = torch.rand(1, 9, 2, dtype=torch.float64, generator=seeded(n_in))
        image = -torch.arange(n_in, dtype=torch.float64).expand(1, 9, n_in, n_in)
        theirs = -functional.fractional_max_pool2d(image, 2, output_size=n_out, _random_samples=samples)
        for sample, columns in zip(samples[0, :, 0].tolist(), theirs[0, :, 0].tolist(), strict=True):
            phase = Fraction(sample) * slope(n_in, n_out, "square")
            starts, _ = pooling_regions(n_in, n_out, phase=float(phase - math.floor(phase)))
            assert starts.tolist() == columns


# Different words: for disjoint regions those of slope α; other end points, other slopes.
WORDS = {
    "disjoint": {(25, 18): 18, (35, 25): 5, (36, 25): 25, (24, 17): 17, (10, 7): 7, (93, 74): 74, (3, 2): 2},
    "square": {(25, 18): 17, (35, 25): 8, (36, 25): 12, (24, 17): 8, (10, 7): 3, (93, 74): 73, (3, 2): 1, (5, 4): 1},
    "interval": {(25, 18): 3, (35, 25): 25, (36, 25): 5, (24, 17): 17, (10, 7): 7, (93, 74): 37, (3, 2): 1},
}


@pytest.mark.parametrize(
    ("overlap", "sizes", "count"), [(key, *item) for key, counts in WORDS.items() for item in counts.items()]
)
def test_a_uniform_phase_gives_each_word_of_the_slope_equally_often(overlap, sizes, count):
    draws = 200 * count
    starts, _ = pooling_regions(*sizes, overlap=overlap, size=(draws,), generator=seeded())
    words = every_word(*sizes, overlap)
    assert set(words.values()) == {Fraction(1, count)}
    found = Counter(map(tuple, starts.tolist()))
    assert set(found) == set(words)
    assert chi_square(found, 200) < count - 1 + 4 * math.sqrt(2 * count)  # four standard deviations


@pytest.mark.parametrize(
    ("overlap", "sizes", "steps", "twos"),
    [("disjoint", (8, 5), 5, 3), ("square", (11, 7), 6, 3), ("interval", (9, 6), 6, 2), ("square", (3, 2), 1, 0)],
)
def test_random_regions_have_their_steps_in_any_order_equally_often(overlap, sizes, steps, twos):
    count = math.comb(steps, twos)
    starts, _ = pooling_regions(*sizes, kind="random", overlap=overlap, size=(300 * count,), generator=seeded())
    found = Counter(map(tuple, starts.tolist()))
    assert len(found) == count
    assert chi_square(found, 300) < count - 1 + 4 * math.sqrt(2 * count)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_independent_of_each_other(kind):
    starts, _ = pooling_regions(8, 5, kind=kind, overlap="disjoint", size=(4000, 2), generator=seeded())
    assert starts.shape == (4000, 2, 5)
    pairs = Counter((tuple(left), tuple(right)) for left, right in starts.tolist())
    count = {"pseudorandom": 5, "random": 10}[kind] ** 2
    assert len(pairs) == count
    assert chi_square(pairs, 4000 / count) < count - 1 + 4 * math.sqrt(2 * count)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_draws_of_one_phase_are_all_alike(overlap):
    regions = pooling_regions(25, 18, overlap=overlap, phase=0.3, size=(2, 3))
    for part, expected in zip(regions, exact_regions(25, 18, overlap, 0.3), strict=True):
        assert part.tolist() == [[expected] * 3] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_makes_regions_come_again_and_leaves_torchs_alone(kind):
    before = torch.get_rng_state()
    one, two, other = (pooling_regions(93, 74, kind=kind, size=(6,), generator=seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[0], other[0])


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_generator_torchs_own_on_the_cpu_draws(kind):
    drawn = []
    for device in ("cpu", "meta"):
        torch.manual_seed(3)
        with torch.device(device):  # a default that is for other tensors
            drawn.append(pooling_regions(93, 74, kind=kind, size=(6,)))
    assert {part.device.type for regions in drawn for part in regions} == {"cpu"}
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[0][0], pooling_regions(93, 74, kind=kind, size=(6,))[0])


def test_regions_may_be_drawn_for_nothing():
    for kind in KINDS:
        starts, stops = pooling_regions(25, 18, kind=kind, size=(0, 2))
        assert starts.shape == stops.shape == (0, 2, 18)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((6, 3), {}, ValueError, r"n_out 3 does not fit n_in 6: every step is 1 or 2, so it must lie in \[4, 5\]"),
        ((7, 3), {}, ValueError, r"n_out 3 does not fit n_in 7: .* in \[4, 6\]"),
        ((5, 5), {}, ValueError, r"n_out 5 does not fit n_in 5: .* in \[3, 4\]"),
        ((5, 6), {}, ValueError, "n_out 6 does not fit n_in 5"),
        ((5, 0), {}, ValueError, "n_out 0 does not fit n_in 5"),
        ((5, -4), {}, ValueError, "n_out -4 does not fit n_in 5"),
        ((2, 1), {}, ValueError, "n_in must be at least 3, got 2: steps of 1 and 2 leave no size to pool to"),
        ((1, 1), {}, ValueError, "n_in must be at least 3, got 1"),
        ((0, 0), {}, ValueError, "n_in must be at least 3, got 0"),
        ((-5, -4), {}, ValueError, "n_in must be at least 3, got -5"),
        ((5.0, 4), {}, TypeError, "n_in must be an int, got 5.0"),
        ((5, 4.0), {}, TypeError, "n_out must be an int, got 4.0"),
        ((True, 4), {}, TypeError, "n_in must be an int, got True"),
        ((5, True), {}, TypeError, "n_out must be an int, got True"),
        ((5, None), {}, TypeError, "n_out must be an int, got None"),
        ((5, 4), {"kind": "beatty"}, ValueError, "kind must be one of pseudorandom, random, got 'beatty'"),
        (
            (5, 4),
            {"overlap": "overlapping"},
            ValueError,
            "overlap must be one of disjoint, square, interval, got 'over",
        ),
        ((5, 4), {"phase": -0.1}, ValueError, r"phase must lie in \[0, 1\), got -0.1"),
        ((5, 4), {"phase": 1}, ValueError, r"phase must lie in \[0, 1\), got 1"),
        ((5, 4), {"phase": 1.5}, ValueError, r"phase must lie in \[0, 1\), got 1.5"),
        ((5, 4), {"phase": math.nan}, ValueError, r"phase must lie in \[0, 1\), got nan"),
        ((5, 4), {"phase": math.inf}, ValueError, r"phase must lie in \[0, 1\), got inf"),
        ((5, 4), {"phase": 1 - Fraction(1, 2**60)}, ValueError, r"phase must lie in \[0, 1\), got 11529"),
        ((5, 4), {"phase": "half"}, TypeError, "phase must be a number, got 'half'"),
        ((5, 4), {"phase": False}, TypeError, "phase must be a number, got False"),
        ((5, 4), {"phase": 0.5j}, TypeError, "phase must be a number, got 0.5j"),
        (
            (5, 4),
            {"phase": 0.5, "kind": "random"},
            ValueError,
            "phase 0.5 is for pseudorandom regions, kind is 'random'",
        ),
        ((5, 4), {"phase": 0, "kind": "random"}, ValueError, "phase 0 is for pseudorandom regions"),
    ],
)
def test_regions_that_cannot_be_are_refused(arguments, options, error, words):
    with pytest.raises(error, match=words):
        pooling_regions(*arguments, **options)


# --- pooling ---


@st.composite
def problems(draw):
    """An image full of ties and special values, with rows and columns of any kind and any draws."""
    lead = draw(st.sampled_from([(), (1,), (3,), (2, 3), (3, 1), (2, 1, 3)]))
    levels, seed = draw(st.sampled_from([1, 2, 3, 6, 7, 8])), draw(st.integers(0, 10**6))
    regions, sizes = [], []
    for i in (0, 1):
        depth = draw(st.integers(0, len(lead)))
        size = tuple(draw(st.sampled_from([1, n])) for n in lead[len(lead) - depth :])
        if draw(st.booleans()):
            n_in = draw(st.integers(3, 9))
            n_out = draw(st.integers(n_in // 2 + 1, n_in - 1))
            kind, overlap = draw(st.sampled_from(KINDS)), draw(st.sampled_from(OVERLAPS))
            regions.append(
                pooling_regions(n_in, n_out, kind=kind, overlap=overlap, size=size, generator=seeded(seed + i))
            )
        else:  # of any size, with gaps, each draw's own
            n_in = draw(st.integers(1, 9))
            n_out, most = draw(st.integers(1, n_in)), draw(st.integers(1, 4))
            generator = seeded(seed + i)
            starts = torch.rand(*size, n_in, generator=generator).argsort(-1)[..., :n_out].sort(-1).values
            widths = torch.randint(1, most + 1, starts.shape, generator=generator)
            regions.append((starts, (starts + widths).clamp(max=n_in)))
        sizes.append(n_in)
    return picture(*lead, *sizes, levels=levels, seed=seed), *regions


@given(problem=problems(), slab=st.sampled_from([1, 40, 100, 2**17]))
@settings(deadline=None, max_examples=500)
def test_values_and_gradients_are_those_of_a_loop_over_regions(problem, slab):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLAB", slab)
        assert_as_looped(*problem)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_every_kind_of_region_takes_the_first_of_equal_values_and_the_last_nan(kind, overlap):
    for levels in (2, 8):
        x = picture(3, 2, 9, 11, levels=levels)
        rows, columns = regions_for(x.shape, (kind, kind), (overlap, overlap), ((3, 1), (3, 1)))
        assert_as_looped(x, rows, columns)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ([[0, 1], [1, 0]], 1),  # row by row, not column by column
        ([[1, 1], [1, 1]], 0),
        ([[0.0, -0.0], [0.0, 0.0]], 0),
        ([[-0.0, 0.0], [0.0, 0.0]], 0),
        ([[-math.inf, -math.inf], [-math.inf, -math.inf]], 0),
        ([[0, 0], [0, math.inf]], 3),
        ([[-math.inf, -3e38], [-math.inf, -math.inf]], 1),
        ([[0, math.nan], [math.inf, 0]], 1),
        ([[math.nan, 0], [math.nan, 0]], 2),
        ([[math.nan, math.nan], [0, math.nan]], 3),
    ],
)
def test_the_winner_of_one_square_is_the_one_torch_takes(values, place):
    x = torch.tensor(values, dtype=torch.float32)
    whole = torch.tensor([0]), torch.tensor([2])
    y, grad = pooled(x, whole, whole, torch.ones(1, 1))
    assert_same_bits(y, x.view(-1)[place].view(1, 1))
    assert grad.flatten().tolist() == [float(i == place) for i in range(4)]


DRAWS = {
    "shared": ((), ()),
    "per image": ((3, 1), (3, 1)),
    "per channel": ((3, 4), (3, 4)),
    "per channel, alike in every image": ((4,), (1, 4)),
    "rows shared, columns per image": ((), (3, 1)),
    "rows per channel, columns shared": ((3, 4), ()),
    "rows per image, columns per channel alike": ((3, 1), (4,)),
    "one, with dimensions": ((1, 1), (1,)),
}


@pytest.mark.parametrize("overlaps", [("square", "square"), ("disjoint", "interval"), ("interval", "square")])
@pytest.mark.parametrize("name", DRAWS)
def test_draws_broadcast_against_images_and_channels(name, overlaps):
    x = picture(3, 4, 8, 7, levels=5)
    assert_as_looped(x, *regions_for(x.shape, ("random", "pseudorandom"), overlaps, DRAWS[name]))


@pytest.mark.parametrize("overlaps", [("square", "square"), ("interval", "disjoint")])
@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 3, 2), (1, 2, 1, 2)])
def test_images_may_have_any_leading_dimensions(lead, overlaps):
    for draws in (((), ()), (lead, lead), (lead, ()), (lead[1:], lead[-1:])):
        x = picture(*lead, 6, 7, levels=5)
        assert_as_looped(x, *regions_for(x.shape, overlaps=overlaps, draws=draws))


def layouts():
    base = picture(2, 3, 9, 12, levels=6)
    yield "channels last", base.to(memory_format=torch.channels_last)
    yield "transposed", base.transpose(-1, -2)
    yield "batch and channels transposed", base.transpose(0, 1)
    yield "strided", base[..., ::2, 1::2]
    yield "expanded", base[:1, :1].expand(2, 3, 9, 12)
    yield "a part", base[:, 1:, 2:, 3:]


@pytest.mark.parametrize("name", dict(layouts()))
def test_the_order_in_memory_does_not_matter(name):
    x = dict(layouts())[name]
    assert not x.is_contiguous()
    for draws in (((), ()), ((x.shape[0], 1), (x.shape[0], 1))):
        rows, columns = regions_for(x.shape, draws=draws)
        assert_as_looped(x, rows, columns)
        reversed_in_memory = gradients_for(x, rows, columns).permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
        _, grad = pooled(x, rows, columns, reversed_in_memory)
        assert torch.equal(grad, looped(x, rows, columns, reversed_in_memory)[1])


def test_one_gradient_for_all_outputs_is_spread_like_any_other():
    x = picture(2, 3, 9, 12).requires_grad_()
    rows, columns = regions_for(x.shape)
    fractional_max_pool2d(x, rows, columns).sum().backward()
    assert torch.equal(x.grad, looped(x.detach(), rows, columns, torch.ones(2, 3, 6, 9))[1])


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_every_precision_gives_its_own_bits(dtype, overlap):
    for x in (
        picture(2, 3, 8, 9, levels=8, dtype=dtype),
        torch.randn(2, 3, 8, 9, dtype=torch.float64, generator=seeded()).to(dtype),
    ):
        rows, columns = regions_for(x.shape, overlaps=(overlap, overlap), draws=((2, 1), (2, 1)))
        assert_as_looped(x, rows, columns)


def test_half_precision_finds_places_that_it_has_no_number_for():
    x = torch.zeros(2, 5000, dtype=torch.float16)
    columns = torch.tensor([0, 2999]), torch.tensor([1, 3001])  # 5001 and the like are no float16 numbers
    x[1, 3000] = 1
    assert_as_looped(x, (torch.tensor([0]), torch.tensor([2])), columns)


@pytest.mark.parametrize(("width", "size"), [(2**14, 2), (2**14 + 1, 4), (2**15 + 5, 4), (2**23 + 1, 4)])
def test_large_images_keep_more_bytes_only_where_a_place_needs_them(width, size):
    x = torch.zeros(2, width)
    x[1, [1, 40, width - 1]] = 1  # float32 has no number for the last of 2²⁴ + 2 places
    rows = torch.tensor([0]), torch.tensor([2])
    columns = torch.tensor([0, 39, width - 2]), torch.tensor([2, 41, width])
    x.requires_grad_()
    y = fractional_max_pool2d(x, rows, columns)
    y.backward(torch.tensor([[2.0, 3.0, 4.0]]))
    assert y.tolist() == [[1, 1, 1]]
    assert x.grad.nonzero().tolist() == [[1, 1], [1, 40], [1, width - 1]]
    assert saved_bytes(lambda: fractional_max_pool2d(x, rows, columns)) == size * 3


@pytest.mark.parametrize(("width", "dtype"), [(2**31, torch.int32), (2**31 + 1, torch.int64)])
def test_the_places_of_the_largest_images_do_not_overflow(width, dtype):
    x = torch.zeros(1, width, device="meta", requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda nothing: nothing):
        fractional_max_pool2d(x, (line(0), line(1)), (line(0), line(2)))
    assert [tensor.dtype for tensor in kept] == [dtype]


@pytest.mark.parametrize("shape", [(0, 3, 6, 7), (2, 0, 6, 7), (0, 0, 6, 7), (0, 6, 7)])
def test_without_images_there_is_nothing_to_pool(shape):
    for draws in (((), ()), (shape[:-2], shape[:-2])):
        rows, columns = regions_for(shape, overlaps=("square", "disjoint"), draws=draws)
        y, grad = pooled(torch.zeros(shape), rows, columns, torch.zeros(*shape[:-2], 4, 5))
        assert y.shape == (*shape[:-2], 4, 5)
        assert grad.shape == shape


def test_regions_of_one_place_copy_it():
    x = picture(7, 2, 5, 6, levels=8)
    starts = torch.tensor([0, 1, 4])
    for rows, columns in product([(starts, starts + 1), (starts, torch.tensor([2, 3, 5]))], repeat=2):
        assert_as_looped(x, rows, columns)
    y = fractional_max_pool2d(x, (starts, starts + 1), (starts, starts + 1))
    assert_same_bits(y, x[..., [0, 1, 4], :][..., [0, 1, 4]])


def test_one_region_may_be_the_whole_image():
    x = picture(2, 3, 4, 5, levels=3)
    assert_as_looped(x, (torch.tensor([0]), torch.tensor([4])), (torch.tensor([0]), torch.tensor([5])))


@pytest.mark.parametrize("draws", [((), ()), ((7, 1), (7, 1)), ((), (7, 1)), ((7, 3), ())])
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_a_batch_larger_than_the_cache_gives_the_same(monkeypatch, overlap, draws):
    x = picture(7, 3, 6, 8, levels=5)
    x[3:5, 1, 2:5] = math.nan  # in some pieces alone
    for slab in (1, 150, 300, 450, 1008):
        monkeypatch.setattr(module, "SLAB", slab)
        assert_as_looped(x, *regions_for(x.shape, overlaps=(overlap, "square"), draws=draws))


@pytest.mark.parametrize("draws", [(3, 1), (3, 2), (2, 1, 1), (1, 2, 1, 1), (2,)])
def test_draws_may_belong_to_any_of_many_leading_dimensions(draws):
    x = picture(2, 2, 3, 2, 6, 8, levels=5)
    assert_as_looped(x, *regions_for(x.shape, overlaps=("interval", "square"), draws=(draws, draws)))


def pieces(monkeypatch, *shape, device="cpu"):
    """How many planes are pooled at a time."""
    counts, places = [], module._places
    monkeypatch.setattr(module, "_places", lambda planes, *rest: counts.append(len(planes)) or places(planes, *rest))
    fractional_max_pool2d(torch.zeros(shape, device=device), *regions_for(shape))
    monkeypatch.setattr(module, "_places", places)
    return counts


def test_only_what_a_cache_cannot_hold_is_cut_into_pieces(monkeypatch):
    assert pieces(monkeypatch, 2**13, 8, 8) == 2 * [2**12]  # 1 MB each
    assert pieces(monkeypatch, 2, 2**12, 8, 8) == 2 * [2**12]
    monkeypatch.setattr(module, "SLAB", 60)
    assert pieces(monkeypatch, 3, 4, 5) == [3]
    assert pieces(monkeypatch, 7, 4, 5) == [3, 3, 1]
    assert pieces(monkeypatch, 2, 2, 5, 4) == [3, 1]
    assert pieces(monkeypatch, 2, 10, 10) == [1, 1]
    assert pieces(monkeypatch, 9, 4, 5, device="meta") == [9]
    assert pieces(monkeypatch, 128 * 3 + 1, 4, 5, device="meta") == [128 * 3, 1]
    assert pieces(monkeypatch, 0, 4, 5) == []


@pytest.mark.parametrize("draws", [((1, 5), (1, 1)), ((2, 1), (1, 5)), ((2, 5), (2, 5)), ((5,), (1, 5))])
def test_pieces_of_channels_keep_their_own_draws(monkeypatch, draws):
    x = picture(2, 5, 6, 8, levels=5)
    for slab in (1, 100, 200, 1000):
        monkeypatch.setattr(module, "SLAB", slab)
        assert_as_looped(x, *regions_for(x.shape, overlaps=("interval", "disjoint"), draws=draws))


def torch_case(shape, sizes, dtype, seed=0):
    """Samples for torch, (N, C, 2), and rows and columns that are theirs, at phase u α − ⌊u α⌋.

    They lie between the numbers at which a start jumps: torch rounds where ours does not.
    """
    choice = torch.Generator().manual_seed(seed)
    axes, samples = [], []
    for n_in, n_out in zip(shape[-2:], sizes, strict=True):
        alpha = slope(n_in, n_out, "square")
        parts = [
            Fraction(2 * k + 1, 2 * (n_in - 2))
            for k in torch.randint(n_in - 2, (shape[0] * shape[1],), generator=choice).tolist()
        ]
        draws = [pooling_regions(n_in, n_out, phase=float(u * alpha % 1)) for u in parts]
        axes.append(tuple(part.view(*shape[:2], n_out) for part in stacked(draws)))
        samples.append(torch.tensor([float(u) for u in parts], dtype=dtype).view(shape[:2]))
    return torch.stack(samples[::-1], -1), *axes  # width first


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("shape", "sizes"),
    [((4, 5, 35, 35), (25, 25)), ((3, 4, 24, 17), (17, 10)), ((6, 3, 10, 11), (6, 10)), ((2, 40, 3, 4), (2, 3))],
)
def test_squares_equal_torchs_layer_bit_for_bit(dtype, shape, sizes):
    noise = torch.randn(shape, dtype=torch.float64, generator=seeded()).to(dtype)
    special = picture(*shape, levels=8, dtype=dtype)
    images = {"noise": noise, "two levels": noise.sign(), "relu": noise.relu(), "quantised": (3 * noise).round() / 3}
    for name, x in {**images, "constant": torch.ones_like(noise), "special": special}.items():
        samples, rows, columns = torch_case(shape, sizes, dtype)
        grad_output = torch.randn(*shape[:2], *sizes, dtype=torch.float64, generator=seeded(7)).to(dtype)
        y, grad = pooled(x, rows, columns, grad_output)
        peer = x.clone().requires_grad_()
        theirs = functional.fractional_max_pool2d(peer, 2, output_size=sizes, _random_samples=samples)
        theirs.backward(grad_output)
        assert_same_bits(y, theirs.detach())
        assert torch.equal(grad, peer.grad), name


def test_several_regions_that_share_a_place_add_up_in_torchs_order():
    x = torch.zeros(1, 1, 9, 9)
    x[..., 1::2, 1::2] = 1  # four squares for each of these where steps are one
    samples, rows, columns = torch_case(x.shape, (8, 8), torch.float32)
    grad_output = torch.tensor([2.0**24, 1, -(2.0**24), 1e-3]).repeat(16).view(1, 1, 8, 8)
    peer = x.clone().requires_grad_()
    functional.fractional_max_pool2d(peer, 2, output_size=8, _random_samples=samples).backward(grad_output)
    _, grad = pooled(x, rows, columns, grad_output)
    assert (peer.grad != 0).sum() < 64
    assert torch.equal(grad, peer.grad)


@pytest.mark.parametrize(("shape", "sizes"), [((2, 3, 35, 35), (25, 25)), ((2, 2, 93, 57), (74, 45))])
def test_what_torch_itself_draws_gives_the_same_pooling(shape, sizes):
    """Samples in double precision, and phases from them in exact arithmetic: these ones give the same starts."""
    x = torch.randn(shape, dtype=torch.float64, generator=seeded())
    samples = torch.rand(*shape[:2], 2, dtype=torch.float64, generator=seeded(1))
    theirs = functional.fractional_max_pool2d(x, 2, output_size=sizes, _random_samples=samples)
    axes = []
    for axis, (n_in, n_out) in enumerate(zip(shape[-2:], sizes, strict=True)):
        alpha = slope(n_in, n_out, "square")
        drawn = [Fraction(u) * alpha % 1 for u in samples[..., 1 - axis].flatten().tolist()]
        draws = [pooling_regions(n_in, n_out, phase=float(phase)) for phase in drawn]
        axes.append(tuple(part.view(*shape[:2], n_out) for part in stacked(draws)))
    assert_same_bits(fractional_max_pool2d(x, *axes), theirs)


def test_torchs_starts_give_torchs_bits_whatever_their_rounding():
    x, shape = torch.randn(4, 50, 93, 57, generator=seeded()).relu(), (4, 50)
    samples = torch.rand(*shape, 2, generator=seeded(1))  # float32: in which torch rounds
    grad_output = torch.randn(*shape, 74, 45, generator=seeded(2))

    def theirs(x):
        return functional.fractional_max_pool2d(x, 2, output_size=(74, 45), _random_samples=samples)

    lines = -torch.arange(93.0).unsqueeze(1).expand_as(x), -torch.arange(57.0).expand_as(x)
    rows, columns = -theirs(lines[0])[..., 0].long(), -theirs(lines[1])[..., 0, :].long()
    y, grad = pooled(x, (rows, rows + 2), (columns, columns + 2), grad_output)
    peer = x.clone().requires_grad_()
    theirs(peer).backward(grad_output)
    assert_same_bits(y, theirs(x))
    assert torch.equal(grad, peer.grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_equals_torchs_layer_bit_for_bit(dtype):
    parts = [[Fraction(2 * k + 1, 16) for k in order] for order in (range(8), range(7, -1, -1))]
    if dtype == torch.bfloat16:  # has fewer digits
        parts = [[Fraction(1, 4), Fraction(3, 4)] * 4] * 2
    samples = torch.tensor([[float(u) for u in axis] for axis in parts[::-1]], dtype=dtype).t().unsqueeze(0)
    axes = [
        tuple(part.unsqueeze(0) for part in stacked([pooling_regions(8, 5, phase=float(u * 3 / 2 % 1)) for u in axis]))
        for axis in parts
    ]
    for x in (torch.randn(1, 8, 8, 8, generator=seeded()).to(dtype), picture(1, 8, 8, 8, levels=8, dtype=dtype)):
        grad_output = gradients_for(x, *axes)  # others may differ in the last bit: torch rounds one by one
        y, grad = pooled(x, *axes, grad_output)
        peer = x.clone().requires_grad_()
        theirs = functional.fractional_max_pool2d(peer, 2, output_size=5, _random_samples=samples)
        theirs.backward(grad_output)
        assert_same_bits(y.nan_to_num(nan=7), theirs.detach().nan_to_num(nan=7))  # bfloat16 has many NaNs
        assert torch.equal(grad, peer.grad)


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("draws", [((), ()), ((2, 1), (2, 3))])
def test_first_and_second_derivatives_equal_finite_differences(overlap, draws):
    numbers = torch.randperm(2 * 3 * 4 * 5, generator=seeded()).double().view(2, 3, 4, 5)  # far from any tie
    x = (numbers / 10).requires_grad_()
    rows, columns = regions_for(x.shape, overlaps=(overlap, overlap), draws=draws)
    assert torch.autograd.gradcheck(lambda x: fractional_max_pool2d(x, rows, columns), x)
    assert torch.autograd.gradgradcheck(lambda x: fractional_max_pool2d(x, rows, columns).sin(), x)


def test_third_derivatives_go_through():
    x = torch.arange(30, dtype=torch.float64).view(5, 6).div(7).requires_grad_()
    rows, columns = regions_for(x.shape)
    derivative = fractional_max_pool2d(x, rows, columns).pow(4).sum()
    for _ in range(3):
        (derivative,) = torch.autograd.grad(derivative.sum(), x, create_graph=True)
    places = largest_places(x.detach(), rows, columns).flatten()
    expected = torch.zeros(30, dtype=torch.float64)
    for place in places.tolist():
        expected[place] += 24 * place / 7
    torch.testing.assert_close(derivative.flatten(), expected)


@pytest.mark.parametrize("draws", [(), (8, 1), (8, 5)])
def test_two_bytes_an_output_are_kept_for_the_backward_pass(draws):
    x = torch.randn(8, 5, 35, 35, requires_grad=True)
    rows, columns = (pooling_regions(35, 25, size=draws) for _ in range(2))
    ours = saved_bytes(lambda: fractional_max_pool2d(x, rows, columns))
    assert ours == 2 * 8 * 5 * 25 * 25
    samples = torch.rand(8, 5, 2)
    theirs = saved_bytes(lambda: functional.fractional_max_pool2d(x, 2, output_size=25, _random_samples=samples))
    assert ours < theirs / 7


def test_without_a_gradient_nothing_is_kept():
    x = torch.randn(2, 3, 8, 9)
    rows, columns = regions_for(x.shape)
    assert saved_bytes(lambda: fractional_max_pool2d(x, rows, columns)) == 0
    assert not fractional_max_pool2d(x, rows, columns).requires_grad


def test_the_input_and_the_regions_are_left_as_they_were():
    x = picture(3, 2, 8, 9, levels=8).requires_grad_()
    rows, columns = regions_for(x.shape, overlaps=("interval", "disjoint"), draws=((3, 1), ()))
    tensors = [x.detach(), *rows, *columns]
    before = [tensor.clone() for tensor in tensors]
    y = fractional_max_pool2d(x, rows, columns)
    y.backward(torch.ones_like(y))
    assert_same_bits(tensors[0], before[0])
    assert all(torch.equal(a, b) for a, b in zip(tensors[1:], before[1:], strict=True))
    with torch.no_grad():
        y.zero_()
    assert_same_bits(x.detach(), before[0])


def line(*numbers):
    return torch.tensor(numbers, dtype=torch.int64)


FINE = line(0, 2), line(2, 4)


@pytest.mark.parametrize(
    ("x", "regions", "error", "words"),
    [
        (torch.zeros(4), FINE, ValueError, r"x must have shape \(\*lead, H, W\), got \(4,\)"),
        (torch.tensor(1.0), FINE, ValueError, r"x must have shape \(\*lead, H, W\), got \(\)"),
        (torch.zeros(4, 4).long(), FINE, NotImplementedError, "x must be floating point, got torch.int64"),
        (torch.zeros(4, 4).bool(), FINE, NotImplementedError, "x must be floating point, got torch.bool"),
        (torch.zeros(4, 4).cfloat(), FINE, NotImplementedError, "x must be floating point, got torch.complex64"),
        (torch.zeros(4, 4), (line(0).int(), line(2)), TypeError, "must be int64, got torch.int32 and torch.int64"),
        (torch.zeros(4, 4), (line(0), line(2).double()), TypeError, "must be int64, got torch.int64 and torch.float64"),
        (
            torch.zeros(4, 4),
            (line(0, 1), line(2)),
            ValueError,
            r"of one shape \(\*draws, n_out\), got \(2,\) and \(1,\)",
        ),
        (torch.zeros(4, 4), (line(), line()), ValueError, r"of one shape \(\*draws, n_out\), got \(0,\) and \(0,\)"),
        (torch.zeros(4, 4), (line(0)[0], line(2)[0]), ValueError, r"one shape \(\*draws, n_out\), got \(\) and \(\)"),
        (torch.zeros(4, 4), (line(0, 3), line(2, 3)), ValueError, "intervals, start below stop, within 0 … 4"),
        (torch.zeros(4, 4), (line(0, 3), line(2, 2)), ValueError, "intervals, start below stop, within 0 … 4"),
        (torch.zeros(4, 4), (line(-1, 2), line(2, 4)), ValueError, "intervals, start below stop, within 0 … 4"),
        (torch.zeros(4, 4), (line(0, 3), line(2, 5)), ValueError, "intervals, start below stop, within 0 … 4"),
        (torch.zeros(4, 4), (line(2, 2), line(3, 4)), ValueError, "must start one after the other"),
        (torch.zeros(4, 4), (line(2, 0), line(4, 2)), ValueError, "must start one after the other"),
        (torch.zeros(4, 4), (line(0)[None], line(2)[None]), ValueError, r"\(1,\) do not broadcast against \(\)"),
        (
            torch.zeros(3, 2, 4, 4),
            pooling_regions(4, 3, size=(2, 2)),
            ValueError,
            r"draws \(2, 2\) do not broadcast against \(3, 2\)",
        ),
        (torch.zeros(3, 2, 4, 4), pooling_regions(4, 3, size=(3,)), ValueError, r"draws \(3,\) do not broadcast"),
        (torch.zeros(1, 2, 4, 4), pooling_regions(4, 3, size=(3, 1)), ValueError, r"draws \(3, 1\) do not broadcast"),
        (torch.zeros(2, 4, 4), pooling_regions(4, 3, size=(1, 2)), ValueError, r"draws \(1, 2\) do not broadcast"),
        (torch.zeros(2, 4, 4), pooling_regions(4, 3, size=(0,)), ValueError, r"draws \(0,\) do not broadcast"),
    ],
)
def test_what_cannot_be_pooled_is_refused_by_name(x, regions, error, words):
    of_the_regions = "x must" not in words
    for name, arguments in {"rows": (regions, FINE), "columns": (FINE, regions)}.items():
        with pytest.raises(error, match=(f"{name}.*" if of_the_regions else "") + words):
            fractional_max_pool2d(x, *arguments)


def test_rows_are_measured_along_the_height_and_columns_along_the_width():
    x, long, short = torch.zeros(3, 6), (line(0, 4), line(2, 6)), (line(0, 1), line(2, 3))
    assert fractional_max_pool2d(x, short, long).shape == (2, 2)
    with pytest.raises(ValueError, match=r"rows must be intervals, start below stop, within 0 … 3"):
        fractional_max_pool2d(x, long, long)
    assert fractional_max_pool2d(x.t(), long, short).shape == (2, 2)
    with pytest.raises(ValueError, match=r"columns must be intervals, start below stop, within 0 … 3"):
        fractional_max_pool2d(x.t(), long, long)


# --- the layer ---


def seen(layer, *shape, seed=0):
    """The regions of one call, read off two images that number their places: ((starts, stops), …) a plane and axis."""
    height, width = shape[-2:]
    numbers = torch.arange(height, dtype=torch.float64).mul(1000).unsqueeze(1) + torch.arange(width)
    results = []
    for sign in (-1, 1):
        torch.manual_seed(seed)
        y = sign * layer(sign * numbers.expand(shape))
        results.append((y[..., 0] // 1000, y[..., 0, :] % 1000))
    return [
        [
            (tuple(starts), tuple(stop + 1 for stop in stops))
            for starts, stops in zip(low.flatten(0, -2).tolist(), high.flatten(0, -2).tolist(), strict=True)
        ]
        for low, high in zip(*results, strict=True)
    ]


@pytest.mark.parametrize("alpha", NETWORKS)
def test_a_ratio_gives_the_papers_sizes(alpha):
    for n_in, n_out in NETWORKS[alpha]:
        assert FractionalMaxPool2d(output_ratio=1 / alpha)(torch.zeros(1, 1, n_in, n_in)).shape == (1, 1, n_out, n_out)


@pytest.mark.parametrize(
    ("ratio", "n_in", "n_out"),
    [
        (0.51, 3, 2),  # 1.53 is nearest to 2
        (0.51, 4, 3),  # 2.04 to 2, which is half
        (0.501, 40, 21),
        (0.99, 5, 4),
        (0.99, 40, 39),
        (0.75, 6, 5),  # 4.5: halves go up
        (0.75, 10, 8),
        (0.7, 100, 70),
    ],
)
def test_a_ratio_gives_the_nearest_size_that_can_be(ratio, n_in, n_out):
    assert FractionalMaxPool2d(output_ratio=ratio)(torch.zeros(1, n_in, n_in)).shape == (1, n_out, n_out)


@given(n_in=st.integers(3, 200), ratio=st.floats(0.5, 1, exclude_min=True, exclude_max=True))
@settings(deadline=None, max_examples=40)
def test_every_ratio_fits_every_size(n_in, ratio):
    possible = [n_out for n_out in range(n_in) if n_in < 2 * n_out]
    n_out = FractionalMaxPool2d(output_ratio=ratio)(torch.zeros(1, n_in, 3)).shape[-2]
    assert n_out in possible
    assert abs(n_out - n_in * ratio) <= min(abs(size - n_in * ratio) for size in possible) + 1e-9


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"output_size": 9}, (9, 9)),
        ({"output_size": (8, 10)}, (8, 10)),
        ({"output_size": [8, 10]}, (8, 10)),
        ({"output_size": torch.Size((8, 10))}, (8, 10)),
        ({"output_ratio": (0.6, 0.9)}, (7, 11)),
        ({"output_ratio": [0.9, 0.6]}, (11, 7)),
        ({"output_ratio": Fraction(3, 4)}, (9, 9)),
    ],
)
def test_sizes_and_ratios_may_differ_between_height_and_width(options, sizes):
    layer = FractionalMaxPool2d(**options)
    assert layer(torch.zeros(2, 3, 12, 12)).shape == (2, 3, *sizes)
    assert layer(torch.zeros(3, 12, 12)).shape == (3, *sizes)


def test_the_smallest_size_is_two():
    assert FractionalMaxPool2d(2)(torch.zeros(1, 3, 3)).shape == (1, 2, 2)


def test_height_and_width_keep_their_own_ratio():
    assert FractionalMaxPool2d(output_ratio=(0.6, 0.9))(torch.zeros(1, 20, 10)).shape == (1, 12, 9)
    assert FractionalMaxPool2d(output_size=(12, 9))(torch.zeros(1, 20, 10)).shape == (1, 12, 9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("draw", "shared"),
    [
        ("batch", lambda image, channel: 0),
        ("image", lambda image, channel: image),
        ("channel", lambda image, channel: (image, channel)),
    ],
)
def test_planes_share_regions_as_the_draw_says(kind, draw, shared):
    regions = seen(FractionalMaxPool2d((74, 72), kind=kind, draw=draw), 4, 3, 93, 95)
    groups = {}
    for plane, both in zip(product(range(4), range(3)), zip(*regions, strict=True), strict=True):
        groups.setdefault(shared(*plane), set()).add(both)
    assert all(len(group) == 1 for group in groups.values())
    assert len(set.union(*groups.values())) == len(groups)
    for axis in regions:  # both are drawn; of 73 and 71 words one may come twice
        assert len(groups) / 2 < len(set(axis)) <= len(groups)


@pytest.mark.parametrize(("draw", "count"), [("batch", 1), ("image", 1), ("channel", 5)])
def test_a_single_image_is_a_batch_of_one(draw, count):
    layer = FractionalMaxPool2d(74, kind="random", draw=draw)
    for regions in seen(layer, 5, 93, 93):
        assert len(set(regions)) == count
    torch.manual_seed(0)
    x = torch.randn(5, 93, 93)
    torch.manual_seed(1)
    alone = layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x[None])[0], alone)


def test_rows_and_columns_are_drawn_separately():
    rows, columns = seen(FractionalMaxPool2d(74, kind="random", draw="channel"), 4, 3, 93, 93)
    assert not set(rows) & set(columns)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_the_layer_pools_over_regions_of_its_kind_and_overlap(overlap):
    layers = {kind: FractionalMaxPool2d((18, 17), kind=kind, overlap=overlap, draw="channel") for kind in KINDS}
    regions = {kind: seen(layer, 8, 8, 25, 24) for kind, layer in layers.items()}
    for axis, sizes in enumerate([(25, 18), (24, 17)]):
        starts = every_word(*sizes, overlap)
        assert {first for first, _ in regions["pseudorandom"][axis]} <= set(starts)
        assert not {first for first, _ in regions["random"][axis]} <= set(starts)
        for first, last in regions["pseudorandom"][axis] + regions["random"][axis]:
            expected = {
                "disjoint": (*first[1:], sizes[0]),
                "square": tuple(start + 2 for start in first),
                "interval": (*(start + 1 for start in first[1:]), sizes[0]),
            }[overlap]
            assert last == expected


def test_without_options_the_layer_draws_pseudorandom_squares_for_each_image():
    torch.manual_seed(0)
    x = torch.randn(3, 2, 35, 35)
    results = []
    for options in ({}, {"kind": "pseudorandom", "overlap": "square", "draw": "image", "deterministic_eval": False}):
        torch.manual_seed(1)
        results.append(FractionalMaxPool2d(25, **options).eval()(x))
    assert torch.equal(*results)


@pytest.mark.parametrize("training", [True, False])
def test_regions_are_drawn_anew_at_every_call_in_training_and_evaluation(training):
    layer = FractionalMaxPool2d(74).train(training)
    draws = [seen(layer, 1, 1, 93, 93, seed=seed) for seed in range(8)]
    assert len({rows[0] for rows, _ in draws}) > 5
    x = torch.randn(2, 3, 93, 93)
    assert not torch.equal(layer(x), layer(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("draw", ["batch", "image", "channel"])
def test_deterministic_evaluation_takes_the_whole_numbers_nearest_to_the_mean_of_each_start(kind, overlap, draw):
    layer = FractionalMaxPool2d((25, 17), kind=kind, overlap=overlap, draw=draw, deterministic_eval=True).eval()
    for regions, sizes in zip(seen(layer, 3, 2, 35, 24), [(35, 25), (24, 17)], strict=True):
        ((starts, stops),) = set(regions)
        means = [slope(*sizes, overlap) * i for i in range(sizes[1])]
        assert all(abs(start - mean) <= Fraction(1, 2) for start, mean in zip(starts, means, strict=True))
        assert [list(starts), list(stops)] == list(exact_regions(*sizes, overlap, Fraction(1, 2)))
    state = torch.get_rng_state()
    layer(torch.zeros(1, 1, 35, 24))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", KINDS)
def test_deterministic_evaluation_leaves_training_random(kind):
    layer = FractionalMaxPool2d(74, kind=kind, draw="channel", deterministic_eval=True)
    assert len(set(seen(layer, 4, 4, 93, 93)[0])) > 8
    layer.eval()
    assert len(set(seen(layer, 4, 4, 93, 93)[0])) == 1
    layer.train()
    assert len(set(seen(layer, 4, 4, 93, 93)[0])) > 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_makes_a_call_come_again_whatever_the_image(kind):
    layer = FractionalMaxPool2d(74, kind=kind)
    x = torch.randn(4, 3, 93, 93, generator=seeded())
    results = []
    for scale in (1, 1, 3):
        torch.manual_seed(2)
        results.append(layer(scale * x) / scale)
        results.append(layer(scale * x) / scale)
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[1], results[3])
    torch.testing.assert_close(results[4:], results[:2])
    assert seen(layer, 4, 3, 93, 93, seed=1) == seen(layer, 4, 3, 93, 93, seed=1)
    assert seen(layer, 4, 3, 93, 93, seed=1) != seen(layer, 4, 3, 93, 93, seed=2)


@pytest.mark.parametrize("draw", ["batch", "image", "channel"])
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_the_layers_gradients_are_those_of_a_loop_over_its_regions(draw, overlap):
    layer, x = FractionalMaxPool2d((6, 8), draw=draw, overlap=overlap), picture(3, 2, 9, 11, levels=5)
    axes = []
    for regions in seen(layer, *x.shape, seed=4):
        axes.append(tuple(torch.tensor(part).long().view(3, 2, -1) for part in zip(*regions, strict=True)))
    x.requires_grad_()
    grad_output = gradients_for(x, *axes)
    torch.manual_seed(4)
    y = layer(x)
    y.backward(grad_output)
    expected_y, expected_grad = looped(x.detach(), *axes, grad_output)
    assert_same_bits(y.detach(), expected_y)
    assert torch.equal(x.grad, expected_grad)


def test_the_layer_prints_its_arguments():
    expected = "kind='pseudorandom', overlap='square', draw='image', deterministic_eval=False)"
    assert repr(FractionalMaxPool2d(25)) == f"FractionalMaxPool2d(output_size=(25, 25), {expected}"
    layer = FractionalMaxPool2d(
        output_ratio=(0.7, 0.75), kind="random", overlap="interval", draw="channel", deterministic_eval=True
    )
    assert repr(layer) == (
        "FractionalMaxPool2d(output_ratio=(0.7, 0.75), kind='random', overlap='interval', draw='channel', "
        "deterministic_eval=True)"
    )


def test_the_layer_has_no_state_and_can_be_copied_and_stored():
    layer = FractionalMaxPool2d(output_ratio=0.7, kind="random", overlap="interval", draw="batch").eval()
    assert not layer.state_dict()
    assert not [*layer.parameters(), *layer.buffers()]
    stored = io.BytesIO()
    torch.save(layer, stored)
    stored.seek(0)
    others = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(stored, weights_only=False)
    for other in others:
        assert repr(other) == repr(layer)
        assert not other.training
        assert seen(other, 2, 3, 24, 25) == seen(layer, 2, 3, 24, 25)


# Layers of every kind, overlap and draw, by size and by ratio, for images of 6 × 6 and 6 × 7.
LAYERS = {
    "squares": lambda: FractionalMaxPool2d(4),
    "random intervals": lambda: FractionalMaxPool2d(4, kind="random", overlap="interval", draw="channel"),
    "disjoint by ratio": lambda: FractionalMaxPool2d(output_ratio=0.7, overlap="disjoint", draw="batch"),
    "fixed": lambda: FractionalMaxPool2d(4, draw="channel", deterministic_eval=True).eval(),
    "fixed by ratio": lambda: FractionalMaxPool2d(output_ratio=0.7, overlap="interval", deterministic_eval=True).eval(),
}
compiles = pytest.mark.filterwarnings(
    "ignore:Guards may run slower on Python 3.13.0",  # torch says so of that one release
    "ignore::DeprecationWarning",  # what its own compiler uses
)


def called(function, x, seed=0):
    """Values and the gradient of x of a call, from a seed."""
    x = x.detach().clone().requires_grad_()
    torch.manual_seed(seed)
    y = function(x)
    y.backward(gradients_for(x, (y[0, 0, :, 0],), (y[0, 0, 0],)) if len(y) else torch.zeros_like(y))
    return y.detach(), x.grad


def assert_same_call(one, other, x):
    for found, expected in zip(called(one, x), called(other, x), strict=True):
        assert_same_bits(found, expected)


def some(*cases):
    """All cases where there is time, else those that are named."""
    named = {(name, flag) for name, flag in cases}
    return [
        pytest.param(name, flag, marks=[] if (name, flag) in named else pytest.mark.full)
        for name in LAYERS
        for flag in (False, True)
    ]


@compiles
@pytest.mark.parametrize(("name", "dynamic"), some(("fixed", False), ("squares", True)))
def test_a_compiled_layer_is_one_graph_for_images_of_any_size_and_number(name, dynamic):
    torch._dynamo.reset()
    layer = LAYERS[name]()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=dynamic or None)
    for shape in [(2, 3, 6, 6), (3, 3, 6, 7), (0, 3, 6, 7)]:
        assert_same_call(compiled, layer, picture(*shape, levels=8))
    layer.train(not layer.training)
    assert_same_call(compiled, layer, picture(2, 3, 6, 6, levels=8))


@pytest.mark.full
@compiles
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_compiled_to_machine_code_gives_the_same(name):
    torch._dynamo.reset()
    layer = LAYERS[name]()
    with inductor_config.patch(fallback_random=True):  # its draws are torch's then
        compiled = torch.compile(layer, fullgraph=True)
        for shape in [(2, 3, 6, 6), (3, 3, 6, 7)]:
            assert_same_call(compiled, layer, picture(*shape, levels=8))


@compiles
@pytest.mark.parametrize(
    ("name", "strict"), some(("random intervals", False), ("fixed by ratio", False), ("fixed", True))
)
def test_an_exported_layer_gives_the_same_for_other_sizes(name, strict):
    layer, sizes = LAYERS[name](), dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    exported = torch.export.export(layer, (torch.zeros(2, 3, 6, 6),), dynamic_shapes=(sizes,), strict=strict)
    if layer.output_size:  # torch cannot store how it rounds a ratio
        stored = io.BytesIO()
        torch.export.save(exported, stored)
        stored.seek(0)
        exported = torch.export.load(stored)
    for shape in [(2, 3, 6, 6), (5, 3, 6, 7)]:
        assert_same_call(exported.module(), layer, picture(*shape, levels=8))


@compiles
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # sizes are looked at, and those of the example kept
@pytest.mark.parametrize("name", LAYERS)
def test_a_traced_layer_gives_the_same_for_other_batches(name):
    layer = LAYERS[name]()
    stored = io.BytesIO()
    torch.jit.save(torch.jit.trace(layer, torch.zeros(2, 3, 6, 6), check_trace=False), stored)
    stored.seek(0)
    traced = torch.jit.load(stored)
    for count in (2, 5):
        assert_same_call(traced, layer, picture(count, 3, 6, 6, levels=8))


def called_under_autocast(layer, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return layer(x)


WAYS = {
    "by functional_call": lambda layer, x: torch.func.functional_call(layer, {}, (x,)),
    "by keyword": lambda layer, x: layer(input=x),
    "under checkpoint": lambda layer, x: checkpoint(layer, x, use_reentrant=False),
    "under reentrant checkpoint": lambda layer, x: checkpoint(layer, x, use_reentrant=True),
    "under autocast": called_under_autocast,
    "with channels last": lambda layer, x: layer(x.to(memory_format=torch.channels_last)),
    "transposed": lambda layer, x: layer(x.transpose(-1, -2).contiguous().transpose(-1, -2)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LAYERS)
def test_the_way_of_a_call_does_not_matter(name, way):
    layer = LAYERS[name]()
    assert_same_call(lambda x: WAYS[way](layer, x), layer, picture(3, 2, 6, 7, levels=8))


@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_works_without_gradients_without_data_and_without_channels(name):
    layer = LAYERS[name]()
    x = picture(3, 2, 6, 6, levels=8)
    expected, _ = called(layer, x)
    for context in (torch.no_grad(), torch.inference_mode()):
        torch.manual_seed(0)
        with context:
            assert_same_bits(layer(x).clone(), expected)
    on_meta = x.to("meta").requires_grad_()
    layer(on_meta).sum().backward()
    assert on_meta.grad.shape == x.shape
    assert layer(x[:, :0]).shape == (3, 0, *expected.shape[-2:])


@pytest.mark.parametrize("name", LAYERS)
def test_derivatives_of_the_layer_from_a_seed_equal_finite_differences(name):
    layer = LAYERS[name]()

    def function(x):
        torch.manual_seed(0)
        return layer(x)

    x = torch.randperm(2 * 36, generator=seeded()).double().view(1, 2, 6, 6).requires_grad_()
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)


def test_gradients_that_meet_at_one_place_are_rounded_once_in_half_precision():
    x = torch.zeros(3, 3, dtype=torch.float16)
    x[1, 1] = 1  # in all four squares
    squares = torch.tensor([0, 1]), torch.tensor([2, 3])
    _, grad = pooled(x, squares, squares, torch.tensor([[2048, 1], [1, 0]], dtype=torch.float16))
    assert grad[1, 1] == 2050  # 2048 + 1 is 2048


def test_a_second_backward_pass_gives_the_same_gradient():
    x = picture(2, 3, 9, 12).requires_grad_()
    y = fractional_max_pool2d(x, *regions_for(x.shape))
    one, two = (torch.autograd.grad(y.sum(), x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(one, two)


def test_the_layer_stands_where_torchs_stands():
    ours = nn.Sequential(nn.Conv2d(1, 4, 2), FractionalMaxPool2d(25), nn.Flatten(), nn.Linear(2500, 3))
    theirs = nn.Sequential(nn.Conv2d(1, 4, 2), nn.FractionalMaxPool2d(2, 25), nn.Flatten(), nn.Linear(2500, 3))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 1, 36, 36)
    assert ours(x).shape == theirs(x).shape
    ours(x).sum().backward()
    assert all(parameter.grad.any() for parameter in ours.parameters())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, ValueError, "give either output_size or output_ratio"),
        ({"output_size": 5, "output_ratio": 0.7}, ValueError, "give either output_size or output_ratio"),
        ({"output_size": 5, "kind": "beatty"}, ValueError, "kind must be one of pseudorandom, random, got 'beatty'"),
        (
            {"output_size": 5, "overlap": True},
            ValueError,
            "overlap must be one of disjoint, square, interval, got True",
        ),
        ({"output_size": 5, "draw": "plane"}, ValueError, "draw must be one of batch, image, channel, got 'plane'"),
        ({"output_size": 1}, ValueError, "output_size must be at least 2, got 1"),
        ({"output_size": 0}, ValueError, "output_size must be at least 2, got 0"),
        ({"output_size": (5, 1)}, ValueError, r"output_size must be at least 2, got \(5, 1\)"),
        ({"output_size": (0, 5)}, ValueError, r"output_size must be at least 2, got \(0, 5\)"),
        ({"output_size": 5.0}, TypeError, r"output_size must be one or two numbers \(integral\), got 5.0"),
        ({"output_size": True}, TypeError, "output_size must be one or two numbers .* got True"),
        ({"output_size": (5, True)}, TypeError, r"output_size must be one or two numbers .* got \(5, True\)"),
        ({"output_size": (5,)}, TypeError, r"output_size must be one or two numbers .* got \(5,\)"),
        ({"output_size": ()}, TypeError, r"output_size must be one or two numbers .* got \(\)"),
        ({"output_size": (5, 5, 5)}, TypeError, r"output_size must be one or two numbers .* got \(5, 5, 5\)"),
        ({"output_size": (None, 5)}, TypeError, r"output_size must be one or two numbers .* got \(None, 5\)"),
        ({"output_size": "25"}, TypeError, "output_size must be one or two numbers .* got '25'"),
        ({"output_ratio": 0.5}, ValueError, r"output_ratio must lie in \(1/2, 1\), got 0.5"),
        ({"output_ratio": 1}, ValueError, r"output_ratio must lie in \(1/2, 1\), got 1"),
        ({"output_ratio": 0}, ValueError, r"output_ratio must lie in \(1/2, 1\), got 0"),
        ({"output_ratio": math.nan}, ValueError, r"output_ratio must lie in \(1/2, 1\), got nan"),
        ({"output_ratio": (0.7, 1.4)}, ValueError, r"output_ratio must lie in \(1/2, 1\), got \(0.7, 1.4\)"),
        ({"output_ratio": True}, TypeError, r"output_ratio must be one or two numbers \(real\), got True"),
        ({"output_ratio": "0.7"}, TypeError, "output_ratio must be one or two numbers .* got '0.7'"),
        ({"output_ratio": (0.7,)}, TypeError, r"output_ratio must be one or two numbers .* got \(0.7,\)"),
    ],
)
def test_layers_that_cannot_be_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        FractionalMaxPool2d(**options)


@pytest.mark.parametrize(
    ("options", "input", "error", "words"),
    [
        ({"output_size": 5}, torch.zeros(8, 8), ValueError, r"expected 3D or 4D input \(got 2D input\)"),
        ({"output_size": 5}, torch.zeros(1, 1, 1, 8, 8), ValueError, r"expected 3D or 4D input \(got 5D input\)"),
        ({"output_size": 5}, torch.zeros(1, 10, 8), ValueError, r"n_out 5 does not fit n_in 10: .* in \[6, 9\]"),
        ({"output_size": 5}, torch.zeros(1, 8, 5), ValueError, r"n_out 5 does not fit n_in 5: .* in \[3, 4\]"),
        ({"output_ratio": 0.7}, torch.zeros(1, 8, 2), ValueError, "n_in must be at least 3, got 2"),
        ({"output_size": 5}, torch.zeros(1, 8, 8).long(), NotImplementedError, "x must be floating point"),
    ],
)
def test_the_layer_refuses_what_does_not_fit(options, input, error, words):
    with pytest.raises(error, match=words):
        FractionalMaxPool2d(**options)(input)
