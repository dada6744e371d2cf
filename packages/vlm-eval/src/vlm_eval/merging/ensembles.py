"""Mixtures of what two models say rather than of their weights: both have to run, which costs twice as much.

They need no pass over images beyond the tables of the two models. Where only heads differ, mixing logits is the same as
mixing weights; anywhere else these are other classifiers than the interpolated ones and never stand in for them.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from vlm_data.benchmark import Benchmark
from vlm_data.errors import CallError, unknown_name
from vlm_data.files import text_hash
from vlm_data.progress import Progress, silent
from vlm_data.tables import Predictions
from vlm_eval.evaluation import score_with_temperatures, validation_first
from vlm_eval.prediction import mixture_hash
from vlm_eval.rows import Row
from vlm_eval.sweep import evaluate_interpolations
from vlm_models.classifier import Classifier

OUTPUTS, PROBABILITIES = "outputs", "probabilities"
_NAMES = {OUTPUTS: "output-ensemble", PROBABILITIES: "probability-ensemble"}


def ensemble(zero_shot: Predictions, fine_tuned: Predictions, alpha: float, space: str = OUTPUTS) -> Predictions:
    """Return the predictions of an ensemble of two models on one data set.

    `outputs`: `(1 - alpha) z_0 + alpha z_1` of the logits (Wortsman et al. 2022, WiSE-FT, output-space ensemble).
    `probabilities`: `(1 - alpha) p_0 + alpha p_1` of their softmax, kept as logarithms, whose softmax it is. Where a
    data set merges classes, the classes of each model were merged before. Alpha 0 and 1 give the table of that model.

    Args:
        zero_shot: table of the model at alpha 0.
        fine_tuned: table of the model at alpha 1, of the same samples.
        alpha: weight of the latter, in [0, 1].
        space: `outputs` or `probabilities`.

    Raises:
        CallError: if the tables are of different samples, or there is no such space.

    Example:
        >>> tables = [Predictions(("a",), np.array([0]), np.array([z], dtype=np.float32)) for z in ([2, 0], [0, 4])]
        >>> ensemble(*tables, 0.5).logits, ensemble(*tables, 0.5, "probabilities").meta["model"]
        (array([[1., 2.]], dtype=float32), 'probability-ensemble')
    """
    if space not in _NAMES:
        raise unknown_name("space of an ensemble", space, list(_NAMES))
    if zero_shot.ids != fine_tuned.ids or zero_shot.logits.shape != fine_tuned.logits.shape:
        names = [table.meta.get("data", "?") for table in (zero_shot, fine_tuned)]
        raise CallError(
            f"tables of other samples or classes cannot be combined: {names[0]} and {names[1]}. Expected predictions "
            "of two models on the same images."
        )
    if alpha in (0.0, 1.0):
        return fine_tuned if alpha else zero_shot
    logits = _mixed(zero_shot.logits, fine_tuned.logits, alpha, space)
    hashes = [table.meta.get("weights_hash", "") for table in (zero_shot, fine_tuned)]
    own = {"model": _NAMES[space], "alpha": repr(float(alpha))}
    own["weights_hash"] = mixture_hash(hashes[0], hashes[1], alpha, _NAMES[space])
    return dataclasses.replace(fine_tuned, logits=logits, meta={**fine_tuned.meta, **own})


def _mixed(
    one: Float32[np.ndarray, "n c"], other: Float32[np.ndarray, "n c"], alpha: float, space: str
) -> Float32[np.ndarray, "n c"]:
    first, second = one.astype(np.float64), other.astype(np.float64)
    if space == PROBABILITIES:
        first, second = (z - np.logaddexp.reduce(z, axis=1, keepdims=True) for z in (first, second))
        return np.logaddexp(first + np.log1p(-alpha), second + np.log(alpha)).astype(np.float32)
    return ((1 - alpha) * first + alpha * second).astype(np.float32)


def random_choice(zero_shot: Predictions, fine_tuned: Predictions, alpha: float, seed: int = 0) -> Predictions:
    """Return predictions that take each sample from the fine-tuned model with probability alpha.

    The reference that an ensemble has to beat: its accuracy is that of the two models, mixed. The draw of a sample
    depends on the seed and its id only.

    Raises:
        CallError: if the tables are of different samples.

    Example:
        >>> tables = [Predictions(("a",), np.array([0]), np.array([z], dtype=np.float32)) for z in ([2, 0], [0, 4])]
        >>> random_choice(*tables, 1.0).logits
        array([[0., 4.]], dtype=float32)
    """
    mixed = ensemble(zero_shot, fine_tuned, alpha)
    draws = np.array([int(text_hash(str(seed), name), 16) / 16**16 for name in mixed.ids])
    logits = np.where(draws[:, None] < alpha, fine_tuned.logits, zero_shot.logits)
    return dataclasses.replace(mixed, logits=logits, meta={**mixed.meta, "model": "random-choice"})


def evaluate_ensembles(
    zero_shot: Classifier,
    fine_tuned: Classifier,
    benchmark: Benchmark,
    alphas: Sequence[float],
    space: str,
    out: Path | None = None,
    *,
    batch_size: int = 256,
    progress: Progress = silent,
) -> list[Row]:
    """Evaluate ensembles of two models at every alpha, on the test sets and the ID validation set of a benchmark.

    Args:
        zero_shot: the model at alpha 0.
        fine_tuned: the model at alpha 1.
        benchmark: what to evaluate on.
        alphas: weights of the fine-tuned model.
        space: see `ensemble`.
        out: folder for the tables of the two models, shared with those of their interpolations, and `run` of the rows.
        batch_size: of each process.
        progress: told about batches.
    """
    ends = evaluate_interpolations(
        zero_shot,
        fine_tuned,
        validation_first(benchmark),
        (0.0, 1.0),
        out=out,
        batch_size=batch_size,
        progress=progress,
    )
    return score_with_temperatures(_ensembles(ends, alphas, space), out)


def _ensembles(ends: Iterable[Predictions], alphas: Sequence[float], space: str) -> Iterator[Predictions]:
    """Yield the tables of every alpha from those of both ends, which come in pairs."""
    pairs = iter(ends)
    for start, end in zip(pairs, pairs, strict=True):
        yield from (ensemble(start, end, alpha, space) for alpha in alphas)
