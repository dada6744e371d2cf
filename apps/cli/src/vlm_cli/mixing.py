"""Which rule mixes two models: flags of `vlm interpolate`, and the library calls they stand for."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vlm_cli import options
from vlm_cli.console import Console

if TYPE_CHECKING:
    from vlm_data.benchmark import Benchmark
    from vlm_eval.interpolation.mixtures import Mixture
    from vlm_eval.rows import Row
    from vlm_models.classifier import Classifier

mixing_options = options.several(
    click.option("--fisher", is_flag=True, help="Weigh every weight by its Fisher information on training images."),
    click.option("--fisher-samples", type=click.IntRange(min=1), help="Images to estimate it on.  [default: 512]"),
    click.option("--fisher-floor", type=click.FloatRange(min=0), help="Smallest information.  [default: 1e-8]"),
    click.option(
        "--layers",
        multiple=True,
        metavar="PART=ALPHA",
        help="An alpha for a part of the model alone, such as encoder.clip.visual=0.2; may be repeated. The rest has "
        "the alphas of --alphas.",
    ),
    click.option(
        "--ensemble",
        type=click.Choice(["outputs", "probabilities"]),
        help="Mix what the two models say instead of their weights: both have to run then.",
    ),
)


@dataclasses.dataclass(frozen=True)
class Mixing:
    """A checked choice of the flags above; without any of them weights are interpolated plainly."""

    fisher: bool
    fisher_samples: int | None
    fisher_floor: float | None
    layers: dict[str, float]
    ensemble: str | None

    def mixture(
        self, ends: "tuple[Classifier, Classifier]", benchmark: "Benchmark", folder: Path, console: Console
    ) -> "Mixture":
        """Return the rule; Fisher information is estimated now, or read from `folder`."""
        from vlm_eval.interpolation.mixtures import PLAIN, by_fisher, by_layer

        if self.layers:
            return by_layer(self.layers, *ends)
        if not self.fisher:
            return PLAIN
        numbers: dict[str, Any] = {"samples": self.fisher_samples, "floor": self.fisher_floor}
        numbers = {name: value for name, value in numbers.items() if value is not None}
        return by_fisher(*ends, benchmark.train, folder, progress=console.progress, **numbers)

    def evaluate(
        self,
        ends: "tuple[Classifier, Classifier]",
        benchmark: "Benchmark",
        alphas: list[float],
        folder: Path,
        mixture: "Mixture",
        **how: Any,
    ) -> "list[Row]":
        """Return the scores at every alpha."""
        from vlm_eval.evaluation import interpolate_models
        from vlm_eval.merging.ensembles import evaluate_ensembles

        if self.ensemble:
            return evaluate_ensembles(*ends, benchmark, alphas, self.ensemble, folder, **how)
        return interpolate_models(*ends, benchmark, alphas, folder, mixture=mixture, **how)


def read_mixing(values: dict[str, Any], saves: bool) -> Mixing:
    """Check the flags against each other.

    Raises:
        UsageError: if two rules are asked for, or one model of an ensemble.
        BadParameter: if a part has no alpha in [0, 1], or two.
    """
    layers = [_layer(text) for text in values["layers"]]
    twice = sorted({part for part, _ in layers if [name for name, _ in layers].count(part) > 1})
    if twice:
        raise click.BadParameter(f"{twice[0]} has two alphas; expected one for every part.", param_hint="--layers")
    mixing = Mixing(**{**values, "layers": dict(layers)})
    asked = [f"--{name}" for name in ("fisher", "layers", "ensemble") if getattr(mixing, name)]
    if len(asked) > 1:
        raise click.UsageError(f"{' and '.join(asked)} are different rules for one mixture; expected one of them.")
    if not mixing.fisher and (mixing.fisher_samples, mixing.fisher_floor) != (None, None):
        raise click.UsageError(
            "--fisher-samples and --fisher-floor belong to --fisher; give it, too, or leave them out."
        )
    if mixing.ensemble and saves:
        raise click.UsageError(
            "an ensemble is two models and cannot be saved as one; leave out --save, or mix weights without --ensemble."
        )
    return mixing


def _layer(text: str) -> tuple[str, float]:
    part, equals, value = text.rpartition("=")
    alpha = options.parse_alpha(value.strip(), "--layers") if equals else None
    if alpha is None or not part.strip():
        raise click.BadParameter(
            f"{text!r} is no part with an alpha; write PART=ALPHA, such as encoder.clip.visual=0.2.",
            param_hint="--layers",
        )
    return part.strip(), alpha
