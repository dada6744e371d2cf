import pytest
import torch

from vlm_data.errors import CallError
from vlm_explain.relevance.options import RelevanceOptions
from vlm_explain.relevance.score import Score
from vlm_models import load_encoder
from vlm_models.classifier import LINEAR, Classifier, LinearHead

LOGITS = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, -1.0]])


@pytest.fixture(scope="module")
def model():
    draws = torch.Generator().manual_seed(0)
    head = LinearHead(torch.randn(3, 64, generator=draws), torch.tensor([0.5, -1.0, 2.0]))
    return Classifier(load_encoder("tiny"), head, LINEAR, ["cat", "dog", "ash tree"], ["{c}"])


def score(model, labels, **options):
    return Score(model, None if labels is None else torch.tensor(labels), RelevanceOptions(**options))


@pytest.mark.parametrize(
    ("target", "labels", "chosen", "values"),
    [
        ("label", [2, 0], [2, 0], [2.0, 0.0]),
        ("prediction", [2, 0], [0, 1], [3.0, 5.0]),
        ("prediction", None, [0, 1], [3.0, 5.0]),
        ("class:ash tree", None, [2, 2], [2.0, -1.0]),
        ("contrast", [2, 1], [2, 1], [2.0 - 3.0, 5.0 - 0.0]),
        ("contrast", None, [0, 1], [3.0 - 2.0, 5.0 - 0.0]),
    ],
)
def test_targets(model, target, labels, chosen, values):
    explained = score(model, labels, target=target)
    assert explained.targets(LOGITS).tolist() == chosen
    assert explained(LOGITS).tolist() == values


def test_scalars(model):
    features = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    logits = model.head(features)
    labels = [0, 1, 2, 1]
    rows = torch.arange(4), torch.tensor(labels)
    cosine = torch.nn.functional.cosine_similarity(features[:, None], model.head.weight[None], dim=-1)
    torch.testing.assert_close(score(model, labels, scalar="cosine")(logits), cosine[rows], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(score(model, labels, scalar="probability")(logits), logits.softmax(1)[rows])
    odds = logits.softmax(1)
    contrast = score(model, labels, scalar="probability", target="contrast")(logits)
    others = [torch.cat([row[:label], row[label + 1 :]]).max() for row, label in zip(odds, labels, strict=True)]
    torch.testing.assert_close(contrast, odds[rows] - torch.stack(others))


def test_a_row_of_zeros_has_cosine_zero():
    head = LinearHead(torch.zeros(2, 64))
    model = Classifier(load_encoder("tiny"), head, LINEAR, ["a", "b"], ["{c}"])
    features = torch.ones(1, 64, requires_grad=True)
    value = score(model, [0], scalar="cosine")(model.head(features))
    value.sum().backward()
    assert value.item() == 0 and not features.grad.any()


def test_half_precision_is_scored_in_single(model):
    value = score(model, [0, 1], scalar="probability")(LOGITS.bfloat16())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, LOGITS.softmax(1)[[0, 1], [0, 1]])


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (None, {}, "the target `label` needs the class of every image; give it, or choose target=prediction"),
        ([0, 3], {}, r"class indices lie between 0 and 3, but the model has 3 classes; expected 0 to 2"),
        ([-1, 2], {}, r"class indices lie between -1 and 2"),
        ([0.5, 1], {}, r"class indices of type torch.float32; expected whole numbers"),
        (None, {"target": "class:cats"}, r"unknown class 'cats'. Did you mean 'cat'"),
    ],
)
def test_what_does_not_fit_is_refused(model, labels, options, message):
    with pytest.raises(CallError, match=message):
        score(model, labels, **options)


def test_one_class_has_no_contrast():
    model = Classifier(load_encoder("tiny"), LinearHead(torch.ones(1, 64)), LINEAR, ["a"], ["{c}"])
    with pytest.raises(CallError, match="one class only; a contrast needs another one"):
        score(model, [0], target="contrast")
