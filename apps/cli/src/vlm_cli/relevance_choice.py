"""What is explained, and by which rule: flags of the commands that make relevance maps."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from vlm_cli import options

if TYPE_CHECKING:
    from vlm_explain.relevance import RelevanceOptions
    from vlm_models.classifier import Classifier

REFERENCE = "reference"

relevance_options = options.several(
    click.option("--method", help="attention, grad-cam, rollout or another, see the docs.  [default: as the tower is]"),
    click.option("--layers", help="last, all, or the first layer: 1 the first, -3 the third last.  [default: last]"),
    click.option("--target", help="label, prediction, contrast or class:NAME.  [default: label]"),
    click.option("--scalar", help="logit, cosine or probability of the target.  [default: logit]"),
    click.option(
        "--preset",
        type=click.Choice([REFERENCE]),
        help="The published choice: last layer for zero-shot heads, all layers for trained ones.",
    ),
)


@dataclasses.dataclass(frozen=True)
class RelevanceChoice:
    """What the user said about relevance maps; None where nothing was said."""

    method: str | None
    layers: str | None
    target: str | None
    scalar: str | None
    preset: str | None

    def check(self) -> None:
        """Refuse unknown names, and choices without effect, before any model is loaded.

        Raises:
            CallError: if there is one.
        """
        from vlm_explain.relevance import RelevanceOptions
        from vlm_explain.relevance.options import check_effect

        options = RelevanceOptions(**self._given())
        if self.method:
            check_effect(options.method, self._given())

    @property
    def needs_labels(self) -> bool:
        """Whether the relevance is that for the true class."""
        from vlm_explain.relevance import RelevanceOptions

        return RelevanceOptions(**self._given()).needs_labels

    def of(self, model: "Classifier") -> "RelevanceOptions":
        """Return the options for one model: what was not said follows from its tower, or from the preset.

        Raises:
            CallError: if the method that suits the tower takes no notice of a choice.
        """
        from vlm_explain.relevance import RelevanceOptions, reference_options
        from vlm_explain.relevance.options import check_effect
        from vlm_explain.relevance.suitable import suitable_method

        start = reference_options(model) if self.preset else RelevanceOptions(method=suitable_method(model.encoder))
        chosen = dataclasses.replace(start, **self._given())
        check_effect(chosen.method, self._given())
        return chosen

    def of_classes(self, model: "Classifier", classes: Sequence[str], labelled: bool) -> "list[RelevanceOptions]":
        """Return the options for every class that is to be explained; for the label, or else the prediction, if none.

        Args:
            model: the classifier.
            classes: names; may be empty.
            labelled: whether the true class of the images is known.
        """
        start = self.of(model)
        if classes:
            return [dataclasses.replace(start, target=f"class:{name}") for name in classes]
        return [start if self.target or labelled else dataclasses.replace(start, target="prediction")]

    def _given(self) -> dict[str, str]:
        found = {name: getattr(self, name) for name in ("method", "layers", "target", "scalar")}
        return {name: value for name, value in found.items() if value is not None}


def relevance_choice_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags, which reach the command as one `RelevanceChoice` called `relevance`."""

    @functools.wraps(command)
    def with_choice(
        *,
        method: str | None,
        layers: str | None,
        target: str | None,
        scalar: str | None,
        preset: str | None,
        **others: Any,
    ) -> Any:
        if preset and (layers or method):
            raise click.UsageError(
                f"--preset {preset} says which layers of which method are used; leave out --layers and --method."
            )
        return command(relevance=RelevanceChoice(method, layers, target, scalar, preset), **others)

    return relevance_options(with_choice)
