"""Catch and its looks: the game against a loop over one board, pictures against numpy, scores that are exact."""

import math
import random

import numpy as np
import pytest
import torch

from workedpapers.tasks.catch import (
    ACTIONS,
    GREY,
    SHOWN,
    SIZE,
    STEPS,
    VARIANTS,
    Catch,
    frozen_noise,
    random_score,
    render,
)

FLIPS = {"catch": 0, "hflip": 1, "vflip": 2, "vhflip": 3}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(row, column, paddle):
    """One board as a list of rows: 1 where the ball or the paddle is."""
    on = {(row, column)} | {(9, paddle + shift) for shift in (-1, 0, 1)}
    return np.array([[float((i, j) in on) for j in range(10)] for i in range(10)])


def shrinking():
    """Rows of weights, (7, 10): a triangle as wide as 2 / 0.75 cells around each middle, cut at the edge."""
    weights = np.zeros((7, 10))
    for i in range(7):
        middle = (i + 0.5) / 0.75
        for j in range(10):
            weights[i, j] = max(0.0, 1 - 0.75 * abs(j + 0.5 - middle))
    return weights / weights.sum(1, keepdims=True)


def shown(board, variant):
    """The look of one board, by numpy."""
    light = 0.35 + 0.65 * board
    if variant == "noisy":
        return light + frozen_noise().numpy() / 2 - 0.25
    if variant == "zoom":
        small = np.zeros((10, 10))
        small[3:, 3:] = np.minimum(1, (10 / 7) ** 2 * shrinking() @ board @ shrinking().T)
        return 0.35 + 0.65 * small
    return {
        "catch": light,
        "black": board,
        "white": 1.0 - board,
        "hflip": light[:, ::-1],
        "vflip": light[::-1],
        "vhflip": light[::-1, ::-1],
    }[variant]


def every_board():
    """Row, column and paddle of every board before the ball has landed."""
    cells = torch.cartesian_prod(torch.arange(STEPS), torch.arange(SIZE), torch.arange(1, SIZE - 1))
    return cells[:, :2], cells[:, 2]


def chase(game):
    """The action that brings each paddle nearer to its ball."""
    return 1 + (game.column - game.paddle).sign()


def play(game, policy):
    """Rewards of an episode, and the pictures before every action."""
    pictures = []
    for _ in range(STEPS):
        pictures.append(game.observe())
        rewards = game.step(policy(game))
    return rewards, pictures


def test_the_looks_are_those_of_the_paper_in_its_order():
    assert VARIANTS == ("catch", "noisy", "black", "white", "zoom", "hflip", "vflip", "vhflip")
    assert tuple(SHOWN) == VARIANTS
    assert (SIZE, STEPS, ACTIONS) == (10, 9, 3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_look_is_what_numpy_makes_of_the_board(variant):
    cells = [(0, 0, 1), (3, 9, 8), (8, 4, 5), (9, 2, 7), (9, 6, 6)]
    pictures = render(torch.tensor([cell[:2] for cell in cells]), torch.tensor([cell[2] for cell in cells]), variant)
    assert pictures.shape == (5, 1, 10, 10)
    assert pictures.dtype == torch.float32
    for cell, picture in zip(cells, pictures[:, 0].numpy(), strict=True):
        np.testing.assert_allclose(picture, shown(drawn(*cell), variant), atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_look_hides_anything(variant):
    pictures = render(*every_board(), variant).flatten(1)
    distances = torch.cdist(pictures, pictures) + 10 * torch.eye(len(pictures))
    assert float(distances.min()) > 0.02  # zoom blurs; the others differ by 0.6 or more


def test_a_flip_twice_is_none_and_both_are_one_after_the_other():
    ball, paddle = every_board()
    pictures = {name: render(ball, paddle, name) for name in FLIPS}
    assert torch.equal(pictures["hflip"].flip(3), pictures["catch"])
    assert torch.equal(pictures["vflip"].flip(2), pictures["catch"])
    assert torch.equal(pictures["vhflip"].flip(2), pictures["hflip"])
    assert torch.equal(pictures["vhflip"].flip(3), pictures["vflip"])


def test_zoom_keeps_light_and_place_at_three_quarters_in_the_lower_right_corner():
    image = torch.zeros(1, 10, 10)
    image[0, 4, 5] = 1
    zoomed = (SHOWN["zoom"](image)[0] - GREY) / (1 - GREY)
    assert float(zoomed[:3].abs().max()) == float(zoomed[:, :3].abs().max()) == 0
    assert float(zoomed.sum()) == pytest.approx(1, abs=0.15)
    place = (zoomed.sum(1) @ torch.arange(10.0) / zoomed.sum(), zoomed.sum(0) @ torch.arange(10.0) / zoomed.sum())
    assert [float(p) for p in place] == pytest.approx([3 + 0.75 * 4.5 - 0.5, 3 + 0.75 * 5.5 - 0.5], abs=0.15)


def test_the_noise_is_the_same_on_every_board_and_at_every_step():
    games = [Catch(variant, 4, seeded()) for variant in ("noisy", "catch")]
    seen = set()
    for _ in range(STEPS):
        noise = games[0].observe() - games[1].observe()
        seen |= {tuple(board.flatten().mul(1e4).round().tolist()) for board in noise}
        for game in games:
            game.step(chase(game))
    assert len(seen) == 1
    (noise,) = seen
    assert len(set(noise)) > 90
    assert max(map(abs, noise)) <= 2500
    torch.manual_seed(1)
    assert torch.equal(frozen_noise(), frozen_noise())
    assert float(frozen_noise()[0, 0]) == pytest.approx(0.5349, abs=1e-4)


@pytest.mark.parametrize(("action", "ends"), [(0, [1, 1, 1]), (1, [1, 4, 8]), (2, [8, 8, 8])])
def test_actions_move_the_paddle_left_not_and_right_up_to_the_edge(action, ends):
    game = Catch("catch", 3, seeded())
    game.paddle = torch.tensor([1, 4, 8])
    before = game.paddle
    game.step(torch.full((3,), action))
    assert game.paddle.tolist() == (before + action - 1).clamp(1, 8).tolist()
    for _ in range(STEPS - 1):
        game.step(torch.full((3,), action))
    assert game.paddle.tolist() == ends


def test_the_picture_follows_the_action_unless_it_is_flipped():
    middles = {}
    for variant in FLIPS:
        game = Catch(variant, 1, seeded())
        game.paddle[:] = 4
        game.step(torch.tensor([2]))
        rows = game.observe()[0, 0]
        paddle = rows[0 if "v" in variant else 9] > 0.9
        middles[variant] = paddle.nonzero().float().mean().item()
    assert middles == {"catch": 5, "hflip": 4, "vflip": 5, "vhflip": 4}


def test_an_episode_is_that_of_a_loop_over_one_board():
    boards = 50
    game = Catch("black", boards, seeded(3))
    columns, paddles = game.column.tolist(), game.paddle.tolist()
    dice = random.Random(0)
    for step in range(STEPS):
        pictures = game.observe()[:, 0].numpy()
        for board in range(boards):
            np.testing.assert_array_equal(pictures[board], drawn(step, columns[board], paddles[board]))
        actions = [dice.randrange(3) for _ in range(boards)]
        rewards = game.step(torch.tensor(actions))
        assert (rewards is None) == (step < 8)
        paddles = [min(8, max(1, paddle + action - 1)) for paddle, action in zip(paddles, actions, strict=True)]
    assert rewards.dtype == torch.float32
    assert rewards.tolist() == [
        1.0 if column in (paddle - 1, paddle, paddle + 1) else -1.0
        for column, paddle in zip(columns, paddles, strict=True)
    ]
    np.testing.assert_array_equal(game.observe()[0, 0].numpy(), drawn(9, columns[0], paddles[0]))


def test_balls_and_paddles_begin_anywhere_with_the_same_chance_and_apart():
    game = Catch("catch", 80_000, seeded(1))
    counts = torch.bincount(game.column * 8 + game.paddle - 1, minlength=80)
    assert len(counts) == 80
    assert float((counts - 1000).abs().max()) < 4.5 * math.sqrt(1000)


def test_a_seed_gives_the_same_boards_everywhere_and_leaves_the_global_generator_alone():
    # Written down once: recorded results stand on these draws, first the columns, then the paddles.
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    game = Catch("catch", 6, seeded(0))
    game.observe()
    assert game.column.tolist() == [4, 9, 3, 0, 3, 9]
    assert game.paddle.tolist() == [4, 8, 2, 4, 6, 3]
    assert torch.equal(torch.rand(1), expected)
    generator = seeded(0)
    assert Catch("white", 6, generator).column.tolist() == game.column.tolist()
    assert Catch("white", 6, generator).column.tolist() != game.column.tolist()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_paddle_that_runs_after_the_ball_always_arrives(variant):
    game = Catch(variant, 80, seeded())
    starts = torch.cartesian_prod(torch.arange(SIZE), torch.arange(1, SIZE - 1))
    game.column, game.paddle = starts[:, 0], starts[:, 1]
    rewards, _ = play(game, chase)
    assert rewards.tolist() == [1.0] * 80


def test_the_random_score_is_that_of_probabilities_followed_downwards_and_of_random_play():
    chances = np.full(8, 1 / 8)  # of the paddle's place, now
    for _ in range(STEPS):
        after = np.zeros(8)
        for place, chance in enumerate(chances):
            for move in (-1, 0, 1):
                after[min(7, max(0, place + move))] += chance / 3
        chances = after
    caught = sum(
        chance * sum(abs(column - place - 1) <= 1 for column in range(10)) for place, chance in enumerate(chances)
    )
    assert random_score() == pytest.approx(2 * caught / 10 - 1, abs=1e-14)
    assert random_score() == pytest.approx(-0.4, abs=1e-14)
    generator = seeded(2)
    rewards, _ = play(
        Catch("catch", 40_000, generator),
        lambda game: torch.randint(ACTIONS, game.paddle.shape, generator=generator),
    )
    assert float(rewards.mean()) == pytest.approx(random_score(), abs=4 * math.sqrt((1 - 0.16) / 40_000))


def test_boards_lie_on_the_device_asked_for_or_on_the_default_one():
    game = Catch("noisy", 3, seeded(), device="meta")
    assert (game.column.device.type, game.paddle.device.type) == ("meta", "meta")
    with torch.device("meta"):
        assert Catch("noisy", 3, seeded()).paddle.device.type == "meta"
        for variant in VARIANTS:  # nothing that is made on the way lies on the default device
            own = Catch(variant, 6, seeded(0), device="cpu")
            assert own.column.tolist() == [4, 9, 3, 0, 3, 9]
            assert play(own, chase)[0].tolist() == [1.0] * 6
            assert own.observe().device.type == "cpu"


def test_in_float64_every_picture_is_the_same():
    ball, paddle = every_board()
    expected = {name: render(ball, paddle, name) for name in VARIANTS}
    torch.set_default_dtype(torch.float64)
    try:
        found = {name: render(ball, paddle, name) for name in VARIANTS}
        rewards, _ = play(Catch("catch", 2, seeded()), chase)
    finally:
        torch.set_default_dtype(torch.float32)
    assert rewards.dtype == torch.float64
    for name, picture in found.items():
        assert picture.dtype == torch.float64
        torch.testing.assert_close(picture.float(), expected[name], atol=1e-6, rtol=0)


def test_what_is_no_board_or_look_is_refused():
    ball, paddle = torch.tensor([[0, 0]]), torch.tensor([1])
    with pytest.raises(ValueError, match=r"variant must be one of catch, noisy, .*, got 'pong'"):
        render(ball, paddle, "pong")
    with pytest.raises(ValueError, match="variant must be one of"):
        Catch("pong", 1)
    with pytest.raises(ValueError, match="boards must be at least 1, got 0"):
        Catch("catch", 0)
    for shapes in ((ball[0], paddle), (ball[:, :1], paddle), (ball, paddle[0]), (ball, paddle.repeat(2))):
        with pytest.raises(ValueError, match=r"expected ball \(boards, 2\) and paddle \(boards,\), got"):
            render(*shapes, "catch")
    for wrong in ([-1, 0], [0, 10]):
        with pytest.raises(ValueError, match=r"ball must lie in \[0, 9\], got"):
            render(torch.tensor([wrong]), paddle, "catch")
    for wrong in (0, 9):
        with pytest.raises(ValueError, match=rf"paddle must lie in \[1, 8\], got {wrong} to {wrong}"):
            render(ball, torch.tensor([wrong]), "catch")


def test_what_is_no_action_is_refused():
    game = Catch("catch", 2, seeded())
    for wrong in (torch.ones(3, dtype=torch.int64), torch.ones(2, 1, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"action must have the shape \(2,\), got \((3,|2, 1)\)"):
            game.step(wrong)
    for wrong in (torch.tensor([0, 3]), torch.tensor([-1, 2]), torch.tensor([0.0, 1.0])):
        with pytest.raises(ValueError, match="action must be 0, 1 or 2, an integer, got torch"):
            game.step(wrong)
    assert game.row == 0
    play(game, chase)
    with pytest.raises(RuntimeError, match="the balls have landed"):
        game.step(torch.tensor([1, 1]))
