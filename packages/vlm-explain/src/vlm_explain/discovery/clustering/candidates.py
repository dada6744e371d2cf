"""How many clusters to try."""

import numpy as np

from vlm_data.errors import CallError


def candidate_counts(classes: int, *, most: int | None = None) -> tuple[int, ...]:
    """Return the numbers of clusters to try for a problem of `classes` classes: 2L up to 5L - 1, as published.

    Args:
        classes: L, at least 1.
        most: no more than so many numbers, spread geometrically between the ends; None for every whole number, which
            for 1000 classes means 3000 clusterings.

    Raises:
        CallError: for less than one class or number.

    Example:
        >>> candidate_counts(10)[:3], candidate_counts(10)[-1], candidate_counts(10, most=5)
        ((20, 21, 22), 49, (20, 25, 31, 39, 49))
    """
    if classes < 1 or (most is not None and most < 1):
        raise CallError(
            f"{classes} classes and at most {most} candidates were asked for; expected one class and one candidate at "
            "least. Set them to 1 or more."
        )
    every = range(2 * classes, 5 * classes)
    if most is None or most >= len(every):
        return tuple(every)
    return tuple(sorted({round(float(count)) for count in np.geomspace(every[0], every[-1], most)}))
