"""Colours and markers of the figures, and figures as inline SVG that follow the page's colour scheme.

Hues are spaced after Okabe and Ito's colour-blind safe set, each in two lightnesses with a contrast of
at least 3:1, against white paper and against the dark page. A method also has a marker of its own, so
that no two methods are told apart by colour alone.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

__all__ = [
    "GRID", "INK", "MUTED", "PAPER", "Style", "as_variable", "bare", "css_variables", "inline_svg", "settings",
    "spare_styles", "styles",
]  # fmt: skip

INK, MUTED, GRID, PAPER = "#1c2128", "#606873", "#e4e7eb", "#fefefe"
_INK_DARK, _MUTED_DARK, _GRID_DARK, _PAPER_DARK = "#e6e9ee", "#9aa3af", "#30363f", "#1b1f26"


@dataclass(frozen=True)
class Style:
    """How a method looks in every figure: colour on paper, colour on the dark page, matplotlib marker."""

    colour: str
    dark: str
    marker: str


_METHODS = {
    "qgf": Style("#0069b4", "#56aee8", "o"),
    "vgf": Style("#cc4c02", "#f58a4b", "s"),
    "qpilots_u": Style("#00805f", "#2fc79c", "D"),
    "qpilots_m": Style("#a24bb0", "#dc95ea", "^"),
    "a_vgf": Style("#a87000", "#efb43a", "v"),
    "grad_step": Style("#5746af", "#a79af5", "P"),
    "best_of_n": Style("#5a6270", "#b9c1cc", "X"),
    "best_of_16": Style("#4a5260", "#a9b3c0", "x"),
    "qgf_jacobian": Style("#1489a6", "#63cfe6", ">"),
    "qfql": Style("#9b1c31", "#ff7a85", "<"),
    "bptt": Style("#6d7a12", "#c3cf5c", "p"),
    "qpilots_g": Style("#7b5ea7", "#b79be0", "d"),
    "cfgrl": Style("#b5338a", "#f08acb", "*"),
    "ifql": Style("#37474f", "#b0bec5", "H"),
    "idql": Style("#33691e", "#9ccc65", "8"),
    "reference": Style("#2b2f36", "#d7dce3", "o"),
    "robust_q": Style("#84532a", "#d3a47a", "h"),
}
# Language methods look like the control method they correspond to; no figure shows both kinds.
_LANGUAGE = {
    "hidden": "qgf",
    "gumbel": "vgf",
    "hidden_gumbel": "bptt",
    "embedding": "qpilots_u",
    "logits": "grad_step",
    "expected": "qgf_jacobian",
    "tilt": "a_vgf",
    "random": "robust_q",
    "temperature": "qpilots_m",
    "length": "cfgrl",
}
_SPARE = (Style("#c2185b", "#ff7fb0", "1"), Style("#1b5e20", "#81c784", "2"), Style("#4e342e", "#bcaaa4", "3"))


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """A style a method name: fixed for known methods, and for others as long as no two of them clash."""
    chosen: dict[str, Style] = {}
    for name in dict.fromkeys(methods):
        if (known := _LANGUAGE.get(name, name)) in _METHODS:
            chosen[name] = _METHODS[known]
            continue
        start = zlib.crc32(name.encode())  # unlike hash(), the same in every process
        order = [_SPARE[(start + i) % len(_SPARE)] for i in range(len(_SPARE))] + list(_METHODS.values())
        chosen[name] = next((style for style in order if style not in chosen.values()), order[0])
    return chosen


def spare_styles(count: int) -> list[Style]:
    """Styles for things that are not methods, such as runs: neighbours differ in colour and marker."""
    known = list(_METHODS.values())
    return [known[i % len(known)] for i in range(count)]


def _variables() -> dict[str, tuple[str, str, str]]:
    """Colour on paper -> (CSS variable, colour on paper, colour on the dark page)."""
    roles = {
        INK: ("ink", INK, _INK_DARK),
        MUTED: ("muted", MUTED, _MUTED_DARK),
        GRID: ("grid", GRID, _GRID_DARK),
        PAPER: ("paper", PAPER, _PAPER_DARK),
    }
    for number, style in enumerate((*_METHODS.values(), *_SPARE)):
        roles[style.colour] = (f"series-{number}", style.colour, style.dark)
    return {colour: (f"--{name}", light, dark) for colour, (name, light, dark) in roles.items()}


def css_variables(*, dark: bool) -> str:
    """Declarations of all colours, such as ``--ink:#1c2128;``, for one colour scheme."""
    return "".join(f"{name}:{night if dark else day};" for name, day, night in _variables().values())


def as_variable(colour: str) -> str:
    """The CSS expression of a colour of this module."""
    return f"var({_variables()[colour][0]})"


def settings(**changes: Any) -> Any:
    """Context with the settings figures are made and saved under, whatever the user's matplotlibrc says."""
    fixed: dict[Any, Any] = {"font.family": ["DejaVu Sans"], "svg.fonttype": "none", "path.simplify": True}
    names_are_names: dict[Any, Any] = {"text.usetex": False, "text.parse_math": False}  # a dollar sign is just that
    return matplotlib.rc_context(fixed | names_are_names | changes)


def bare(ax: Axes) -> None:
    """Only what carries information: a light horizontal grid and the bottom line."""
    ax.set_facecolor("none")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(MUTED)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(colors=MUTED, labelsize=8.5, length=3, width=0.8)
    ax.tick_params(axis="y", length=0)


def inline_svg(figure: Figure, description: str, salt: str) -> str:
    """A figure as an ``<svg>`` element to put into a page.

    Text stays text, in the page's font; colours of this module become CSS variables; nothing of it
    reaches out of the element (matplotlib's style sheet, metadata and numbered ids are dropped).

    Args:
        figure: made and drawn within :func:`settings`.
        description: read out in place of the picture.
        salt: different for every figure of a page, so that their ids are.
    """
    file = io.StringIO()
    for patch in (figure.patch, *(ax.patch for ax in figure.axes)):
        patch.set_facecolor("none")
    with settings(**{"svg.hashsalt": salt}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})  # savefig would draw everything twice
    svg = file.getvalue()
    box = re.search(r'viewBox="([\d. ]+)"', svg)
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r' id="[a-zA-Z0-9.]+_\d+"', "", body)
    for colour in _variables():
        body = body.replace(colour, as_variable(colour))
    view = box[1] if box else "0 0 1 1"
    return f'<svg viewBox="{view}" role="img" aria-label="{escape(description)}">{body}'
