"""Soups of fine-tuned models: made one model at a time, chosen on ID validation, evaluated on ID test and shifts."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from torch import Tensor

from vlm_data.benchmark import Benchmark, EvaluationSet
from vlm_data.dataset import UNLABELLED
from vlm_data.errors import CallError, VlmDataError
from vlm_data.files import text_hash
from vlm_data.progress import Progress, silent
from vlm_data.tables import Predictions
from vlm_eval.evaluation import evaluation_sets, predictions_folder
from vlm_eval.mixable import check_mixable
from vlm_eval.prediction import file_stem, predict_sets
from vlm_eval.rows import Row
from vlm_eval.scores import score_tables
from vlm_models.classifier import LINEAR, ZERO_SHOT, Classifier
from vlm_models.soups import GreedySoup, greedy_soup, held_out_order, uniform_soup
from vlm_models.weight_space import State
from vlm_models.zero_shot import zero_shot_head

UNIFORM, GREEDY = "uniform", "greedy"


class Ingredients:
    """Models that are read one after the other, and one working copy that takes the weights of any mean of them.

    If every model has a zero-shot head, that of a mean is built again from its text tower; else heads are averaged.

    Args:
        specs: of the models; the first is the working copy, and what the others must fit.
        load: reads one of them as a classifier for the benchmark.

    Raises:
        CallError: if there are fewer than two different models.
    """

    def __init__(self, specs: Sequence[str], load: Callable[[str], Classifier]) -> None:
        self.specs = tuple(dict.fromkeys(specs))
        if len(self.specs) < 2:
            raise CallError(
                f"a soup of {' and '.join(specs) or 'nothing'} is no mean of models; expected at least two different "
                "model specs, fine-tuned from one start."
            )
        self._load = load
        self._work = load(self.specs[0]).eval()
        self._rebuilds_head = self._work.head_kind == ZERO_SHOT

    def read(self, spec: str) -> Classifier:
        """Read one model.

        Raises:
            CheckpointError, CallError: if it does not fit the first one, see `check_mixable`; names both.
        """
        model = self._load(spec)
        check_mixable(self._work, model)
        if model.head_kind != ZERO_SHOT:
            self._rebuilds_head, self._work.head_kind = False, LINEAR
        return model

    def mean(self, state: State) -> Classifier:
        """Return the working copy with these weights; valid until the next call, after every model was read once."""
        self._work.load_state_dict(dict(state))
        if self._rebuilds_head:
            head = zero_shot_head(self._work.encoder, self._work.class_names, self._work.templates)
            self._work.head.load_state_dict(head.state_dict())
        return self._work


@dataclasses.dataclass(frozen=True)
class Soup:
    """A soup, how it was chosen, and what it is worth.

    Attributes:
        model: the soup that was asked for.
        rows: of the uniform soup, the greedy soup and the best single model, on ID validation, ID test and shifts.
        held_out: ID validation accuracy of every single model, by spec; empty without labelled validation images.
        ingredients: specs of the models in `model`, of a greedy soup in the order they were taken.
        tried: for a greedy soup, the spec that every candidate added, with its ID validation accuracy.
    """

    model: Classifier
    rows: list[Row]
    held_out: dict[str, float]
    ingredients: tuple[str, ...]
    tried: tuple[tuple[str, float], ...] = ()

    @property
    def best(self) -> str | None:
        """The single model with the best ID validation accuracy, of equal ones the last; None where that is unknown."""
        return list(self.held_out)[held_out_order(list(self.held_out.values()))[0]] if self.held_out else None


class SoupEvaluation:
    """Makes and evaluates the soups of one set of models on one benchmark.

    Args:
        specs: of the models.
        load: reads one of them as a classifier for the benchmark.
        benchmark: what to choose and to evaluate on.
        out: folder for tables of predictions, shared with those of single models; what is there from the same weights
            and data is not computed again.
        batch_size: of each process.
        progress: told about batches.
    """

    def __init__(
        self,
        specs: Sequence[str],
        load: Callable[[str], Classifier],
        benchmark: Benchmark,
        out: Path,
        *,
        batch_size: int = 256,
        progress: Progress = silent,
    ) -> None:
        self.ingredients = Ingredients(specs, load)
        self.specs = self.ingredients.specs
        self._benchmark, self._out = benchmark, out
        self._batch_size, self._progress = batch_size, progress
        self._sets = evaluation_sets(benchmark)
        val = EvaluationSet(benchmark.name, "id", benchmark.val)
        self._val = [val] if (benchmark.val.labels != UNLABELLED).any() else []
        self.folder = out / f"soup-{text_hash(*self.specs)}-on-{file_stem(benchmark.name)}"

    def make(self, method: str = GREEDY) -> Soup:
        """Make the uniform soup, and with `greedy` that one too; evaluate them beside the best single model.

        Every model is read once for its own ID validation accuracy and the mean of all; a greedy soup reads each once
        more. The test sets are read for the two soups and the best single model only, after the choice.

        Raises:
            VlmDataError: if a greedy soup is asked for and no validation image has a label.
            CheckpointError, CallError: if models do not fit together.
        """
        if method == GREEDY and not self._val:
            raise VlmDataError(
                "a greedy soup cannot be chosen: there are no labelled validation images. Label the validation split, "
                "or take the mean of all models with --method uniform."
            )
        held_out: dict[str, float] = {}
        uniform = uniform_soup(self._states(held_out))
        greedy = self._greedy(list(held_out.values())) if method == GREEDY else None
        rows = self._soup_rows(uniform, UNIFORM) + (self._soup_rows(greedy.state, GREEDY) if greedy else [])
        model = self.ingredients.mean(greedy.state if greedy else uniform)
        if greedy is None:
            soup = Soup(model, rows, held_out, self.specs)
        else:
            order = held_out_order(list(held_out.values()))
            tried = zip((self.specs[i] for i in order[1:]), greedy.tried, strict=True)
            soup = Soup(model, rows, held_out, tuple(self.specs[i] for i in greedy.ingredients), tuple(tried))
        if soup.best is not None:
            tables = self._predict(self.ingredients.read(soup.best), self._sets, self._folder_of(soup.best))
            soup.rows.extend(score_tables(tables))
        return soup

    def _states(self, held_out: dict[str, float]) -> Iterator[State]:
        """Read every model, note its held-out accuracy, and give its weights away."""
        for spec in self.specs:
            model = self.ingredients.read(spec)
            for table in self._predict(model, self._val, self._folder_of(spec)):
                held_out[spec] = labelled_accuracy(table)
            yield model.state_dict()

    def _greedy(self, held_out: Sequence[float]) -> GreedySoup:
        def score(state: dict[str, Tensor]) -> float:
            return labelled_accuracy(self._predict(self.ingredients.mean(state), self._val)[0])

        def reader(spec: str) -> Callable[[], State]:
            return lambda: self.ingredients.read(spec).state_dict()

        return greedy_soup([reader(spec) for spec in self.specs], score, held_out)

    def _soup_rows(self, state: State, method: str) -> list[Row]:
        model = self.ingredients.mean(state)
        tables = self._predict(model, self._sets, self.folder / method, name=f"soup-{method}")
        return score_tables(tables, run=self.folder)

    def _folder_of(self, spec: str) -> Path:
        return predictions_folder(self._out, spec, self._benchmark)

    def _predict(
        self, model: Classifier, sets: Sequence[EvaluationSet], out: Path | None = None, name: str | None = None
    ) -> list[Predictions]:
        return predict_sets(model, sets, out, name=name, batch_size=self._batch_size, progress=self._progress)


def labelled_accuracy(table: Predictions) -> float:
    """Return the share of labelled samples that are classified rightly, in [0, 1].

    Example:
        >>> import numpy as np
        >>> logits = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
        >>> labelled_accuracy(Predictions(("a", "b"), np.array([0, -1]), logits))
        1.0
    """
    return float(table.correct[table.labels != UNLABELLED].mean())
