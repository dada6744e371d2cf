"""The decision for every image: does the relevance fall on the evidence."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from vlm_data.dataset import UNLABELLED
from vlm_data.errors import CallError
from vlm_data.tables import Rationales
from vlm_data.tables.rationales import EMPTY, FLAT, NO_EVIDENCE, OK
from vlm_explain.rationale.measures import AREA, MASS, OVERLAP_MEASURES, POINTING, overlap_measures
from vlm_explain.rationale.rule import Rule

_AT_ONCE = 32
"""Images whose pixels are sorted together: all of a batch would take gigabytes, fewer gain nothing."""


def judge(
    maps: Tensor | np.ndarray,
    evidence: Tensor | np.ndarray,
    rule: Rule | str = "mass>=0.5",
    *,
    ids: Sequence[str] | None = None,
    labels: Int64[np.ndarray, " n"] | None = None,
    predicted: Int64[np.ndarray, " n"] | None = None,
    known: Bool[np.ndarray, " n"] | None = None,
    flat: Bool[np.ndarray, " n"] | None = None,
    meta: Mapping[str, str] | None = None,
    further: Mapping[str, Float64[np.ndarray, " n"]] | None = None,
) -> Rationales:
    """Return the table of rationales of some relevance maps.

    An image is rational if its measure reaches the threshold; a tie is enough. Never rational are images without
    evidence, with evidence outside of what the model sees (mass 0), and with a flat map: the status tells which.

    Args:
        maps: (n, h, w) relevance per pixel, not negative; NaN everywhere, or the same value everywhere, is flat.
        evidence: (n, h, w) masks, True or 1 where a right answer should rest.
        rule: the decision, as `Rule` or as `MEASURE>=NUMBER`.
        ids: one unique name per image; numbers by default.
        labels: index of the true class; unknown by default.
        predicted: index of the predicted class; unknown by default.
        known: is there evidence for the image; all by default. Masks of the others are not looked at.
        flat: maps that are known to be undefined, beside those found here.
        meta: strings that say where the table comes from; `rule` is added.
        further: measures of the images that were computed elsewhere, such as `insertion`.

    Raises:
        CallError: if shapes do not fit, evidence is not 0 or 1, or relevance is negative or not finite.

    Example:
        >>> maps = np.array([[[0.0, 1.0], [1.0, 2.0]], [[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
        >>> table = judge(maps, maps > 1)
        >>> table.rational.tolist(), table.measures["mass"].tolist(), table.status
        ([True, False, False], [0.5, 0.0, 0.0], ('ok', 'empty-evidence', 'empty-evidence'))
    """
    rule = Rule.parse(rule) if isinstance(rule, str) else rule
    overlap = measure(maps, evidence, known=known, flat=flat)
    count = len(overlap.status)
    unknown = np.full(count, UNLABELLED)
    return decide(
        Rationales(
            tuple(map(str, range(count))) if ids is None else tuple(ids),
            unknown if labels is None else np.asarray(labels, dtype=np.int64),
            unknown if predicted is None else np.asarray(predicted, dtype=np.int64),
            {**overlap.measures, **(further or {})},
            overlap.status,
            np.zeros(count, dtype=bool),
            dict(meta or {}),
        ),
        rule,
    )


def decide(table: Rationales, rule: Rule) -> Rationales:
    """Return the table with the decisions of a rule, which needs the stored measures only.

    Raises:
        CallError: if the table lacks the measure.

    Example:
        >>> table = judge(np.array([[[0.0, 1.0], [1.0, 2.0]]]), np.array([[[0, 0], [0, 1]]]))
        >>> [bool(decide(table, Rule("mass", threshold)).rational[0]) for threshold in (0.5, 0.6)]
        [True, False]
    """
    if rule.measure not in table.measures:
        raise CallError(
            f"the table holds {', '.join(sorted(table.measures))}, but not {rule.measure}, which the rule {rule} "
            "needs. Choose another rule, or make the rationales again."
        )
    defined = np.array([word == OK for word in table.status], dtype=bool)
    reached = table.measures[rule.measure] >= rule.threshold  # false for NaN
    return dataclasses.replace(table, rational=defined & reached, meta={**table.meta, "rule": str(rule)})


@dataclasses.dataclass(frozen=True)
class Overlap:
    """How maps lie on evidence.

    Attributes:
        measures: all of `OVERLAP_MEASURES`, NaN where they are undefined.
        status: one of `vlm_data.tables.rationales.STATUSES` per image.
    """

    measures: Mapping[str, Float64[np.ndarray, " n"]]
    status: tuple[str, ...]


def measure(
    maps: Tensor | np.ndarray,
    evidence: Tensor | np.ndarray,
    *,
    known: Bool[np.ndarray, " n"] | None = None,
    flat: Bool[np.ndarray, " n"] | None = None,
) -> Overlap:
    """Return all measures of overlap and the status of every image, see `judge`.

    On a GPU the measures are computed there.

    Raises:
        CallError: as for `judge`.
    """
    relevance, masks = _as_tensor(maps), _as_tensor(evidence)
    _check_shapes(relevance, masks, known, flat)
    if relevance.device.type == "mps":
        relevance = relevance.cpu()  # it knows no float64
    masks = _as_masks(masks).to(relevance.device)
    undefined = _flat(relevance)
    parts = [
        overlap_measures(some, these)
        for some, these in zip(relevance.split(_AT_ONCE), masks.split(_AT_ONCE), strict=True)
    ]
    measures = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in OVERLAP_MEASURES}
    told = np.ones(len(relevance), dtype=bool) if known is None else np.asarray(known, dtype=bool)
    undefined = undefined.cpu().numpy() | (False if flat is None else np.asarray(flat, dtype=bool))
    empty = measures[AREA] == 0
    _blank(measures, told, undefined, empty)
    status = np.select([~told, empty, undefined], [NO_EVIDENCE, EMPTY, FLAT], OK)
    return Overlap(measures, tuple(status.tolist()))


def _as_tensor(values: Tensor | np.ndarray) -> Tensor:
    return values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))  # any strides


def _blank(measures: dict[str, np.ndarray], known: np.ndarray, flat: np.ndarray, empty: np.ndarray) -> None:
    """Set to NaN what is undefined; empty evidence has no relevance on it, whatever the map."""
    for name, values in measures.items():
        if name != AREA:
            values[flat] = np.nan
        if name in (MASS, POINTING):
            values[empty] = 0.0
        values[~known] = np.nan


def _flat(maps: Tensor) -> Tensor:
    """Return which maps have no largest value; the same everywhere or undefined.

    Raises:
        CallError: if others hold what is no relevance.
    """
    low, high = maps.amin(dim=(1, 2)), maps.amax(dim=(1, 2))
    undefined = maps.isnan().all(dim=2).all(dim=1)
    strange = ~undefined & ~((low >= 0) & high.isfinite())
    if strange.any():
        first = int(strange.nonzero()[0, 0])
        raise CallError(
            f"{int(strange.sum())} relevance maps hold negative or infinite values or some that are not numbers; map "
            f"{first} lies between {float(low[first]):g} and {float(high[first]):g}. Expected values of 0 or more; "
            "vlm_explain.relevance.heatmap.heat_maps stretches maps of any scale to [0, 1]."
        )
    return undefined | (low == high)


def _as_masks(evidence: Tensor) -> Bool[Tensor, "n h w"]:
    if evidence.dtype == torch.bool:
        return evidence
    masks = evidence == 1
    if not (masks | (evidence == 0)).all():
        low, high = float(evidence.min()), float(evidence.max())
        raise CallError(
            f"the evidence holds values from {low:g} to {high:g}; expected True and False, or 1 and 0: with other "
            "weights, mass is no share. Choose what counts as evidence first, for example `evidence >= 128`."
        )
    return masks


def _check_shapes(maps: Tensor, masks: Tensor, known: np.ndarray | None, flat: np.ndarray | None) -> None:
    if maps.ndim != 3 or not maps.numel():
        raise CallError(f"relevance maps of shape {tuple(maps.shape)}; expected (n, height, width) with at least one.")
    if not maps.is_floating_point():
        raise CallError(f"relevance maps of type {maps.dtype}; expected floating-point values.")
    if maps.shape != masks.shape:
        raise CallError(
            f"relevance maps of shape {tuple(maps.shape)} and evidence of shape {tuple(masks.shape)} do not fit; "
            "expected one mask per map, of the same height and width. vlm_data.evidence_batches.evaluation_masks "
            "brings evidence to the size of the model's input."
        )
    for name, values in (("known", known), ("flat", flat)):
        if values is not None and np.shape(values) != (len(maps),):
            raise CallError(f"{name} has shape {np.shape(values)} for {len(maps)} maps; expected one value each.")
