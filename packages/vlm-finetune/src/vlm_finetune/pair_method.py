"""What methods share whose loss compares the pairs of a batch with each other."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Int64
from torch import Tensor

from vlm_data.loading import Batch
from vlm_data.region_batches import BatchRegions
from vlm_finetune.ema import EmaTeacher
from vlm_finetune.losses import PairLogits, pair_logits
from vlm_finetune.method import Method
from vlm_finetune.pairs import PairEncoder, RememberedTexts, distinct, with_rebuilt_head
from vlm_models.classifier import Classifier
from vlm_models.interface import DualEncoder

Stage = Callable[[], dict[str, Tensor]]
"""A part of the work on a batch, called in place of the whole of it, see `vlm_finetune.accumulation`."""


class PairMethod(Method):
    """Compares every pair with all others of the batch, so that the losses of two halves are not that of the whole.

    Its forward pass is cut in two, the features of a batch (`features`) and the loss as a function of them (`compare`),
    so that the exact gradient of a batch larger than memory can be had, see `vlm_finetune.accumulation`.

    Attributes:
        encode: of student and teacher.
        teacher: a second dual encoder whose comparisons the loss looks at, without gradient; None without.
    """

    needs_captions = True

    def __init__(self, model: Classifier, has_teacher: bool = False) -> None:
        super().__init__(model)
        self.encode = PairEncoder()
        # No sub-module: a wrapper must neither synchronise nor train it.
        self.teacher = EmaTeacher(model.encoder) if has_teacher else None
        self._teacher_texts = RememberedTexts(self.encode)
        self.release_towers()

    @property
    def scale(self) -> Tensor | float:
        """What multiplies the cosines of the student: the learned logit scale."""
        return self.model.encoder.logit_scale

    @abstractmethod
    def objective(
        self, student: PairLogits, teacher: PairLogits | None, labels: Int64[Tensor, " b"]
    ) -> dict[str, Tensor]:
        """Return the loss under `loss` and its terms under their names.

        Args:
            student: logits of the own pairs against the whole batch.
            teacher: the same of the teacher; None without one, and at the first step, where it is the student.
            labels: (b,) class of every own pair.
        """

    def forward(self, batch: Batch | Stage, step: int) -> dict[str, Tensor]:
        """Return the objective of a batch; of a stage what it computes, in the precision that wrappers choose."""
        if not isinstance(batch, Batch):
            return batch()
        texts, rows = distinct(batch.captions)
        features = self.features(batch.images, texts, batch.regions) | self.constants(batch.images, texts, step)
        return self.compare(features, rows.to(batch.images.device), batch.labels, batch.regions)

    def features(self, images: Tensor, texts: Sequence[str], regions: BatchRegions | None = None) -> dict[str, Tensor]:
        """Return unit-norm features with gradient: `images` (b, d) and `texts` (t, d), or what the method compares.

        Args:
            images: (b, ...) as the encoder takes them.
            texts: t distinct captions; there may be none.
            regions: of the images, for methods that look at them.
        """
        encoder = self.model.encoder
        found = self.encode.images(encoder, images)
        return {
            "images": found,
            "texts": self.encode.texts(encoder, texts, images.device) if texts else found.new_empty(0, found.shape[1]),
        }

    def constants(self, images: Tensor, texts: Sequence[str], step: int) -> dict[str, Tensor]:
        """Return further features, those that carry no gradient: by default the teacher's."""
        return self.teacher_features(images, texts, step)

    def teacher_features(self, images: Tensor, texts: Sequence[str], step: int) -> dict[str, Tensor]:
        """Return the teacher's `teacher_images` and `teacher_texts`; nothing without one, and at the first step.

        Between two updates of the teacher a caption is encoded once.
        """
        if self.teacher is None or step == 0:
            return {}
        teacher = cast(DualEncoder, self.teacher.model)
        with torch.inference_mode():
            found = self.encode.images(teacher, images)
            return {
                "teacher_images": found,
                "teacher_texts": self._teacher_texts(teacher, texts, images.device) if texts else found[:0],
            }

    def compare(
        self,
        features: Mapping[str, Tensor],
        rows: Int64[Tensor, " b"],
        labels: Int64[Tensor, " b"],
        regions: BatchRegions | None = None,
    ) -> dict[str, Tensor]:
        """Return the objective as a function of features; under several processes a collective call.

        Args:
            features: what `features` and `constants` return together.
            rows: (b,) which text belongs to each image.
            labels: (b,) class of every image.
            regions: of the images, for methods that look at them.
        """
        student = pair_logits(features["images"], features["texts"][rows], self.scale)
        teacher = None
        if self.teacher is not None and "teacher_images" in features:
            with torch.no_grad():
                scale = cast(DualEncoder, self.teacher.model).logit_scale
                teacher = pair_logits(features["teacher_images"], features["teacher_texts"][rows], scale)
        return self.objective(student, teacher, labels)

    def move_teacher(self, momentum: float) -> dict[str, float]:
        """Update the teacher; what was remembered of it no longer holds.

        Returns:
            For the log: `teacher_momentum`, and `teacher_distance` of the student before the update.
        """
        if self.teacher is None:
            return {}
        student = self.plain_model().encoder
        distance = self.teacher.distance(student)
        self.teacher.update(student, momentum)
        self._teacher_texts.forget()
        return {"teacher_momentum": momentum, "teacher_distance": distance}

    def forget(self) -> None:
        """Forget the teacher's text features, see `Method.forget`."""
        self._teacher_texts.forget()

    def companions(self) -> dict[str, torch.nn.Module]:
        """Return the teacher."""
        return {"teacher": self.teacher.model} if self.teacher else {}

    def classifier(self) -> Classifier:
        """Return the model with the zero-shot head of its text tower now."""
        return with_rebuilt_head(self.plain_model())
