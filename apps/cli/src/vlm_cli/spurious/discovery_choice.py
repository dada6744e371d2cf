"""What counts as a finding, and how it is looked for: flags of `vlm spurious discover`."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from vlm_cli import options

if TYPE_CHECKING:
    from vlm_explain.discovery import DiscoveryOptions

REFERENCE, AUTO = "reference", "auto"
_FLAGS = {
    "strategy": "strategy",
    "clustering": "method",
    "silhouette": "silhouette",
    "min_gap": "minimum_gap",
    "influence": "influence",
    "level": "level",
    "permutations": "permutations",
    "seed": "seed",
}
"""Names of flags, and of the fields of `DiscoveryOptions` that they set."""

_flags = options.several(
    click.option("--strategy", help="How clusters are scored: ravl, trove or another, see the docs.  [default: ravl]"),
    click.option("--min-gap", type=float, help="Smallest difference of accuracies that counts.  [default: 0.05]"),
    click.option("--influence", type=float, help="Least share of errors a cluster speaks for.  [default: 0.25]"),
    click.option(
        "--level", type=float, help="Chance of finding something where nothing is; 1 does not test.  [default: 0.05]"
    ),
    click.option("--permutations", type=int, help="Of the answers, for the test.  [default: 1000]"),
    click.option(
        "--clusters", help="Numbers of clusters to try, with commas.  [default: 8 from 2 to 5 times the classes]"
    ),
    click.option("--clustering", help="auto, alternate, mini-batch or another, see the docs.  [default: auto]"),
    click.option("--silhouette", help="auto, exact, closed-form or sampled.  [default: auto]"),
    click.option("--seed", type=int, help="Of clustering and permutations.  [default: 0]"),
    click.option(
        "--preset",
        type=click.Choice([REFERENCE]),
        help="The published choice: every number of clusters, no test, no smallest difference.",
    ),
)


def discovery_choice_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags, which reach the command as one call `chosen` that makes the `DiscoveryOptions`.

    They are made late, because their module imports NumPy, which `--help` need not.
    """

    @functools.wraps(command)
    def with_choice(*, preset: str | None, clusters: str | None, **others: Any) -> Any:
        given = {field: others.pop(flag) for flag, field in _FLAGS.items()}
        given["candidates"] = _numbers(clusters)
        return command(chosen=functools.partial(_options, preset, given), **others)

    return _flags(with_choice)


def _options(preset: str | None, given: dict[str, Any]) -> "DiscoveryOptions":
    import dataclasses

    from vlm_explain.discovery import DiscoveryOptions, reference_options

    start = reference_options() if preset else DiscoveryOptions()
    return dataclasses.replace(start, **{name: value for name, value in given.items() if value is not None})


def _numbers(text: str | None) -> tuple[int, ...] | None:
    """Read numbers of clusters separated by commas.

    Raises:
        BadParameter: for anything else.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(
            f"{text!r} is no list of numbers of clusters. Expected whole numbers from 1, for example 20,30,40.",
            param_hint="--clusters",
        )
    return tuple(int(part) for part in parts)
