"""From class names and templates to the weights of a classification head."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_data.text import prompts
from vlm_models.catalog import load_model
from vlm_models.classifier import ZERO_SHOT, Classifier, LinearHead, unnamed_classes
from vlm_models.interface import DualEncoder, evaluating

_TEXT_BATCH = 512


def head_weights(text_features: Float[Tensor, "c t d"], logit_scale: Float[Tensor, ""]) -> Float[Tensor, "c d"]:
    """Average the prompts of each class into one direction and bake the logit scale in.

    `u = e / ||e||` for every prompt, `m = mean_t u`, `w = s m / ||m||` (Radford et al. 2021, section 3.1.4;
    Wortsman et al. 2022, section 2).

    Args:
        text_features: raw text features of c classes and t templates.
        logit_scale: multiplicative scale s.

    Example:
        >>> head_weights(torch.tensor([[[2.0, 0.0], [8.0, 0.0]]]), torch.tensor(100.0))
        tensor([[100.,   0.]])
    """
    mean = functional.normalize(text_features.float(), dim=-1).mean(dim=1)
    return logit_scale.float() * functional.normalize(mean, dim=-1)


@torch.no_grad()
def zero_shot_head(model: DualEncoder, class_names: Sequence[str], templates: Sequence[str]) -> LinearHead:
    """Build the zero-shot head of a model: weight `head_weights`, bias the logit bias of a sigmoid model, else zero.

    Every prompt is encoded once, in batches over all classes.

    Raises:
        CallError: if there is no class or a template lacks `{c}`.

    Example:
        >>> from vlm_models import load_model
        >>> zero_shot_head(load_model("tiny"), ["zero", "one"], ["the digit {c}"]).weight.shape
        torch.Size([2, 64])
    """
    if not class_names:
        raise CallError("no class names were given; a zero-shot head needs at least one.")
    device = next(model.parameters()).device
    tokens = model.tokenize([text for texts in prompts(class_names, templates) for text in texts])
    with evaluating(model):
        features = torch.cat([model.encode_text(part.to(device)).float() for part in tokens.split(_TEXT_BATCH)])
    weight = head_weights(features.view(len(class_names), len(templates), -1), model.logit_scale)
    bias = None if model.logit_bias is None else model.logit_bias.detach().float().expand(len(class_names))
    return LinearHead(weight, bias)


def zero_shot_classifier(model: DualEncoder, class_names: Sequence[str], templates: Sequence[str]) -> Classifier:
    """Return the model with its zero-shot head."""
    return Classifier(model, zero_shot_head(model, class_names, templates), ZERO_SHOT, class_names, templates)


def load_classifier(
    spec: str,
    class_names: Sequence[str],
    templates: Sequence[str],
    device: torch.device | str = "cpu",
    precision: str = "fp32",
) -> Classifier:
    """Load a model as a classifier for these class names: with the head it was saved with, else its zero-shot head.

    A head whose classes have no names (`unnamed_classes`: files of other programs do not tell them) is taken to be for
    the classes of the data, in their order, if there are as many.

    Raises:
        CallError: if it was saved with a trained head for other class names.

    Example:
        >>> load_classifier("tiny", ["zero", "one"], ["the digit {c}"]).head_kind
        'zero-shot'
    """
    model = load_model(spec, device, precision)
    if isinstance(model, Classifier):
        if model.class_names == tuple(class_names):
            return model
        if model.class_names == unnamed_classes(len(class_names)):
            return Classifier(model.encoder, model.head, model.head_kind, class_names, model.templates)
        if model.head_kind != ZERO_SHOT:
            raise CallError(
                f"{spec} has a head trained for {len(model.class_names)} classes "
                f"({', '.join(model.class_names[:3])}, ...), but the data has {len(class_names)} "
                f"({', '.join(class_names[:3])}, ...). "
                "Expected the same names in the same order; evaluate it on the data it was trained for."
            )
        model = model.encoder
    return zero_shot_classifier(model, class_names, templates)
