"""Linear probe as logistic regression: L-BFGS to the optimum, for every strength of regularisation."""

import dataclasses
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from vlm_data.errors import CallError, listing
from vlm_finetune.head_search import Candidate, Past, SearchData
from vlm_finetune.recipe import TrainingSettings
from vlm_finetune.settings import within
from vlm_models.classifier import LinearHead

MOVES_TOWERS = False
"""There is nothing in it that low-rank adapters could stand in for."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of `linear-probe-lbfgs`; it reads none of the table `[training]`, and draws nothing.

    Attributes:
        c_low: smallest C, the inverse strength of the L2 penalty, `1/2 ||W||^2 + C sum_i CE_i`.
        c_high: largest C.
        c_count: values of C in between, evenly in the logarithm; 1 = `c_low` only.
        max_iterations: of L-BFGS for each C.
        tolerance: largest component of the gradient at the optimum.
        feature_norm: length that features are brought to; the penalty depends on it. 0 = their mean length in training,
            so that C means what it means for raw features.
    """

    c_low: float = within(0.1, 0, closed="(]")
    c_high: float = within(100.0, 0, closed="(]")
    c_count: int = within(100, 1)
    max_iterations: int = within(200, 1)
    tolerance: float = within(1e-4, 0, closed="(]")
    feature_norm: float = within(0.0, 0, note=" (0 = mean length)")

    def __post_init__(self) -> None:
        # Downwards, of equally good C the first would be the largest and not the smallest.
        if self.c_low > self.c_high:
            raise CallError(
                f"c_low is {self.c_low:g}, more than c_high, {self.c_high:g}; expected the smallest C of the search "
                "and the largest. Change one of them."
            )


def search(config: Config, training: TrainingSettings, data: SearchData, past: Past) -> Iterator[Candidate]:
    """Yield the optimum for every C in increasing order, each started from the one before (the probe of FLYP).

    Kept is the C with the best ID validation accuracy, of equal ones the smallest. A head here normalises features, so
    they are fitted at one length (`feature_norm`), which the weights of the head then contain.

    Raises:
        CallError: if a class has no training image, or there are several C and no labelled validation image.
    """
    _check(config, data)
    norm = config.feature_norm or data.train.features.norm(dim=1).mean().item()
    solver = LogisticRegression(max_iter=config.max_iterations, tol=config.tolerance, warm_start=True)
    rows = (norm * functional.normalize(data.train.features.double())).cpu().numpy()
    last, best = past.last, max((facts.get("val_accuracy", 0.0) for facts in past.facts), default=-1.0)
    strengths = np.geomspace(config.c_low, config.c_high, config.c_count)
    for c in strengths[len(past.facts) :]:
        solver.C = float(c)
        last = _fit(solver, rows, data, norm, last)
        iterations = int(solver.n_iter_.max())
        facts = {"c": float(c), "iterations": iterations, "converged": iterations < config.max_iterations}
        facts |= data.val.judge(last)
        is_better = facts.get("val_accuracy", 0.0) > best
        best = max(best, facts.get("val_accuracy", 0.0))
        yield Candidate(last, facts, is_better)


def _check(config: Config, data: SearchData) -> None:
    seen = set(data.train.labels.tolist())
    without = [name for label, name in enumerate(data.class_names) if label not in seen]
    if without or len(data.class_names) < 2:
        what = f"{listing(without)} have no training image" if without else "there is one class only"
        raise CallError(
            f"logistic regression needs at least two classes, each with an image, but {what}. Add images, raise "
            "--limit, or take --method linear-probe."
        )
    if config.c_count > 1 and not len(data.val.labels):
        raise CallError(
            f"{config.c_count} values of C cannot be compared: no validation image has a label. Label some, or name "
            "one value: --set method.c_count=1 --set method.c_low=1.0."
        )


def _fit(
    solver: LogisticRegression, rows: np.ndarray, data: SearchData, norm: float, start: LinearHead | None
) -> LinearHead:
    """Return the optimum on these rows as a head, searched from another head, as it is read from a file after a pause.

    Of two classes the solver keeps the difference of their weights; the head has half of it, with opposite signs.
    """
    if start is not None:
        weight, bias = (tensor.cpu().numpy() for tensor in (start.weight.detach() / norm, start.bias.detach()))
        binary = len(weight) == 2
        solver.classes_ = np.arange(len(weight))
        solver.coef_, solver.intercept_ = (weight[1:] - weight[:1], bias[1:] - bias[:1]) if binary else (weight, bias)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is told with every candidate
        solver.fit(rows, data.train.labels.cpu().numpy())
    weight, bias = torch.from_numpy(solver.coef_) * norm, torch.from_numpy(solver.intercept_)
    if len(data.class_names) == 2:
        weight, bias = (torch.cat([-part / 2, part / 2]) for part in (weight, bias))
    return LinearHead(weight, bias).to(data.train.features.device)
