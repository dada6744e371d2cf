"""What a soup is made of: models that are read one after the other, and one that takes the weights of their mean."""

from collections.abc import Callable, Sequence

from vlm_data.errors import CallError
from vlm_eval.interpolation.mixable import check_mixable
from vlm_models.classifier import LINEAR, ZERO_SHOT, Classifier
from vlm_models.learned_soup import SoupClassifier
from vlm_models.weight_space import State
from vlm_models.zero_shot import zero_shot_head


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
        self.device = next(self._work.parameters()).device
        self.preprocess = self._work.encoder.preprocess

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

    def mean(self, state: State, scale: float = 1.0) -> Classifier:
        """Return the working copy with these weights; valid until the next call, after every model was read once.

        Args:
            state: a mean of the models.
            scale: logits are multiplied with it; the head then is no longer a function of the text tower.
        """
        self._work.load_state_dict(dict(state))
        self._work.head_kind = ZERO_SHOT if self._rebuilds_head else LINEAR
        if self._rebuilds_head:
            head = zero_shot_head(self._work.encoder, self._work.class_names, self._work.templates)
            self._work.head.load_state_dict(head.state_dict())
        if scale != 1.0:
            self._work.head.load_state_dict({name: scale * t for name, t in self._work.head.state_dict().items()})
            self._work.head_kind = LINEAR
        return self._work

    def network(self) -> SoupClassifier:
        """Return the working copy as a function of its weights, for `learned_soup`."""
        return SoupClassifier(self._work, self._rebuilds_head)
