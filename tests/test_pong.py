"""Pong's looks against numpy on frames of our own, and the emulator itself where it is installed."""

import sys

import numpy as np
import pytest
import torch

from workedpapers.tasks import catch
from workedpapers.tasks.pong import ACTIONS, COURT, NOISE, SHOWN, SIZE, STACK, VARIANTS, Pong, frozen_noise, look

UP, DOWN = 2, 3


def frames(seed=0, *shape):
    """Frames at random, with the grey of the court in every other pixel."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(0, 256, (*shape, 84, 84), dtype=np.uint8)
    drawn[..., ::2, :] = 87
    return torch.from_numpy(drawn)


def shrunk(size=84, ratio=0.75):
    """Rows of weights, (63, 84): a triangle as wide as 2 / 0.75 pixels around each middle, cut at the edge."""
    weights = np.zeros((63, size))
    for i in range(63):
        for j in range(size):
            weights[i, j] = max(0.0, 1 - ratio * abs(j + 0.5 - (i + 0.5) / ratio))
    return weights / weights.sum(1, keepdims=True)


def shown(frame, variant):
    """The look of one frame, by numpy."""
    light = frame / 255
    above = np.maximum(0, (frame.astype(int) - 87) / (255 - 87))
    if variant == "zoom":
        small = np.full((84, 84), 87 / 255)
        small[21:, 21:] = shrunk() @ light @ shrunk().T
        return small
    return {
        "pong": light,
        "noisy": light + frozen_noise().numpy(),
        "black": above,
        "white": 1 - above,
        "hflip": light[:, ::-1],
        "vflip": light[::-1],
        "vhflip": light[::-1, ::-1],
    }[variant]


def test_the_looks_are_those_of_catch():
    assert VARIANTS[1:] == catch.VARIANTS[1:]
    assert tuple(SHOWN) == VARIANTS
    assert (SIZE, STACK, ACTIONS) == (84, 4, 6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 4)])
def test_a_look_is_what_numpy_makes_of_every_frame(variant, shape):
    given = frames(1, *shape)
    before = given.clone()
    found = look(given, variant)
    assert found.shape == given.shape
    assert found.dtype == torch.float32
    assert torch.equal(given, before)
    for picture, frame in zip(found.view(-1, 84, 84).numpy(), given.view(-1, 84, 84).numpy(), strict=True):
        np.testing.assert_allclose(picture, shown(frame, variant), atol=1e-5)


def test_the_noise_is_gaussian_and_always_the_same():
    noise = frozen_noise()
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(noise, frozen_noise())
        assert look(frames(), "noisy").dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert float(noise.mean()) == pytest.approx(0, abs=4 * NOISE / 84)
    assert float(noise.std()) == pytest.approx(NOISE, rel=0.04)
    assert float((noise.abs() < NOISE).float().mean()) == pytest.approx(0.6827, abs=0.025)
    torch.testing.assert_close(look(frames(0, 4), "noisy") - look(frames(0, 4), "pong"), noise.expand(4, 84, 84))


def test_the_court_is_grey_black_or_white():
    court = torch.full((84, 84), 87, dtype=torch.uint8)
    for variant, light in (("pong", COURT), ("black", 0.0), ("white", 1.0), ("zoom", COURT), ("vflip", COURT)):
        torch.testing.assert_close(look(court, variant), torch.full((84, 84), light))


def test_what_are_no_frames_looks_or_games_is_refused():
    with pytest.raises(ValueError, match=r"frames must be uint8 of 84 × 84, got torch.float32, \(84, 84\)"):
        look(frames().float(), "pong")
    with pytest.raises(ValueError, match=r"frames must be uint8 of 84 × 84, got torch.uint8, \(84, 83\)"):
        look(frames()[:, :83], "pong")
    with pytest.raises(ValueError, match=r"variant must be one of pong, noisy, .*, got 'catch'"):
        look(frames(), "catch")
    with pytest.raises(ValueError, match="variant must be one of"):
        Pong("catch", 1)
    with pytest.raises(ValueError, match="environments must be at least 1, got 0"):
        Pong("pong", 0)


def test_without_the_emulator_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py.vector_env", None)
    with pytest.raises(ImportError, match=r'pip install "workedpapers\[pong\]"'):
        Pong("pong", 1)


def paddle(game):
    """The mean row of our paddle, on the right, in the last frames."""
    rows = (game.observe()[:, -1, 14:78, 73:77] > COURT + 0.05).float().sum(2)
    return (rows @ torch.arange(14.0, 78.0) / rows.sum(1)).tolist()


@pytest.fixture(scope="module")
def game():
    """Two games; a test that asks for them is skipped where the emulator is not installed."""
    pytest.importorskip("ale_py.vector_env")
    return Pong("pong", 2, seed=3)


def test_a_game_has_the_court_and_the_actions_of_pong(game):
    assert game._games.single_action_space.n == ACTIONS
    assert [action.name for action in game._games.ale.get_action_set()][UP : DOWN + 1] == ["RIGHT", "LEFT"]
    before = paddle(game)
    for _ in range(2):
        rewards, over = game.step(torch.tensor([UP, DOWN]))
        assert rewards.shape == over.shape == (2,)
        assert rewards.dtype == torch.float32
        assert not over.any()
    after = paddle(game)
    assert after[0] < before[0] - 4
    assert after[1] > before[1] + 4
    seen = game.observe()
    assert seen.shape == (2, 4, 84, 84)
    assert seen.dtype == torch.float32
    assert float(seen.flatten().mode().values) == pytest.approx(COURT)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_look_changes_what_is_seen_and_not_the_game(game, variant):
    plain = game.observe().mul(255).round().to(torch.uint8)
    try:
        game.variant = variant
        assert torch.equal(game.observe(), look(plain, variant))
    finally:
        game.variant = "pong"


def test_a_seed_gives_the_same_games():
    pytest.importorskip("ale_py.vector_env")
    games = [Pong("pong", 1, seed=5), Pong("pong", 1, seed=5)]
    for step in range(6):
        assert torch.equal(*(game.observe() for game in games))
        for game in games:
            game.step(torch.tensor([step]))


def test_a_game_that_does_nothing_loses_21_points_and_begins_anew():
    pytest.importorskip("ale_py.vector_env")
    game, score = Pong("pong", 1), 0.0
    for _ in range(1500):
        rewards, over = game.step(torch.tensor([0]))
        score += float(rewards)
        if over:
            break
    assert score == -21
    assert float(game.observe()[0, :, 14:76].std()) > 0
    assert not game.step(torch.tensor([0]))[1]


def test_what_is_no_action_is_refused(game):
    with pytest.raises(ValueError, match=r"action must have the shape \(2,\), got \(3,\)"):
        game.step(torch.tensor([0, 0, 0]))
    for wrong in (torch.tensor([0, 6]), torch.tensor([-1, 0]), torch.tensor([0.0, 1.0])):
        with pytest.raises(ValueError, match=r"action must be an integer in \[0, 5\], got torch"):
            game.step(wrong)
