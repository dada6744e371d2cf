"""The smallest singular values of feature correlations, several models on one axis."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vlm_eval.plots.style import INK, SERIES_COLOURS, SERIES_MARKERS, plain
from vlm_eval.summary import ZERO_SHOT


def draw_tails(axes: Axes, tails: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Draw the tail of every model: one colour for each kind, one line for each of its seeds.

    Args:
        axes: where to draw.
        tails: descending singular values of each member, by kind; those of `zero-shot` are dotted.
    """
    place = 0
    for name, members in tails.items():
        is_start = name == ZERO_SHOT
        for number, tail in enumerate(members):
            axes.plot(
                range(len(tail), 0, -1),
                tail,
                color=INK if is_start else SERIES_COLOURS[place % len(SERIES_COLOURS)],
                marker=None if is_start else SERIES_MARKERS[place % len(SERIES_MARKERS)],
                markersize=3,
                linewidth=1.6 if is_start else 1.1,
                linestyle=":" if is_start else "-",
                alpha=0.85,
                zorder=4 if is_start else 3,
                label=plain(name) if number == 0 else "_",
            )
        place += not is_start
    axes.invert_xaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.set(
        xlabel="k",
        ylabel="k-th smallest singular value",
        title="correlation of image features on ID images:\nsmallest singular values",
    )
