"""Whether maps can be trusted: `vlm explain --check`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vlm_cli.console import Console
from vlm_cli.image_choice import ImagesToExplain

if TYPE_CHECKING:
    from vlm_explain.checking import MapChecks
    from vlm_explain.relevance import RelevanceOptions
    from vlm_models.classifier import Classifier


def check_models(
    chosen: ImagesToExplain,
    models: "Mapping[str, Classifier]",
    options: "Mapping[str, Sequence[RelevanceOptions]]",
    console: Console,
) -> "dict[str, MapChecks]":
    """Return both checks of every model and target, by words for them."""
    from vlm_data.loading import evaluation_batches
    from vlm_explain.checking import check_maps

    found = {}
    for name, model in models.items():
        count = len(chosen.dataset)
        (batch,) = evaluation_batches(chosen.dataset, model.encoder.preprocess, count, workers=0)
        labels = batch.labels if chosen.labelled else None
        for how in options[name]:
            words = f"{name}: {how.method}, {how.target}"
            found[words] = check_maps(model, batch.images, labels, how, progress=console.progress)
    return found


def show_checks(found: "Mapping[str, MapChecks]", console: Console) -> None:
    """Print the tables and the verdicts."""
    for words, checks in found.items():
        random, deletion = checks.randomisation, checks.deletion
        rows = [
            [stage, _number(rank), _number(structure), str(flat)]
            for stage, rank, structure, flat in zip(
                random.stages, random.rank_correlation, random.structural_similarity, random.flat, strict=True
            )
        ]
        heads = ("weights randomised down to", "rank correlation", "structural similarity", "undefined maps")
        caption = "with the maps of the trained model, means over images; maps of different images: "
        caption += f"{_number(random.between_images)}"
        console.table(f"{words}: do maps depend on the weights?", heads, rows, caption)
        parts = {"deletion": deletion.deletion, "insertion": deletion.insertion}
        rows = [
            [name, _number(one.by_map), _number(one.at_random), f"{_number(one.low)}..{_number(one.high)}"]
            for name, one in parts.items()
        ]
        heads = ("area under the curve of", "by the map", "in random order", "difference, 95 %")
        caption = "of the probability of the explained class; deletion: low is good, insertion: high is good"
        console.table(f"{words}: does the answer depend on the maps?", heads, rows, caption)
        console.text("\n".join(checks.verdicts) + "\n")


def _number(value: float) -> str:
    return f"{value:.3f}"
