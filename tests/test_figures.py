import itertools
import os
import subprocess
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from workedpapers.lab import Claim
from workedpapers.lab.figures import (
    COLORS,
    VERDICT_COLORS,
    curve_with_band,
    dots,
    every_run,
    panels,
    paper_line,
    use_style,
    verdicts,
)

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
DEFICIENCIES = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        use_style()
        yield
    plt.close("all")


def test_importing_changes_no_setting():
    code = (
        "import matplotlib as m; before = dict(m.rcParams);"
        "import workedpapers.lab.figures; assert dict(m.rcParams) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"MPLBACKEND": "agg"})


def test_the_style_has_panel_width_white_ground_two_spines_and_a_bare_legend():
    fig, ax = plt.subplots()
    assert list(fig.get_size_inches()) == [4.5, 3.0]
    assert to_hex(fig.get_facecolor()) == to_hex(ax.get_facecolor()) == "#ffffff"
    ax.plot([0, 1], label="line")
    assert not ax.legend().get_frame_on()
    assert {side for side, spine in ax.spines.items() if spine.get_visible()} == {"left", "bottom"}


def test_the_smallest_type_has_ten_pixels_on_a_narrow_screen():
    fig, ax = plt.subplots()
    ax.plot([0, 1], label="line")
    sizes = [text.get_fontsize() for text in [*ax.get_xticklabels(), *ax.legend().get_texts(), ax.xaxis.label]]
    inches_shown = 360 / fig.get_size_inches()[0]
    assert min(sizes) / 72 * inches_shown > 10


def test_lines_take_the_colors_of_the_roles_in_turn():
    _, ax = plt.subplots()
    lines = [ax.plot([0, 1])[0].get_color() for _ in range(6)]
    assert lines == [COLORS[role] for role in ("learned", "fast", "baseline", "peer", "wrong", "data")]


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_colors_stay_apart_for_a_color_blind_reader(deficiency):
    def seen(color):
        channels = np.array(to_rgb(color))
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        linear = np.clip(np.array(DEFICIENCIES[deficiency]) @ linear, 0, 1)
        return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)

    for first, second in itertools.combinations(COLORS, 2):
        distance = np.linalg.norm(seen(COLORS[first]) - seen(COLORS[second]))
        assert distance > 0.15, (first, second, distance)


def test_the_same_figure_has_the_same_bytes_twice(tmp_path):
    for name in ("first.png", "second.png"):
        fig, ax = plt.subplots()
        curve_with_band(ax, [0, 1], [[0, 1], [1, 2]], "ours", COLORS["learned"])
        fig.savefig(tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_the_curve_is_the_mean_and_the_band_holds_every_run():
    _, ax = plt.subplots()
    curve_with_band(ax, [0, 1, 2], [[1, 5, 3], [2, 1, 3], [6, 3, 3]], "ours", COLORS["fast"])
    (line,), (band,) = ax.lines, ax.collections
    assert line.get_ydata().tolist() == [3, 3, 3]
    assert line.get_label() == "ours"
    assert line.get_color() == COLORS["fast"]
    assert to_hex(band.get_facecolor()[0]) == COLORS["fast"].lower()
    assert band.get_alpha() < 0.5
    edge = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert edge == {(0, 1), (0, 6), (1, 1), (1, 5), (2, 3)}


@pytest.mark.parametrize("runs", [[1, 2, 3], [[1, 2]], np.empty((0, 3))])
def test_runs_of_another_shape_are_refused(runs):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"x has shape \(3,\) and runs"):
        curve_with_band(ax, [0, 1, 2], runs, "ours", COLORS["fast"])


def test_the_papers_number_is_a_dashed_line_across_the_axes():
    _, ax = plt.subplots()
    paper_line(ax, 0.25, "paper: 0.25")
    (line,) = ax.lines
    assert list(line.get_ydata()) == [0.25, 0.25]
    assert line.get_linestyle() == "--"
    assert line.get_color() == COLORS["paper"]
    assert line.get_label() == "paper: 0.25"


@pytest.mark.parametrize(
    ("n", "columns", "size"), [(1, 2, (4.5, 3)), (2, 2, (6.4, 2.6)), (3, 2, (6.4, 5.2)), (3, 1, (4.5, 9))]
)
def test_panels_fill_rows_and_leave_no_empty_axes(n, columns, size):
    fig, axes = panels(n, columns=columns)
    assert len(axes) == n
    assert fig.axes == axes
    assert tuple(fig.get_size_inches()) == pytest.approx(size)


def test_panels_share_an_axis_when_asked():
    _, (left, right) = panels(2, sharey=True)
    left.set_ylim(0, 7)
    assert right.get_ylim() == (0, 7)


@pytest.mark.parametrize(("n", "columns"), [(0, 2), (2, 0)])
def test_no_panels_or_no_columns_are_refused(n, columns):
    with pytest.raises(ValueError, match=f"n is {n} and columns is {columns}"):
        panels(n, columns=columns)


def test_colors_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        COLORS["learned"] = "red"
    assert mpl.colors.is_color_like(COLORS["learned"])


def test_every_run_is_a_line_that_ends_in_a_dot_and_one_label_speaks_for_all():
    _, ax = plt.subplots()
    every_run(ax, [([1, 2, 3], [9, 5, 1]), ([1, 2], [8, 7])], "ours", COLORS["fast"])
    drawn = [(list(line.get_xdata()), list(line.get_ydata()), line.get_marker()) for line in ax.lines]
    assert drawn == [([1, 2, 3], [9, 5, 1], "None"), ([3], [1], "o"), ([1, 2], [8, 7], "None"), ([2], [7], "o")]
    assert ax.get_legend_handles_labels()[1] == ["ours"]
    assert {line.get_color() for line in ax.lines} == {COLORS["fast"]}


@pytest.mark.parametrize(("runs", "across"), [([5.0], [2]), ([5.0, 6.0, 7.0], [2 - 1 / 3, 2, 2 + 1 / 3])])
def test_dots_stand_side_by_side_around_their_place(runs, across):
    _, ax = plt.subplots()
    dots(ax, 2, runs, COLORS["fast"])
    (line,) = ax.lines
    assert list(line.get_xdata()) == pytest.approx(across)
    assert list(line.get_ydata()) == runs
    assert (line.get_linestyle(), line.get_markerfacecolor()) == ("None", COLORS["fast"])


def test_hollow_dots_are_rings():
    _, ax = plt.subplots()
    dots(ax, 0, [1.0], COLORS["fast"], hollow=True)
    assert (ax.lines[0].get_markerfacecolor(), ax.lines[0].get_markeredgecolor()) == ("white", COLORS["fast"])


@pytest.mark.parametrize("runs", [[], [[1.0, 2.0]]])
def test_dots_of_another_shape_are_refused(runs):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="runs has shape"):
        dots(ax, 0, runs, COLORS["fast"])


def test_verdicts_draw_a_row_a_claim_from_the_top_and_every_run_a_dot():
    claims = [
        Claim("error: ours less theirs", "below 0", (-1.0, -2.0, -3.0), "book", "holds"),
        Claim("time: ours less theirs", "below 0", (0.5, 1.0), "book", "fails", "a cause"),
    ]
    ax = verdicts(claims)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["time", "error"]
    dots_of = {line.get_ydata()[0]: line for line in ax.lines if line.get_marker() == "o"}
    assert list(dots_of[1].get_xdata()) == [-1.0, -2.0, -3.0]
    assert list(dots_of[0].get_xdata()) == [0.5, 1.0]
    assert dots_of[1].get_color() == COLORS[VERDICT_COLORS["holds"]]
    assert dots_of[0].get_color() == COLORS[VERDICT_COLORS["fails"]]
    guides = [line.get_xdata()[0] for line in ax.lines if line.get_marker() != "o"]
    assert guides == [0]


@pytest.mark.parametrize(("run", "scale"), [(-2.0, "linear"), (30.0, "symlog")])
def test_verdicts_have_a_logarithmic_axis_where_runs_lie_far_apart(run, scale):
    assert verdicts([Claim("error: ours", "below 0", (0.1, run), "book", "fails", "a cause")]).get_xscale() == scale


def test_verdicts_without_a_claim_are_refused():
    with pytest.raises(ValueError, match="no claims to draw"):
        verdicts([])
