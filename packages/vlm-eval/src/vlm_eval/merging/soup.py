"""Soups of fine-tuned models: made one model at a time, chosen on ID validation, evaluated on ID test and shifts."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from vlm_data.benchmark import Benchmark, EvaluationSet
from vlm_data.dataset import UNLABELLED
from vlm_data.errors import VlmDataError
from vlm_data.files import text_hash
from vlm_data.loading import epoch_order, training_batches
from vlm_data.progress import Progress, silent
from vlm_data.table_facts import file_stem
from vlm_data.tables import Predictions
from vlm_eval.evaluation import evaluation_sets, predictions_folder
from vlm_eval.merging.ingredients import Ingredients
from vlm_eval.prediction import predict_sets
from vlm_eval.rescaling import fitted_temperatures
from vlm_eval.rows import Row
from vlm_eval.scores import Scoring, score_tables
from vlm_models.classifier import Classifier
from vlm_models.learned_soup import EPOCHS, learned_soup
from vlm_models.soups import greedy_soup, held_out_order, uniform_soup
from vlm_models.weight_space import State

UNIFORM, GREEDY, LEARNED = "uniform", "greedy", "learned"
_LEARNING_BATCH = 64
"""Images per step of a learned soup at most: a validation split is small, and each epoch shall be many steps."""


@dataclasses.dataclass(frozen=True)
class Soup:
    """A soup, how it was chosen, and what it is worth.

    Attributes:
        model: the soup that was asked for.
        rows: of the uniform soup, the greedy or learned one and the best single model, on ID validation, ID test and
            shifts.
        held_out: ID validation accuracy of every single model, by spec; empty without labelled validation images.
        ingredients: specs of the models in `model`, of a greedy soup in the order they were taken.
        tried: for a greedy soup, the spec that every candidate added, with its ID validation accuracy.
        shares: for a learned soup, the mean share of every spec in the weights.
        scale: for a learned soup, what its logits are multiplied with; part of the head of `model`.
    """

    model: Classifier
    rows: list[Row]
    held_out: dict[str, float]
    ingredients: tuple[str, ...]
    tried: tuple[tuple[str, float], ...] = ()
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    scale: float = 1.0

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
        val = EvaluationSet(benchmark.name, "id", benchmark.val, metrics=benchmark.metrics)
        self._val = [val] if (benchmark.val.labels != UNLABELLED).any() else []
        self.folder = out / f"soup-{text_hash(*self.specs)}-on-{file_stem(benchmark.name)}"

    def make(self, method: str = GREEDY, per_tensor: bool = False) -> Soup:
        """Make the uniform soup and the one that is asked for; evaluate them beside the best single model.

        Every model is read once for its own ID validation accuracy and the mean of all; a greedy soup reads each once
        more, a learned one keeps all in memory. The test sets are read for the two soups and the best single model
        only, after the choice.

        Args:
            method: the soup to return.
            per_tensor: of a learned soup, a share for every tensor.

        Raises:
            VlmDataError: if a greedy or learned soup is asked for and no validation image has a label.
            CheckpointError, CallError: if models do not fit together.
        """
        if method != UNIFORM and not self._val:
            raise VlmDataError(
                f"a {method} soup cannot be chosen: there are no labelled validation images. Label the validation "
                "split, or take the mean of all models with --method uniform."
            )
        held_out: dict[str, float] = {}
        reading = self._states(held_out)
        states = list(reading) if method == LEARNED else []
        uniform = uniform_soup(states or reading)
        rows = self._soup_rows(self.ingredients.mean(uniform), UNIFORM)
        if method == LEARNED:
            soup = self._learned(states, held_out, per_tensor)
        elif method == GREEDY:
            soup = self._greedy(held_out)
        else:
            soup = Soup(self.ingredients.mean(uniform), [], held_out, self.specs)
        soup.rows[:0] = rows
        if soup.best is not None:
            tables = self._predict(self.ingredients.read(soup.best), self._sets, self._folder_of(soup.best))
            soup.rows.extend(_scored(tables))
        return soup

    def _states(self, held_out: dict[str, float]) -> Iterator[State]:
        """Read every model, note its held-out accuracy, and give its weights away."""
        for spec in self.specs:
            model = self.ingredients.read(spec)
            for table in self._predict(model, self._val, self._folder_of(spec)):
                held_out[spec] = labelled_accuracy(table)
            yield model.state_dict()

    def _greedy(self, held_out: dict[str, float]) -> Soup:
        def score(state: dict[str, Tensor]) -> float:
            return labelled_accuracy(self._predict(self.ingredients.mean(state), self._val)[0])

        def reader(spec: str) -> Callable[[], State]:
            return lambda: self.ingredients.read(spec).state_dict()

        scores = list(held_out.values())
        found = greedy_soup([reader(spec) for spec in self.specs], score, scores)
        model = self.ingredients.mean(found.state)
        tried = zip((self.specs[place] for place in held_out_order(scores)[1:]), found.tried, strict=True)
        taken = tuple(self.specs[place] for place in found.ingredients)
        return Soup(model, self._soup_rows(model, GREEDY), held_out, taken, tuple(tried))

    def _learned(self, states: Sequence[State], held_out: dict[str, float], per_tensor: bool) -> Soup:
        found = learned_soup(states, self.ingredients.network().logits, self._epoch, per_tensor=per_tensor)
        model = self.ingredients.mean(found.state, found.scale)
        shares = dict(zip(self.specs, found.shares, strict=True))
        rows = self._soup_rows(model, LEARNED)
        return Soup(model, rows, held_out, self.specs, shares=shares, scale=found.scale)

    def _epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the labelled validation images of one epoch, prepared as for evaluation, in an order of its own."""
        val = self._val[0].dataset
        labelled = np.flatnonzero(val.labels != UNLABELLED)
        order = labelled[epoch_order(len(labelled), 0, epoch)].tolist()
        size = min(self._batch_size, _LEARNING_BATCH)
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        for batch in training_batches(val, self.ingredients.preprocess, batches, seed=0, epoch=epoch):
            moved = batch.to(self.ingredients.device)
            yield moved.images, moved.labels
        self._progress("learning the shares, epoch", epoch + 1, EPOCHS)

    def _soup_rows(self, model: Classifier, method: str) -> list[Row]:
        tables = self._predict(model, self._sets, self.folder / method, name=f"soup-{method}")
        return _scored(tables, self.folder)

    def _folder_of(self, spec: str) -> Path:
        return predictions_folder(self._out, spec, self._benchmark)

    def _predict(
        self, model: Classifier, sets: Sequence[EvaluationSet], out: Path | None = None, name: str | None = None
    ) -> list[Predictions]:
        return predict_sets(model, sets, out, name=name, batch_size=self._batch_size, progress=self._progress)


def _scored(tables: Sequence[Predictions], run: Path | None = None) -> list[Row]:
    return score_tables(tables, run=run, scoring=Scoring(temperatures=fitted_temperatures(tables)))


def labelled_accuracy(table: Predictions) -> float:
    """Return the share of labelled samples that are classified rightly, in [0, 1].

    Example:
        >>> import numpy as np
        >>> logits = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
        >>> labelled_accuracy(Predictions(("a", "b"), np.array([0, -1]), logits))
        1.0
    """
    return float(table.correct[table.labelled].mean())
