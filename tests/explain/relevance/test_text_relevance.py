"""Relevance of words, against the square recursion; start, end and padding have none in any family."""

import pytest
import torch
from torch.nn import functional

from specimens.huggingface import write_folder
from specimens.towers import TOWERS, tower
from vlm_data.errors import CallError
from vlm_explain.relevance.text import text_relevance
from vlm_models import load_encoder
from vlm_models.attention import record_attention
from vlm_models.capabilities import CapabilityError

TEXTS = ["c a d", "a o"]
FAMILIES = (*TOWERS, "chinese_clip", "altclip", "clip-early", "metaclip_2", "siglip2")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    if request.param in TOWERS:
        return tower(request.param, folder)
    write_folder(folder, request.param)
    return load_encoder(f"hf:{folder}")


def images_for(model, count=2):
    side = model.preprocess.size
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def test_words_are_those_of_the_text(model):
    found = text_relevance(model, images_for(model), TEXTS)
    for row, text in enumerate(TEXTS):
        pieces = [piece.strip("▁") for piece, _ in found.pairs(row)]
        assert "".join(pieces) == text.replace(" ", "")
    assert found.relevance[~found.words].eq(0).all() and found.relevance.min() >= 0
    torch.testing.assert_close(found.relevance.sum(dim=1), 1.0 - found.flat.float())
    assert not found.flat.all() and not found.relevance.requires_grad


@pytest.mark.parametrize(("layers", "first"), [("last", -1), ("all", 0)])
@pytest.mark.parametrize("scalar", ["logit", "cosine"])
def test_relevance_is_that_of_the_square_recursion(model, layers, first, scalar):
    images, tokens = images_for(model), model.tokenize(TEXTS)
    found = text_relevance(model, images, TEXTS, layers=layers, scalar=scalar)
    with record_attention(model, "text") as attention:
        features = model.encode_image(images), model.encode_text(tokens)
        scores = functional.cosine_similarity(*features) * (model.logit_scale if scalar == "logit" else 1)
    gradients = attention.gradients(scores.sum())
    size = attention.probabilities[0].shape[-1]
    total = torch.eye(size).expand(2, size, size)
    for one, slope in list(zip(attention.probabilities, gradients, strict=True))[first:]:
        total = total + (slope * one).clamp(min=0).mean(dim=1) @ total
    last = gradients[-1].abs().sum(dim=(1, 3))  # only the place the feature is taken from has a gradient there
    assert last.gt(0).sum(dim=1).tolist() == [1, 1]
    rows = total[torch.arange(2), last.argmax(dim=1)].detach()
    words = found.words[:, :size]
    expected = rows[:, : words.shape[1]] * words
    expected = expected / expected.sum(dim=1, keepdim=True).clamp_min(1e-30)
    torch.testing.assert_close(found.relevance[:, : expected.shape[1]], expected, atol=1e-4, rtol=1e-3)


def test_a_pair_is_a_row_of_the_batch_and_nothing_stays_behind(model):
    images = images_for(model)
    model.train()
    before = [(sorted(vars(module)), module.training) for module in model.modules()]
    asks = [parameter.requires_grad for parameter in model.parameters()]
    with torch.inference_mode():
        together = text_relevance(model, images, TEXTS)
    assert before == [(sorted(vars(module)), module.training) for module in model.modules()]
    assert asks == [parameter.requires_grad for parameter in model.parameters()]
    model.eval()
    for row in range(2):
        alone = text_relevance(model, images[row : row + 1], TEXTS[row : row + 1])
        torch.testing.assert_close(alone.relevance[0], together.relevance[row], atol=1e-4, rtol=1e-3)


def test_wrong_calls():
    model = tower("class token", None)
    images = images_for(model)
    with pytest.raises(CallError, match="1 texts for 2 images; expected one for each"):
        text_relevance(model, images, "a o")
    with pytest.raises(CallError, match="scalar 'odds'"):
        text_relevance(model, images, TEXTS, scalar="odds")
    with pytest.raises(CallError, match="layers=7 starts at a layer that is not there"):
        text_relevance(model, images, TEXTS, layers="7")
    model.capabilities = frozenset({"image", "text"})
    with pytest.raises(CapabilityError, match="cannot do text attention"):
        text_relevance(model, images, TEXTS)
