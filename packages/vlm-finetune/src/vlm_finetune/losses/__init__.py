"""Losses of fine-tuning: pure functions of tensors, exact over all processes, in float32 at least."""

from vlm_finetune.losses.classification import classification as classification
from vlm_finetune.losses.contrastive import contrastive as contrastive
from vlm_finetune.losses.contrastive import contrastive_from_logits as contrastive_from_logits
from vlm_finetune.losses.label_aware import contrastive_exclusive as contrastive_exclusive
from vlm_finetune.losses.label_aware import contrastive_soft_targets as contrastive_soft_targets
from vlm_finetune.losses.label_aware import contrastive_without_collisions as contrastive_without_collisions
from vlm_finetune.losses.logits import PairLogits as PairLogits
from vlm_finetune.losses.logits import pair_logits as pair_logits
from vlm_finetune.losses.logits import scaled_cosines as scaled_cosines
from vlm_finetune.losses.orthogonality import cross_norm as cross_norm
from vlm_finetune.losses.orthogonality import orthogonality as orthogonality
from vlm_finetune.losses.output_distillation import output_distillation as output_distillation
from vlm_finetune.losses.region_aware import region_aware as region_aware
from vlm_finetune.losses.self_distillation import self_distillation as self_distillation
from vlm_finetune.losses.self_distillation import self_distillation_from_logits as self_distillation_from_logits
from vlm_finetune.losses.self_distillation import teacher_entropy as teacher_entropy
from vlm_finetune.losses.targets import TARGETS as TARGETS
from vlm_finetune.losses.targets import contrastive_towards as contrastive_towards
