"""Figures that answer to sliders, in a live notebook and in a page that has no kernel."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import math
import numbers
from collections.abc import Callable, Iterable
from functools import cached_property
from html import escape
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

MAX_FRAMES = 60
"""A page carries every frame, so an explorable has at most this many."""

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

# White behind the picture and a little padding keep it readable on dark ground.
_PICTURE_STYLE = (
    "display:block;box-sizing:border-box;max-width:100%;height:auto;padding:4px;background:#fff;border-radius:4px"
)

# The frames wait in a script of a type that no browser runs: a viewer that drops scripts then shows the first
# frame alone. An output may be inserted, and its script run, more than once: each copy is set up once.
_SCRIPT = """
for (const root of document.querySelectorAll('[data-explorable="@KEY@"]')) {
  if (root.explorable) continue;
  root.explorable = true;
  const image = root.querySelector("img");
  const controls = [...root.querySelectorAll("input, select")];
  const rest = document.createElement("template");
  rest.innerHTML = root.querySelector("script").textContent;
  const frames = [image.cloneNode(), ...rest.content.children];
  const show = () => {
    let index = 0;
    for (const control of controls) {
      const options = (control.list || control).options;
      const label = options[control.value].label;
      index = index * options.length + Number(control.value);
      if (control.list) {
        control.setAttribute("aria-valuetext", label);
        root.querySelector(`output[for="${control.id}"]`).value = label;
      }
    }
    image.src = frames[index].getAttribute("src");
    image.alt = frames[index].alt;
  };
  for (const control of controls) control.addEventListener("input", show);
  for (const type of ["mousedown", "keydown", "click"])
    root.addEventListener(type, (event) => event.stopPropagation());
  show();
  root.querySelector("[data-controls]").hidden = false;
}
"""


class Frame(NamedTuple):
    """One picture of an explorable: a palette PNG and the text that stands for it."""

    png: bytes
    alt: str

    @property
    def html(self) -> str:
        """The frame as an `<img>` that holds its own bytes."""
        data = base64.b64encode(self.png).decode()
        return f'<img src="data:image/png;base64,{data}" alt="{escape(self.alt)}" style="{_PICTURE_STYLE}">'


class Explorable:
    """What `explore` returns: displayed, it is sliders over figures; see there."""

    def __init__(self, draw: Callable[..., Figure], alt: str | Callable[..., str], axes: dict[str, list[Any]]):
        self.draw = draw
        self.alt = alt
        self.axes = axes
        self.frames = [self.frame(**dict(zip(axes, point, strict=True))) for point in itertools.product(*axes.values())]

    def __repr__(self) -> str:
        return f"Explorable({', '.join(f'{name}: {len(values)} values' for name, values in self.axes.items())})"

    def frame(self, **values: Any) -> Frame:
        """Draw one frame now.

        Args:
            values: one value per axis.
        Returns: the frame; the figure is closed.
        Raises:
            TypeError: `draw` returned no Figure, or `alt` no string.
            ValueError: the alt text is empty, or names what is no axis.
        """
        call = f"({', '.join(f'{name}={value!r}' for name, value in values.items())})"
        figure = self.draw(**values)
        if not isinstance(figure, Figure):
            raise TypeError(f"draw{call} returned {type(figure).__name__}, expected a matplotlib Figure")
        try:
            return Frame(_palette_png(figure), self._alt_text(values, call))
        finally:
            plt.close(figure)

    def _alt_text(self, values: dict[str, Any], call: str) -> str:
        try:
            text = self.alt.format(**values) if isinstance(self.alt, str) else self.alt(**values)
        except (KeyError, IndexError) as error:
            raise ValueError(f"alt asks for {error}, expected one of the axes {list(values)}") from error
        if not isinstance(text, str):
            raise TypeError(f"alt{call} returned {type(text).__name__}, expected a string")
        if not text.strip():
            raise ValueError(f"alt{call} is empty, expected a sentence that says what the figure shows")
        return text

    @cached_property
    def html(self) -> str:
        """The static face: the first frame, hidden controls, and the script that brings them to life."""
        controls = [_control(f"@KEY@-{place}", name, values) for place, (name, values) in enumerate(self.axes.items())]
        first, *rest = [frame.html for frame in self.frames]
        page = "\n".join(
            [
                '<figure data-explorable="@KEY@" data-lm-suppress-shortcuts="true" style="margin:0">',
                first,
                "<div data-controls hidden>",
                *controls,
                "</div>",
                '<script type="text/html">' + "\n".join(rest) + "</script>",
                "</figure>",
                f"<script>{_SCRIPT}</script>",
            ]
        )
        return page.replace("@KEY@", f"explorable-{hashlib.sha256(page.encode()).hexdigest()[:12]}")

    @cached_property
    def widget(self) -> Any:
        """The live face: an ipywidgets box of the picture and one slider per axis; moving one draws anew.

        Raises: ImportError: ipywidgets is not installed.
        """
        import ipywidgets

        # An HTML widget, since the Image widget has no alt text.
        picture = ipywidgets.HTML(self.frames[0].html)
        sliders = {
            name: ipywidgets.SelectionSlider(
                options=list(zip(_labels(values), values, strict=True)),
                description=_title(name),
                style={"description_width": "initial"},
                continuous_update=False,
            )
            for name, values in self.axes.items()
        }

        def show(_: object) -> None:
            picture.value = self.frame(**{name: slider.value for name, slider in sliders.items()}).html

        for slider in sliders.values():
            slider.observe(show, "value")
        return ipywidgets.VBox([picture, *sliders.values()])

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        bundle = {"text/plain": repr(self), "text/html": self.html}
        try:
            model_id = self.widget.model_id
        except ImportError:
            return bundle
        return bundle | {WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": model_id}}


def explore(draw: Callable[..., Figure], /, *, alt: str | Callable[..., str], **axes: Iterable[Any]) -> Explorable:
    """Let the reader move through the figures that `draw` makes, one slider per axis.

    The result has two faces. With a kernel it is live: ipywidgets sliders that call `draw`. Without one it is
    plain HTML that carries every frame and needs no network. Both start at the first value of each axis.

    Args:
        draw: called as `draw(**values)` with one value per axis; returns a new matplotlib Figure.
        alt: what each figure shows, for readers who do not see it: a format string over the axes, such as
            `"recall after {steps} steps"`, or a function of the same values that returns the text.
        axes: the values of each axis, in order; underscores in the name are shown as spaces. Arrays and
            tensors become Python numbers. Values that are not all numbers get a drop-down list on the static
            page.
    Raises:
        TypeError: an axis is no sequence; `draw` returns no Figure; `alt` gives no string.
        ValueError: no axis, an empty one, one whose values read the same, more than 60 frames, or an
            alt text that is empty or asks for what is no axis.

    Example:
        >>> def draw(decay):
        ...     fig, ax = plt.subplots()
        ...     ax.plot([decay**step for step in range(20)])
        ...     return fig
        >>> explore(draw, alt="A memory that decays by {decay} a step.", decay=[0.5, 0.7, 0.9])
        Explorable(decay: 3 values)
    """
    lists = {name: _values(name, values) for name, values in axes.items()}
    if not lists:
        raise ValueError("explore got no axis, expected at least one, such as decay=[0.5, 0.9]")
    count = math.prod(map(len, lists.values()))
    if count > MAX_FRAMES:
        sizes = " x ".join(f"{name} {len(values)}" for name, values in lists.items())
        raise ValueError(f"the axes make {count} frames ({sizes}), expected at most {MAX_FRAMES}")
    return Explorable(draw, alt, lists)


def _values(name: str, values: Any) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"axis {name} is {values!r}, expected a sequence of values")
    found = values.tolist() if hasattr(values, "tolist") else list(values)
    if not found:
        raise ValueError(f"axis {name} is empty, expected at least one value")
    labels = _labels(found)
    if len(set(labels)) < len(labels):
        raise ValueError(f"axis {name} has values that read the same: {labels}, expected distinct ones")
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _labels(values: Iterable[Any]) -> list[str]:
    """Short text for each value: six significant digits, but whole integers."""
    return [
        f"{value:g}" if _is_number(value) and not isinstance(value, numbers.Integral) else str(value)
        for value in values
    ]


def _title(name: str) -> str:
    return name.replace("_", " ")


def _control(key: str, name: str, values: list[Any]) -> str:
    """One labelled row: a range slider over numbers, a drop-down list over anything else."""
    labels = _labels(values)
    options = "".join(f'<option value="{place}">{escape(label)}</option>' for place, label in enumerate(labels))
    if all(map(_is_number, values)):
        # The slider runs over positions, so its spoken value is set. The output need not repeat it aloud.
        control = (
            f'<input type="range" id="{key}" list="{key}-values" min="0" max="{len(values) - 1}" value="0"'
            f' aria-valuetext="{escape(labels[0])}" autocomplete="off" style="flex:1 1 8em;max-width:20em">'
            f'<output for="{key}" aria-live="off" style="min-width:3em">{escape(labels[0])}</output>'
            f'<datalist id="{key}-values">{options}</datalist>'
        )
    else:
        control = f'<select id="{key}" autocomplete="off" style="max-width:100%">{options}</select>'
    return (
        '<div style="display:flex;flex-wrap:wrap;align-items:center;gap:0 .75em;margin:.4em 0">'
        f'<label for="{key}">{escape(_title(name))}</label>{control}</div>'
    )


def _palette_png(figure: Figure) -> bytes:
    """The figure at its own size and dpi, as a PNG of 64 colours: with 32, heat maps show steps."""
    full, small = io.BytesIO(), io.BytesIO()
    # Not "tight", even where a style says so: frames cropped to their content would jump.
    with plt.rc_context({"savefig.bbox": "standard"}):
        figure.savefig(full, format="png", dpi="figure", facecolor="white")
    palette = Image.open(full).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    palette.save(small, format="png", optimize=True)
    return small.getvalue()
