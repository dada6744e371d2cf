"""The loss that keeps regions apart: those that show a class agree with it, spurious ones do not (RaVL, stage 2)."""

import dataclasses

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vlm_data.errors import CallError, unknown_name
from vlm_finetune.gather import first_row, gather_ragged, gather_rows
from vlm_finetune.losses.contrastive import contrastive
from vlm_finetune.losses.logits import scaled_cosines

REDUCTIONS = ("sum", "mean")
"""Over the images of a batch that have both a label and a region that is not spurious."""

LABEL_TERMS = ("distinct", "per-sample")
"""Whether a label counts once in the denominator of the first term, or once for every image of the batch."""


@dataclasses.dataclass(frozen=True)
class ScoredRegions:
    """Regions of a batch and what is known about them.

    Attributes:
        scores: (k, c) cosine of every region with every class, divided by the temperature.
        image_of: (k,) which image of the batch each region lies in.
        spurious: (k,) whether it holds the spurious feature.
        labels: (b,) class of every image, -1 where none is known.
    """

    scores: Float[Tensor, "k c"]
    image_of: Int64[Tensor, " k"]
    spurious: Bool[Tensor, " k"]
    labels: Int64[Tensor, " b"]

    def best(self) -> Float[Tensor, "b c"]:
        """Return the best score of each image's regions that are not spurious, -inf for an image without one."""
        kept = ~self.spurious
        rows = self.image_of[kept][:, None].expand(-1, self.scores.shape[1])
        lowest = self.scores.new_full((len(self.labels), self.scores.shape[1]), -torch.inf)
        return lowest.scatter_reduce(0, rows, self.scores[kept], "amax", include_self=True)


@dataclasses.dataclass(frozen=True)
class RegionTerms:
    """Terms of the region part, see `region_terms`.

    Attributes:
        to_label: (b,) L_R: how badly the regions of an image prefer its class to other classes; 0 without anchor.
        to_region: (b,) L_A: how badly its class prefers them to other images' and to spurious regions; 0 likewise.
        log_penalty: () log P of the spurious regions, -inf if there is none.
        anchors: (b,) images with a label and a region that is not spurious: the others have no terms.
    """

    to_label: Float[Tensor, " b"]
    to_region: Float[Tensor, " b"]
    log_penalty: Float[Tensor, ""]
    anchors: Bool[Tensor, " b"]

    def total(self, reduction: str) -> Float[Tensor, ""]:
        """Return the terms of all images together: their `sum`, or their `mean` over the anchors; 0 without any.

        Raises:
            CallError: for an unknown reduction.
        """
        check_choice("reduction", reduction, REDUCTIONS)
        total = (self.to_label + self.to_region).sum()
        return total if reduction == "sum" else total / self.anchors.sum().clamp(min=1)


def region_terms(regions: ScoredRegions, label_terms: str = "distinct") -> RegionTerms:
    """Return both terms of every image of a batch (Varma et al. 2024, section 4.1 and appendix C).

    With s the scores, m(i, c) the best score of image i for class c over its regions that are not spurious, S all
    spurious regions and Lab the labels of the batch:

    `P = sum_{r in S} exp max_{c in Lab} s(r, c)`
    `L_R(i) = -m(i, y_i) + log(sum_{c in Lab} exp m(i, c) + P)`
    `L_A(i) = -m(i, y_i) + log(exp m(i, y_i) + sum_{j: y_j != y_i} exp m(j, y_i) + sum_{r in S} exp s(r, y_i))`

    The paper is silent on images without a label or without a region that is not spurious: here they have no terms
    and are no negatives; a label they have belongs to Lab, and their spurious regions to S.

    Args:
        regions: of the whole batch.
        label_terms: `distinct`, the default: Lab is a set; `per-sample`: in L_R a class with n images counts n times.

    Raises:
        CallError: for unknown label terms.

    Example:
        >>> scores = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
        >>> image_of, spurious = torch.tensor([0, 1, 1]), torch.tensor([False, False, True])
        >>> found = region_terms(ScoredRegions(scores, image_of, spurious, torch.tensor([0, 1])))
        >>> found.to_label, found.to_region
        (tensor([0.4076, 0.4076]), tensor([0.4076, 0.2395]))
    """
    check_choice("label terms", label_terms, LABEL_TERMS)
    scores, labels = regions.scores, regions.labels
    known = labels >= 0
    best = regions.best()
    anchors = known & best.isfinite().all(dim=1)
    counts = torch.bincount(labels[known], minlength=scores.shape[1]).to(scores.dtype)
    penalised = scores[regions.spurious]
    # log 0 = -inf leaves a class that is no label of the batch out
    of_spurious = (penalised + counts.clamp(max=1).log()).amax(dim=1)
    log_penalty = torch.logsumexp(of_spurious, dim=0)
    nothing = scores.new_zeros(len(labels))
    if not anchors.any():
        return RegionTerms(nothing, nothing, log_penalty, anchors)

    own, asked = best[anchors], labels[anchors]
    positive = own.gather(1, asked[:, None]).squeeze(1)
    classes = own + (counts.clamp(max=1) if label_terms == "distinct" else counts).log()
    to_label = torch.logsumexp(torch.cat((classes, log_penalty.expand(len(own), 1)), dim=1), dim=1) - positive

    of_images = own[:, asked]  # (j, i): the best score of image j for the class of image i
    same_class = asked[:, None] == asked[None, :]
    others = of_images.masked_fill(same_class, -torch.inf)
    columns = torch.cat((positive[None, :], others, penalised[:, asked]))
    to_region = torch.logsumexp(columns, dim=0) - positive
    place = anchors.nonzero().squeeze(1)
    return RegionTerms(
        nothing.index_add(0, place, to_label), nothing.index_add(0, place, to_region), log_penalty, anchors
    )


def score_regions(
    region_features: Float[Tensor, "k d"],
    class_features: Float[Tensor, "c d"],
    labels: Int64[Tensor, " b"],
    image_of: Int64[Tensor, " k"],
    spurious: Bool[Tensor, " k"],
    temperature: float,
) -> ScoredRegions:
    """Return the regions of the batch of all processes with their scores, in float32 at least.

    Under several processes this is a collective call; each holds equally many images, but any number of regions.

    Args:
        region_features: (k, d) unit-norm rows of the own regions.
        class_features: (c, d) unit-norm text features of the classes.
        labels: (b,) class of every own image, -1 where none is known.
        image_of: (k,) which own image each region lies in.
        spurious: (k,) whether it holds the spurious feature.
        temperature: divides the cosines, for example 0.07.

    Raises:
        CallError: if the arrays do not fit together, or a number names no image or class.
    """
    _check_regions(region_features, class_features, labels, image_of, spurious)
    scores = scaled_cosines(region_features, class_features, 1 / temperature)
    own = torch.stack((image_of + first_row(len(labels)), spurious.to(image_of.dtype)), dim=1)
    everyone = gather_ragged(own)
    return ScoredRegions(gather_ragged(scores), everyone[:, 0], everyone[:, 1].bool(), gather_rows(labels))


def region_aware(
    image_features: Float[Tensor, "b d"],
    text_features: Float[Tensor, "b d"],
    region_features: Float[Tensor, "k d"],
    class_features: Float[Tensor, "c d"],
    labels: Int64[Tensor, " b"],
    image_of: Int64[Tensor, " k"],
    spurious: Bool[Tensor, " k"],
    *,
    temperature: float = 0.07,
    contrastive_weight: float = 0.8,
    reduction: str = "sum",
    label_terms: str = "distinct",
) -> Float[Tensor, ""]:
    """Return `lambda L_CL + (1 - lambda) sum_i (L_R(i) + L_A(i))`, the loss of region-aware fine-tuning.

    L_CL is `contrastive`, L_R and L_A are those of `region_terms` (Varma et al. 2024, RaVL, section 4.1). The printed
    sum grows with the batch, so at 128 images the region part weighs 32 times as much as it seems to; `mean` divides
    it by the number of anchors. With lambda = 1 the region part is not computed at all.

    Under several processes the mean of the values over processes is the loss of the whole batch, with its exact
    gradient (see `contrastive`).

    Args:
        image_features: (b, d) unit-norm rows of whole images.
        text_features: (b, d) unit-norm rows of their captions.
        region_features: (k, d) unit-norm rows of the images' regions; an image may have none.
        class_features: (c, d) unit-norm text features of the classes.
        labels: (b,) class of every image, -1 where its caption names none.
        image_of: (k,) which image each region lies in, in any order.
        spurious: (k,) whether it holds the spurious feature.
        temperature: tau, divides all cosines.
        contrastive_weight: lambda in [0, 1].
        reduction: one of `REDUCTIONS`.
        label_terms: one of `LABEL_TERMS`.

    Returns:
        () >= 0.

    Raises:
        CallError: if the arrays do not fit together, or a choice is unknown.

    Example:
        >>> eye, image_of = torch.eye(2), torch.tensor([0, 1])
        >>> region_aware(eye, eye, eye, eye, image_of, image_of, torch.tensor([False, False]), temperature=1.0)
        tensor(0.5013)
    """
    check_choice("reduction", reduction, REDUCTIONS)
    check_choice("label terms", label_terms, LABEL_TERMS)
    of_pairs = contrastive_weight * contrastive(image_features, text_features, 1 / temperature)
    if contrastive_weight == 1:
        return of_pairs
    regions = score_regions(region_features, class_features, labels, image_of, spurious, temperature)
    return of_pairs + (1 - contrastive_weight) * region_terms(regions, label_terms).total(reduction)


def check_choice(kind: str, name: str, known: tuple[str, ...]) -> None:
    """Raise unless a name is one of those known.

    Raises:
        CallError: offers the nearest.
    """
    if name not in known:
        raise unknown_name(kind, name, known)


def _check_regions(regions: Tensor, classes: Tensor, labels: Tensor, image_of: Tensor, spurious: Tensor) -> None:
    counts = (len(regions), len(image_of), len(spurious))
    if len(set(counts)) > 1 or regions.ndim != 2 or classes.ndim != 2 or regions.shape[1] != classes.shape[1]:
        raise CallError(
            f"regions do not fit together: features {tuple(regions.shape)} against classes {tuple(classes.shape)}, "
            f"{counts[1]} images and {counts[2]} flags. Expected (k, d) against (c, d), with k images and k flags."
        )
    for kind, numbers, low, high in (("image_of", image_of, 0, len(labels)), ("labels", labels, -1, len(classes))):
        if len(numbers) and not (low <= int(numbers.min()) and int(numbers.max()) < high):
            raise CallError(
                f"{kind} goes from {int(numbers.min())} to {int(numbers.max())}; expected numbers from {low} to "
                f"{high - 1}: each names one of {high} {'images' if kind == 'image_of' else 'classes'}."
            )
