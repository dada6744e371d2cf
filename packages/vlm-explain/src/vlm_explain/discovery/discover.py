"""From regions and answers to ranked spurious features: stage 1 of RaVL, with a test and a floor."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float64, Int64

from vlm_data.errors import CallError, listing
from vlm_data.tables import Predictions, Regions
from vlm_explain.discovery.clustering import Clustering, candidate_counts, cluster
from vlm_explain.discovery.discovery import Discovery
from vlm_explain.discovery.judgement import Judgement, judge_clusters
from vlm_explain.discovery.options import DiscoveryOptions
from vlm_explain.discovery.reasons import reason_for_nothing
from vlm_explain.discovery.statistics import Answers, ClusterStatistics, cluster_statistics
from vlm_explain.discovery.telling import findings
from vlm_models.classifier import unnamed_classes


def discover(
    regions: Regions,
    predictions: Predictions,
    options: DiscoveryOptions = DiscoveryOptions(),  # noqa: B008  (frozen)
    *,
    class_names: Sequence[str] = (),
) -> Discovery:
    """Find clusters of regions that one class wins by and another loses by: spurious features.

    Regions are clustered by their embeddings; each cluster is judged by how the accuracy of each class differs between
    images with and without it (Varma et al., RaVL, NeurIPS 2024, section 3). Whatever passes the strategy must further
    not be tied to the class itself in these images, reach the least gap both ways and be significant, so that nothing
    is found where nothing is. Images without a label are left out with their regions; images without regions count as
    images without any cluster.

    Args:
        regions: with embeddings and logits; in any order, every one in an image of the predictions.
        predictions: of the same model on images in which the tie does not hold, with labels.
        options: thresholds, strategy, clustering.
        class_names: of the columns of logits; numbers where they are not given.

    Raises:
        CallError: if regions lack embeddings or logits, lie in images without predictions, or have other classes, or
            logits of the predictions are not finite or their labels no columns of them.
    """
    names = tuple(class_names) or unnamed_classes(predictions.logits.shape[1])
    rows = _rows(regions, predictions, names)
    labelled = predictions.labelled
    order = np.argsort(rows, kind="stable")
    order = order[labelled[rows[order]]]
    if not len(order):
        raise CallError(
            f"none of {len(regions)} regions lies in an image with a label ({labelled.sum()} of {len(predictions)} "
            "images have one). Expected regions of labelled images: gaps are differences of accuracy."
        )
    kept = regions.select(order)
    image_of = (np.cumsum(labelled) - 1)[rows[order]]
    made, told, notes = _clustering(kept, len(names), options)
    logits = predictions.logits[labelled]
    answers = Answers(predictions.labels[labelled], logits.argmax(axis=1), _softmax(logits))
    assert kept.logits is not None  # checked with the rows
    statistics = cluster_statistics(answers, image_of, made.labels, _softmax(kept.logits))
    medoids = made.medoids[statistics.ids]
    judgement = judge_clusters(statistics, options)
    notes += _notes(statistics, int((~labelled).sum()))
    notes += _other_weights(regions.meta, predictions.meta)
    return _told(kept, statistics, judgement, medoids, names, options, notes, told)


def _told(
    kept: Regions,
    statistics: ClusterStatistics,
    judgement: Judgement,
    medoids: Int64[np.ndarray, " C"],
    names: tuple[str, ...],
    options: DiscoveryOptions,
    notes: tuple[str, ...],
    clustering: dict[str, object],
) -> Discovery:
    assert kept.embeddings is not None
    clusters = findings(statistics, judgement, medoids, kept.embeddings, names, options)
    top = statistics.ids[judgement.order[0]] if len(judgement.order) else None
    ids = statistics.ids[statistics.position]
    if clusters and clusters[0].rank and clusters[0].is_absence:
        notes += (
            f"the best finding is that cluster {clusters[0].cluster} is absent: its regions show what is there when "
            "the feature is not. Do not fine-tune away from them.",
        )
    marked = kept.replace(clusters=ids, spurious=ids == top if top is not None else np.zeros(len(ids), dtype=bool))
    scores = None if kept.labels is None else kept.logits  # where they can be right or wrong, somebody will ask
    return Discovery(
        clusters,
        "" if top is not None else reason_for_nothing(statistics, judgement, options),
        notes,
        names,
        len(statistics.answers.labels),
        marked.replace(embeddings=None, logits=scores),
        marked.select(medoids),
        options,
        clustering,
    )


def _rows(regions: Regions, predictions: Predictions, names: tuple[str, ...]) -> Int64[np.ndarray, " k"]:
    """Return the row of the image of each region, after checking that the two tables belong together."""
    if regions.embeddings is None or regions.logits is None:
        raise CallError(
            "the regions have no embeddings or no logits; discovery clusters the former and reads answers from the "
            "latter. Expected regions that a model has seen: vlm_models.region_tables.embed_regions."
        )
    sizes = {"predictions": predictions.logits.shape[1], "regions": regions.logits.shape[1], "names": len(names)}
    if len(set(sizes.values())) > 1:
        raise CallError(f"the numbers of classes differ: {sizes}. Expected regions and predictions of one model.")
    _check_labels(regions, predictions, len(names))
    broken = np.flatnonzero(~np.isfinite(predictions.logits).all(axis=1))
    if len(broken):
        raise CallError(
            f"the answers on {len(broken)} of {len(predictions)} images are no finite numbers: "
            f"{listing([predictions.ids[row] for row in broken], 3)}. Expected logits; make the predictions again."
        )
    rows = regions.rows_of(predictions.ids)
    strange = [regions.image_ids[row] for row in np.flatnonzero(rows < 0)]
    if strange:
        raise CallError(
            f"{len(strange)} of {len(rows)} regions lie in images without predictions: {listing(strange, 3)}. Expected "
            "regions and predictions of the same data set and split; make one of them again, or leave these regions "
            "out."
        )
    return rows


def _check_labels(regions: Regions, predictions: Predictions, classes: int) -> None:
    """Raise unless every label is a column of the logits, or -1."""
    labels = predictions.labels[predictions.labelled]
    if labels.min(initial=0) < 0 or labels.max(initial=0) >= classes:
        raise CallError(
            f"the labels of the predictions go from {labels.min()} to {labels.max()}; expected 0 to {classes - 1}, "
            "the columns of the logits, or -1 for none. Make the predictions again."
        )
    shown = regions.labels if regions.labels is not None else labels
    if shown.max(initial=0) >= classes:
        raise CallError(
            f"the regions tell the label {shown.max()}; expected 0 to {classes - 1}, the columns of their logits, or "
            "-1 for none. Correct the table."
        )


def _clustering(
    regions: Regions, classes: int, options: DiscoveryOptions
) -> tuple[Clustering, dict[str, object], tuple[str, ...]]:
    """Return the clustering, what there is to tell about it, and remarks."""
    assert regions.embeddings is not None
    unit = regions.embeddings / np.linalg.norm(regions.embeddings, axis=1, keepdims=True)
    counts = options.candidates or candidate_counts(classes, most=options.most_candidates)
    choice = cluster(unit, candidates=counts, method=options.method, silhouette=options.silhouette, seed=options.seed)
    told: dict[str, object] = {"method": choice.method, "silhouette": choice.silhouette}
    told |= {"candidates": list(choice.candidates), "silhouettes": list(choice.scores), "count": choice.count}
    notes = []
    if choice.at_edge:
        notes.append(
            f"{choice.count} clusters fit best, the {'least' if choice.count == choice.candidates[0] else 'most'} that "
            "were tried: a better number may lie beyond."
        )
    if choice.score <= 0:
        notes.append(f"the regions form no clear clusters: the best mean silhouette is {choice.score:.2f}.")
    return choice.clustering, told, tuple(notes)


def _notes(statistics: ClusterStatistics, left_out: int) -> tuple[str, ...]:
    """Return remarks about images that the reader might not expect."""
    n = len(statistics.answers.labels)
    per_image = np.bincount(statistics.image_of, minlength=n)
    notes = []
    if left_out:
        notes.append(f"{left_out} images have no label and were left out.")
    if empty := int((per_image == 0).sum()):
        notes.append(f"{empty} of {n} images have no region; they count as images without any cluster.")
    if single := int((per_image == 1).sum()):
        notes.append(f"{single} of {n} images have one region only; influence needs two and leaves them out.")
    return tuple(notes)


def _other_weights(regions: Mapping[str, str], predictions: Mapping[str, str]) -> tuple[str, ...]:
    """Return a remark if the tables tell that they come from two models; mixtures have hashes of their own kind."""
    seen, answered = (meta.get("weights_hash") for meta in (regions, predictions))
    if not seen or not answered or seen == answered:
        return ()
    return (
        f"regions and predictions tell different weights ({seen} and {answered}): unless they are the same model saved "
        "in two ways, influence compares two models.",
    )


def _softmax(logits: Float[np.ndarray, "n c"]) -> Float64[np.ndarray, "n c"]:
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
