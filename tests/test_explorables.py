import base64
import io
import re
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from PIL import Image

from workedpapers.lab.explorables import WIDGET_VIEW, explore

ALT = "Memory with decay {decay} after {number_of_steps} steps."
DECAYS, STEPS = [0.5, 0.9], [5, 10, 20]
GRID = [(decay, steps) for decay in DECAYS for steps in STEPS]


def draw_memory(decay, number_of_steps):
    fig, ax = plt.subplots(figsize=(2, 1.5), dpi=60)
    ax.plot(decay ** np.arange(number_of_steps))
    return fig


def memory():
    return explore(draw_memory, alt=ALT, decay=DECAYS, number_of_steps=STEPS)


def blank(**_):
    return plt.figure(figsize=(1, 1), dpi=20)


def frames_in(page):
    """All pictures of a static face in order: the visible one, then those that wait in the inert script."""
    soup = BeautifulSoup(page, "html.parser")
    waiting = BeautifulSoup(soup.find("script", type="text/html").string or "", "html.parser")
    return [(picture(image["src"]), image["alt"]) for image in [*soup("img"), *waiting("img")]]


def picture(source):
    kind, data = source.split(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))).convert("RGB"), dtype=float)


def drawn(**values):
    """What `draw_memory` shows, rendered by matplotlib alone, with no palette."""
    fig = draw_memory(**values)
    fig.canvas.draw()
    pixels = np.asarray(fig.canvas.buffer_rgba())[..., :3].astype(float)
    plt.close(fig)
    return pixels


def assert_shows(pixels, decay, number_of_steps):
    """The pixels are closest to the expected frame among all, and close."""
    errors = {point: np.abs(pixels - drawn(decay=point[0], number_of_steps=point[1])).mean() for point in GRID}
    assert min(errors, key=errors.get) == (decay, number_of_steps)
    assert errors[decay, number_of_steps] < 1.5


def test_a_static_page_holds_every_combination_in_order_with_its_own_alt_text():
    frames = frames_in(memory().html)
    assert len(frames) == 6
    for (pixels, alt), (decay, steps) in zip(frames, GRID, strict=True):
        assert_shows(pixels, decay, steps)
        assert alt == f"Memory with decay {decay} after {steps} steps."


def test_without_its_script_a_page_shows_the_first_frame_and_no_control():
    soup = BeautifulSoup(memory().html, "html.parser")
    images = soup("img")
    assert [image["alt"] for image in images] == ["Memory with decay 0.5 after 5 steps."]
    assert images[0].find_parent(hidden=True) is None
    for control in soup.select("input, select, label, output"):
        assert control.find_parent(hidden=True) is not None


def test_every_control_has_a_label_and_every_slider_an_output_that_is_tied_to_it():
    soup = BeautifulSoup(memory().html, "html.parser")
    sliders = soup("input", type="range")
    labels = {label["for"]: label.get_text() for label in soup("label")}
    outputs = {" ".join(output["for"]): output.get_text() for output in soup("output")}
    assert [labels[slider["id"]] for slider in sliders] == ["decay", "number of steps"]
    assert [outputs[slider["id"]] for slider in sliders] == ["0.5", "5"]
    assert [slider["aria-valuetext"] for slider in sliders] == ["0.5", "5"]
    assert [(slider["min"], slider["max"], slider["value"]) for slider in sliders] == [
        ("0", "1", "0"),
        ("0", "2", "0"),
    ]


def test_values_that_are_not_numbers_get_a_labelled_drop_down_list():
    soup = BeautifulSoup(explore(blank, alt="{kind}", kind=["tanh", "ReLU"], bias=[True, False]).html, "html.parser")
    assert [[option.get_text() for option in select("option")] for select in soup("select")] == [
        ["tanh", "ReLU"],
        ["True", "False"],
    ]
    assert [label["for"] for label in soup("label")] == [select["id"] for select in soup("select")]
    assert not soup("input")


def test_a_static_page_asks_no_other_host():
    page = re.sub(r"base64,[A-Za-z0-9+/=]+", "", memory().html)
    assert not re.search(r"https?:|//|import|fetch|@font-face", page)


def test_the_same_draw_gives_the_same_bytes_twice():
    assert memory().html == memory().html


def test_two_explorables_on_one_page_share_no_id():
    pages = [memory().html, explore(blank, alt="{decay}", decay=DECAYS).html]
    found = [element["id"] for page in pages for element in BeautifulSoup(page, "html.parser")(id=True)]
    assert len(found) == len(set(found)) == 6


def test_a_label_or_alt_text_with_markup_stays_text():
    unsafe = '</script><b title="x">&amp;'
    page = explore(blank, alt="{kind} {size}", kind=[unsafe], size=[1, 2]).html
    assert [alt for _, alt in frames_in(page)] == [f"{unsafe} 1", f"{unsafe} 2"]
    soup = BeautifulSoup(page, "html.parser")
    assert soup.option.get_text() == unsafe
    assert not soup("b")


def test_sanitizing_leaves_only_the_picture_out_of_the_comparison():
    def cleaned(page):
        return re.sub(r"explorable-[0-9a-f]{12}", "ID", re.sub(r"base64,[A-Za-z0-9+/=]+", "PNG", page))

    def other(**values):
        fig = draw_memory(**values)
        fig.axes[0].set_ylim(0, 2)
        return fig

    axes = {"decay": DECAYS, "number_of_steps": STEPS}
    here, elsewhere = memory().html, explore(other, alt=ALT, **axes).html
    assert here != elsewhere
    assert cleaned(here) == cleaned(elsewhere)
    assert cleaned(here) != cleaned(explore(draw_memory, alt=ALT.replace("after", "in"), **axes).html)


def test_thirty_frames_of_a_line_plot_stay_under_400_kilobytes():
    def draw(decay, steps):
        fig, ax = plt.subplots(figsize=(4.5, 3), dpi=115)
        ax.plot(decay ** np.arange(steps), label="fast weights")
        ax.plot(1 / (1 + np.arange(steps)), label="attention")
        ax.set(xlabel="step", ylabel="recall", title="The memory fades")
        ax.legend()
        return fig

    explorable = explore(draw, alt="{decay} {steps}", decay=np.linspace(0.1, 0.9, 6), steps=[5, 10, 20, 40, 80])
    assert len(explorable.frames) == 30
    assert len(explorable.html.encode()) < 400_000


def test_frames_keep_one_size_under_a_style_that_crops_figures():
    with plt.rc_context({"savefig.bbox": "tight"}):
        assert {pixels.shape for pixels, _ in frames_in(memory().html)} == {(90, 120, 3)}


def test_every_figure_is_closed():
    explorable = memory()
    explorable.widget.children[1].value = 0.9
    with pytest.raises(ValueError, match="empty"):
        explore(blank, alt="", decay=DECAYS)
    assert plt.get_fignums() == []


def test_moving_a_slider_redraws_the_picture_and_its_alt_text():
    drawn_now = []

    def draw(decay, number_of_steps):
        drawn_now.append((decay, number_of_steps))
        return draw_memory(decay, number_of_steps)

    image, decay, steps = explore(draw, alt=ALT, decay=DECAYS, number_of_steps=STEPS).widget.children
    assert [decay.description, steps.description] == ["decay", "number of steps"]
    drawn_now.clear()
    decay.value = 0.9
    steps.value = 20
    assert drawn_now == [(0.9, 5), (0.9, 20)]
    shown = BeautifulSoup(image.value, "html.parser").img
    assert_shows(picture(shown["src"]), 0.9, 20)
    assert shown["alt"] == "Memory with decay 0.9 after 20 steps."


def test_both_faces_start_with_the_same_frame():
    explorable = memory()
    assert explorable.widget.children[0].value == explorable.frames[0].html
    assert explorable.frames[0].html in explorable.html


def test_the_bundle_holds_text_the_static_page_and_the_view_of_the_widget():
    explorable = memory()
    assert explorable._repr_mimebundle_(include=None, exclude=None) == {
        "text/plain": "Explorable(decay: 2 values, number_of_steps: 3 values)",
        "text/html": explorable.html,
        WIDGET_VIEW: {
            "version_major": 2,
            "version_minor": 0,
            "model_id": explorable.widget.model_id,
        },
    }


def test_without_ipywidgets_the_static_face_is_left(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert set(memory()._repr_mimebundle_()) == {"text/plain", "text/html"}


def test_a_function_may_write_the_alt_text():
    explorable = explore(blank, alt=lambda decay: "fades" if decay < 1 else "stays", decay=np.array([0.5, 1.0]))
    assert [frame.alt for frame in explorable.frames] == ["fades", "stays"]


def test_an_array_becomes_python_numbers_with_short_labels():
    seen = []

    def draw(rate):
        seen.append(rate)
        return blank()

    page = explore(draw, alt="{rate}", rate=np.linspace(0.1, 0.3, 3)).html
    assert [type(rate) for rate in seen] == [float] * 3
    assert [option.get_text() for option in BeautifulSoup(page, "html.parser")("option")] == [
        "0.1",
        "0.2",
        "0.3",
    ]


def test_sixty_frames_are_accepted_and_more_are_counted_before_any_is_drawn():
    assert len(explore(blank, alt="{a} {b}", a=range(6), b=range(10)).frames) == 60

    def never(**_):
        raise AssertionError("drawn")

    with pytest.raises(ValueError, match=r"make 61 frames \(a 61\), expected at most 60"):
        explore(never, alt="x", a=range(61))
    with pytest.raises(ValueError, match=r"make 66 frames \(a 6 x b 11\)"):
        explore(never, alt="x", a=range(6), b=range(11))


@pytest.mark.parametrize(
    ("draw", "alt", "axes", "error", "message"),
    [
        (blank, "x", {}, ValueError, "no axis"),
        (blank, "x", {"decay": []}, ValueError, "axis decay is empty"),
        (blank, "x", {"decay": 0.5}, TypeError, "axis decay is 0.5"),
        (blank, "x", {"kind": "tanh"}, TypeError, "axis kind is 'tanh'"),
        (blank, "x", {"decay": [0.1, 0.1]}, ValueError, "axis decay has values that read the same"),
        (lambda decay: None, "x", {"decay": [0.5]}, TypeError, r"draw\(decay=0.5\) returned NoneType"),
        (blank, " ", {"decay": [0.5]}, ValueError, r"alt\(decay=0.5\) is empty"),
        (blank, lambda decay: "", {"decay": [0.5]}, ValueError, r"alt\(decay=0.5\) is empty"),
        (blank, lambda decay: None, {"decay": [0.5]}, TypeError, r"alt\(decay=0.5\) returned NoneType"),
        (blank, "{dekay}", {"decay": [0.5]}, ValueError, r"alt asks for 'dekay'.*\['decay'\]"),
    ],
)
def test_a_mistake_is_named(draw, alt, axes, error, message):
    with pytest.raises(error, match=message):
        explore(draw, alt=alt, **axes)


def test_a_figure_made_without_pyplot_is_accepted():
    def draw(decay):
        fig = Figure(figsize=(1, 1))
        fig.subplots().plot([1, decay])
        return fig

    assert len(explore(draw, alt="{decay}", decay=DECAYS).frames) == 2
