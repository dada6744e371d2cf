"""All arrays of `golden/relevance`, from modules of open_clip, of transformers, and from an ALBEF."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from specimens.golden import (
    ALBEF,
    CLIPS,
    golden_albef,
    golden_arrays,
    golden_images,
    golden_open_clip,
    golden_transformers,
)
from vlm_explain.relevance import RelevanceOptions, explain_batch
from vlm_models.attention import record_attention
from vlm_models.classifier import LINEAR, ZERO_SHOT, Classifier, LinearHead, unnamed_classes
from vlm_models.zero_shot import head_weights

LAST, ALL = RelevanceOptions(layers="last"), RelevanceOptions(layers="all")
BORDER = slice(8, None, 16)


class PlainHead(LinearHead):
    """A head on features that are not normalised, as that of the golden probes."""

    def forward(self, features):
        return functional.linear(features, self.weight, self.bias)


def assert_agree(found, expected, share=1e-5):
    """Agree to a share of the largest value, which is how the golden tolerances are given."""
    assert found.shape == expected.shape
    assert not found.requires_grad
    torch.testing.assert_close(found, expected, atol=share * float(expected.abs().max()), rtol=0)


def zero_shot(encoder, arrays):
    with torch.no_grad():
        texts = encoder.encode_text(arrays["class_tokens"])
        head = LinearHead(head_weights(texts[:, None], encoder.logit_scale))
    return Classifier(encoder, head, ZERO_SHOT, unnamed_classes(len(texts)), ["{c}"])


def probe(encoder, arrays):
    head = PlainHead(arrays["lp_weight"], arrays["lp_bias"])
    return Classifier(encoder, head, LINEAR, unnamed_classes(len(head.weight)), ["{c}"])


@pytest.fixture(scope="module", params=[(library, name) for library in ("open_clip", "transformers") for name in CLIPS])
def clip(request, tmp_path_factory):
    """A golden CLIP, its arrays and its images."""
    library, name = request.param
    build = golden_open_clip if library == "open_clip" else golden_transformers
    arrays = golden_arrays(name)
    return build(name, tmp_path_factory.mktemp(name)), arrays, golden_images(arrays)


@pytest.fixture(params=["trained", "frozen"])
def either(request, clip):
    """The same, once with parameters that ask for gradients and once frozen."""
    clip[0].requires_grad_(request.param == "trained")
    return clip


class TestClip:
    @pytest.mark.parametrize(
        ("array", "layers"), [("zs_relevance_last", "last"), ("zs_relevance_all", "all"), ("zs_relevance_from1", "2")]
    )
    def test_zero_shot(self, either, array, layers):
        encoder, arrays, images = either
        if array not in arrays:  # of two layers, the second is the last
            assert len(encoder.attention_modules("vision")) == int(layers)
            array = "zs_relevance_last"
        model, labels = zero_shot(encoder, arrays), arrays["labels"].long()
        found = explain_batch(model, images, labels, RelevanceOptions(layers=layers))
        assert_agree(found.raw.flatten(1), arrays[array])
        assert_agree(found.logits, arrays["logits_per_image"], 2e-6)
        for one in reversed(range(len(images))):
            alone = explain_batch(model, images[one : one + 1], labels[one : one + 1], RelevanceOptions(layers=layers))
            assert_agree(alone.raw.flatten(1), arrays[array][one : one + 1])

    def test_maps_and_their_mass_in_the_masks(self, either):
        encoder, arrays, images = either
        rows = arrays["masks_packed"].numpy()
        masks = torch.from_numpy(np.unpackbits(rows, axis=1, bitorder="big")).unflatten(1, (224, 224)).double()
        for kind, model, labels in (
            ("zs", zero_shot(encoder, arrays), arrays["labels"]),
            ("lp", probe(encoder, arrays), arrays["lp_labels"]),
        ):
            options = LAST if kind == "zs" else ALL
            found = explain_batch(model, images, labels.long(), options, size=(224, 224))
            if kind == "zs":
                torch.testing.assert_close(found.maps[0], arrays["zs_map_img0"], atol=2e-5, rtol=0)
            torch.testing.assert_close(found.maps[:, BORDER, BORDER], arrays[f"{kind}_map_sub"], atol=2e-5, rtol=0)
            assert not found.flat.any()
            maps = found.maps.double()
            mass = (maps * masks).sum((1, 2)) / maps.sum((1, 2))
            torch.testing.assert_close(mass.float(), arrays[f"{kind}_rma"].float(), atol=1e-5, rtol=0)
            assert ((mass >= 0.5).int() == arrays[f"{kind}_rationale"].int()).all()

    def test_one_image_with_several_texts(self, either):
        encoder, arrays, images = either
        repeated = images[:1].expand(3, -1, -1, -1)
        found = explain_batch(zero_shot(encoder, arrays), repeated, torch.arange(3), LAST)
        assert_agree(found.raw.flatten(1), arrays["zs_relevance_last_img0_texts012"])

    def test_linear_probe(self, either):
        encoder, arrays, images = either
        found = explain_batch(probe(encoder, arrays), images, arrays["lp_labels"].long(), ALL)
        assert_agree(found.raw.flatten(1), arrays["lp_relevance_all"])
        assert_agree(found.logits, arrays["lp_logits"], 2e-6)
        assert (found.predicted == arrays["lp_pred"]).all()

    def test_attention_and_its_gradients(self, either):
        encoder, arrays, images = either
        with record_attention(encoder, "vision") as attention:
            logits = zero_shot(encoder, arrays)(images[:1])
        probabilities, gradients = attention.probabilities, attention.gradients(logits[0, int(arrays["labels"][0])])
        if "attn_img0_last" in arrays:
            assert_agree(probabilities[-1][0].detach(), arrays["attn_img0_last"], 2e-6)
        rows = torch.stack([layer[0, :, 0] for layer in probabilities]).detach()
        assert_agree(rows, arrays["attn_img0_row0_all_layers"], 2e-6)
        assert_agree(gradients[-1][0, :, 0], arrays["attn_grad_img0_last_row0"])
        assert_agree(gradients[0][0, :, 0], arrays["attn_grad_img0_first_layer_row0"])
        assert not gradients[-1][0, :, 1:].any()

    def test_features(self, clip):
        encoder, arrays, images = clip
        with torch.no_grad():
            assert_agree(encoder.encode_image(images), arrays["image_features"], 2e-6)
            assert_agree(encoder.encode_text(arrays["class_tokens"]), arrays["text_features"], 2e-6)


class ClassTokens(torch.nn.Module):
    """Stands in the place of a projection: the golden probe of ALBEF reads the class token itself."""

    def forward(self, pooled):
        return pooled


class TestAlbef:
    @pytest.fixture(params=["trained", "frozen"])
    def case(self, request):
        arrays = golden_arrays(ALBEF)
        return golden_albef().requires_grad_(request.param == "trained"), arrays, golden_images(arrays)

    @pytest.mark.parametrize(("array", "options"), [("zs_relevance_last", LAST), ("zs_relevance_all", ALL)])
    def test_contrast_of_image_and_text(self, case, array, options):
        encoder, arrays, images = case
        head = LinearHead(head_weights(arrays["text_embeds"][:, None], encoder.logit_scale.detach()))
        model = Classifier(encoder, head, ZERO_SHOT, unnamed_classes(len(images)), ["{c}"])
        found = explain_batch(model, images, torch.arange(len(images)), options)
        assert_agree(found.raw.flatten(1), arrays[array])
        assert_agree(found.logits.diagonal() * float(arrays["temp"]), arrays["cos"], 2e-6)
        alone = explain_batch(model, images[2:3], torch.tensor([2]), options)
        assert_agree(alone.raw.flatten(1), arrays[array][2:3])

    def test_linear_probe_on_the_class_token(self, case):
        encoder, arrays, images = case
        encoder.vision_proj, encoder.embedding_dim = ClassTokens(), 96
        found = explain_batch(probe(encoder, arrays), images, arrays["lp_labels"].long(), ALL)
        assert_agree(found.raw.flatten(1), arrays["lp_relevance_all"])
        assert_agree(found.logits, arrays["lp_logits"], 2e-6)
