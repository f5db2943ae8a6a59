"""The strings of the associative retrieval task."""

from itertools import islice

import pytest
import torch

from workedpapers.tasks.retrieval import SPLITS, associative_retrieval, associative_stream, decode, redraw_queries


def answer(text: str) -> int:
    """Look the answer up as a person would."""
    return int(text[text.index(text[-1]) + 1])


@pytest.mark.parametrize("pairs", [1, 4, 26])
def test_every_string_has_the_papers_form_and_its_answer(pairs):
    strings = associative_retrieval(pairs, "validation", size=500)
    assert strings.tokens.shape == (500, 2 * pairs + 3)
    for text, target in zip(decode(strings.tokens), strings.targets.tolist(), strict=True):
        letters, digits = text[: 2 * pairs : 2], text[1 : 2 * pairs : 2]
        assert letters.isalpha()
        assert len(set(letters)) == pairs
        assert digits.isdigit()
        assert text[2 * pairs : -1] == "??"
        assert text[-1] in letters
        assert answer(text) == target


def test_a_seed_gives_the_same_strings_everywhere():
    # Written down once; a change of numpy, torch or of this code must not change recorded results.
    assert decode(associative_retrieval(size=3).tokens) == ["k0d2m7g4??k", "j7s9a4i8??a", "q2b0f4a3??a"]
    assert decode(associative_retrieval(2, "test", size=2, seed=7).tokens) == ["i0u1??i", "f8m9??f"]
    assert decode(next(associative_stream(3, 2, seed=1)).tokens) == ["u3f3w2??u", "x8m6w7??w"]


def test_splits_have_the_papers_sizes_and_differ():
    splits = {name: associative_retrieval(split=name) for name in SPLITS}
    assert {name: len(s.targets) for name, s in splits.items()} == {
        "train": 100_000,
        "validation": 10_000,
        "test": 20_000,
    }
    texts = [set(decode(s.tokens[:10_000])) for s in splits.values()]
    assert not texts[0] & texts[1]
    assert not texts[1] & texts[2]


def test_a_smaller_size_is_the_beginning_of_the_split():
    whole, part = associative_retrieval(split="test"), associative_retrieval(split="test", size=7)
    assert torch.equal(whole.tokens[:7], part.tokens)
    assert torch.equal(whole.targets[:7], part.targets)


def test_digits_letters_and_the_asked_pair_are_uniform():
    tokens, targets = associative_retrieval()
    for counts, expected in (
        (targets.bincount(minlength=10), 10_000),
        (tokens[:, 0].bincount(minlength=26), 100_000 / 26),
        ((tokens[:, [0, 2, 4, 6]] == tokens[:, -1:]).sum(0), 25_000),
    ):
        deviation = (counts - expected) / expected**0.5
        assert deviation.abs().max() < 4.5


def test_the_stream_goes_on_with_fresh_strings_and_repeats_for_its_seed():
    first = list(islice(associative_stream(batch_size=5, seed=3), 4))
    again = list(islice(associative_stream(batch_size=5, seed=3), 4))
    other = next(associative_stream(batch_size=5, seed=4))
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(first, again, strict=True))
    assert len({text for batch in first for text in decode(batch.tokens)}) == 20
    assert not torch.equal(first[0].tokens, other.tokens)
    assert all(answer(t) == int(d) for b in first for t, d in zip(decode(b.tokens), b.targets, strict=True))


def test_redrawn_queries_hit_the_asked_letter_once_in_four():
    strings = associative_retrieval(split="test")
    redrawn = redraw_queries(strings)
    assert torch.equal(redrawn.tokens[:, :-1], strings.tokens[:, :-1])
    assert torch.equal(redrawn.targets, strings.targets)
    kept = (redrawn.tokens[:, -1] == strings.tokens[:, -1]).double().mean()
    assert abs(kept - 0.25) < 4 * (0.25 * 0.75 / 20_000) ** 0.5
    # What a perfect retriever then scores: its own pair, or by luck the same digit on another.
    right = [answer(t) == int(d) for t, d in zip(decode(redrawn.tokens), redrawn.targets, strict=True)]
    assert abs(sum(right) / 20_000 - 0.325) < 0.014


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pairs": 0}, r"pairs must lie in \[1, 26\], got 0"),
        ({"pairs": 27}, r"pairs must lie in \[1, 26\], got 27"),
        ({"split": "dev"}, "split must be one of train, validation, test, got 'dev'"),
        ({"size": 0}, r"size must lie in \[1, 100000\] for split 'train', got 0"),
        ({"split": "test", "size": 20_001}, r"size must lie in \[1, 20000\] for split 'test', got 20001"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        associative_retrieval(**arguments)


def test_the_stream_refuses_bad_pairs():
    with pytest.raises(ValueError, match="pairs"):
        next(associative_stream(0))
