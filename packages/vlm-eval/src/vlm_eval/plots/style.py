"""How every figure of the house looks: colours that colour-blind readers can tell apart, fonts, percent axes."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

INK = "#1b1f24"
"""Text, axes and whatever else follows the colour of the text around an inlined figure."""
PAPER = "#fefefe"
"""Edges that separate marks from each other; follows the background of the page."""

MODEL_COLOURS = {"zero-shot": "#0072b2", "fine-tuned": "#d55e00", "interpolated": "#009e73"}
MODEL_MARKERS = {"zero-shot": "s", "fine-tuned": "o", "interpolated": "D"}
GROUP_COLOURS = {"id": INK, "natural": "#aa4499", "corruption": "#8a7000"}
GROUP_LINES = {"id": ":", "natural": "-", "corruption": "--"}
SERIES_COLOURS = ("#aa4499", "#0072b2", "#d55e00", "#009e73", "#8a7000", "#5b7f95", "#c0504d", "#7b5ea7")
SERIES_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

METRIC_NAMES = {"accuracy": "accuracy", "ece": "ECE"}

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "legend.labelspacing": 0.7,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "white",
    "figure.facecolor": "white",
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.14,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "svg.fonttype": "path",
    "svg.hashsalt": "vlm",
    "path.simplify": False,
}


@contextlib.contextmanager
def house_style() -> Iterator[None]:
    """Draw and save inside this block: it sets the style of the house and leaves matplotlib's settings as they were.

    A user's own matplotlibrc has no influence, so equal data give equal bytes.

    Example:
        >>> import matplotlib
        >>> with house_style():
        ...     matplotlib.rcParams["font.size"]
        9.0
        >>> matplotlib.rcParams["svg.hashsalt"] is None
        True
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A name may be in any script; a box in the picture is no reason to disturb whoever runs this.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure without pyplot, so that nothing global keeps it.

    Args:
        width: inches.
        height: inches.
    """
    return Figure(figsize=(width, height), layout="constrained")


def percent_axis(axes: Axes, which: str) -> None:
    """Label the ticks of one axis of fractions in per cent.

    Args:
        axes: whose axis.
        which: `x` or `y`.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda fraction, _: f"{round(100 * fraction, 6):g} %"))


def legend_below(axes: Axes, columns: int) -> None:
    """Put the legend under the axes, where it hides no data whatever the data are."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        axes.get_figure(root=False).legend(handles, labels, loc="outside lower center", ncols=columns)  # type: ignore[union-attr]


def plain(text: str) -> str:
    r"""Return text that matplotlib shows as it is instead of reading mathematics between dollar signs.

    Example:
        >>> print(plain("$5 and $6"))
        \$5 and \$6
    """
    return text.replace("$", r"\$")


def group_colour(group: str) -> str:
    """Return the colour of a group of data sets; one for all groups without a colour of their own.

    Example:
        >>> group_colour("natural") != group_colour("corruption")
        True
    """
    return GROUP_COLOURS.get(group, "#5b7f95")
