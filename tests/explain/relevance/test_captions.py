"""Relevance of the words of captions, against attention that the library returns itself."""

import pytest
import torch
from PIL import Image

from specimens.fusion import SIZES, write_fusion
from vlm_data.errors import CallError
from vlm_explain.relevance.captions import caption_relevance
from vlm_models.fusion.captioner import load_captioner

CAPTIONS = ["a b c", "d"]


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blip")
    path, *heads = write_fusion("blip", folder).removeprefix("blip:").split(",")
    return load_captioner(path, **dict(option.split("=") for option in heads))


@pytest.fixture(scope="module")
def images():
    side = SIZES.image_size
    return torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def by_hand(captioner, images, captions, layer, scalar):
    tokens = captioner.tokenize(captions)
    mask = tokens.ne(captioner.tokenizer.padding_id).long()
    seen = captioner.vision_model(pixel_values=captioner.preprocess.normalise(images)).last_hidden_state
    output = captioner.text_decoder(
        input_ids=tokens, attention_mask=mask, encoder_hidden_states=seen, is_decoder=True, use_cache=False,
        output_attentions=True,
    )  # fmt: skip
    maps = torch.zeros(len(images), tokens.shape[1] - 1, *captioner.grid)
    odds = torch.zeros(maps.shape[:2])
    for image, row in enumerate(tokens.tolist()):
        words = [place for place in range(1, len(row)) if captioner.tokenizer.text([row[place]]) and mask[image, place]]
        for place in words:
            logits = output.logits[image, place - 1]
            log_probability = logits.log_softmax(-1)[row[place]]
            score = logits[row[place]] if scalar == "logit" else log_probability
            attention = output.cross_attentions[layer]
            (gradient,) = torch.autograd.grad(score, [attention], retain_graph=True)
            weighted = (attention * gradient.clamp(min=0))[image, :, place - 1, 1:].mean(dim=0)
            maps[image, place - 1] = weighted.detach().unflatten(0, captioner.grid)
            odds[image, place - 1] = log_probability.detach()
    return maps, odds


@pytest.mark.parametrize("layer", [-1, 0, 1])
@pytest.mark.parametrize("scalar", ["logit", "log-probability"])
def test_maps_are_those_of_the_definition(captioner, images, layer, scalar):
    with torch.inference_mode():
        found = caption_relevance(captioner, images, CAPTIONS, layer=layer, scalar=scalar)
    maps, odds = by_hand(captioner, images, CAPTIONS, layer, scalar)
    torch.testing.assert_close(found.maps[:, :, 0], maps, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found.log_probabilities, odds, atol=1e-5, rtol=1e-4)
    assert found.known.sum(dim=1).tolist() == [3, 1] and float(maps.max()) > 1e-5
    torch.testing.assert_close(found.whole[:, 0], maps.sum(dim=1), atol=1e-6, rtol=1e-4)


def test_log_probabilities_are_those_of_scoring(captioner, images):
    found = caption_relevance(captioner, images, CAPTIONS)
    inputs = captioner.prepare([Image.new("RGB", images.shape[-2:])] * 2, ["", ""])
    scored = captioner.score_continuations({**inputs, "images": images}, CAPTIONS)
    torch.testing.assert_close(found.log_probabilities.sum(dim=1), scored.diagonal())


def test_one_caption_is_a_row_of_the_batch_and_nothing_stays_behind(captioner, images):
    before = [(sorted(vars(module)), module.training) for module in captioner.modules()]
    asks = [parameter.requires_grad for parameter in captioner.parameters()]
    together = caption_relevance(captioner, images, CAPTIONS)
    for row in range(2):
        alone = caption_relevance(captioner, images[row : row + 1], CAPTIONS[row : row + 1])
        torch.testing.assert_close(alone.maps[0], together.maps[row], atol=1e-6, rtol=1e-4)
    assert before == [(sorted(vars(module)), module.training) for module in captioner.modules()]
    assert asks == [parameter.requires_grad for parameter in captioner.parameters()]


def test_wrong_calls(captioner, images):
    with pytest.raises(CallError, match=r"captions \['a'\] for 2 images; expected one for each"):
        caption_relevance(captioner, images, ["a"])
    with pytest.raises(CallError, match="not empty"):
        caption_relevance(captioner, images, ["a", ""])
    with pytest.raises(CallError, match="no attention layer 40"):
        caption_relevance(captioner, images, CAPTIONS, layer=40)
    with pytest.raises(CallError, match="scalar 'cosine'"):
        caption_relevance(captioner, images, CAPTIONS, scalar="cosine")
