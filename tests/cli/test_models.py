"""`vlm models`: families, architectures and tags, and what one model is."""

import open_clip
import pytest

from vlm_models.catalog import REGISTRY


def test_ls_names_every_family(vlm):
    listed = vlm("models", "ls", "--json").document["families"]
    assert [found["family"] for found in listed] == REGISTRY.names()
    assert "openclip:ARCH/TAG" in vlm("models", "ls").out


def test_ls_of_a_family_lists_architectures_and_tags(vlm):
    variants = vlm("models", "ls", "--family", "openclip", "--json").document["variants"]
    assert [found["architecture"] for found in variants] == open_clip.list_models()
    text = vlm("models", "ls", "--family", "openclip").out
    assert "laion2b_s34b_b79k" in text and "without a tag the weights are random" in text
    assert vlm("models", "ls", "--family", "tiny").out.startswith("tiny: ")


def test_show_tells_size_preprocessing_and_temperature(vlm):
    facts = vlm("models", "show", "tiny", "--json").document
    assert facts["parameters"]["image"] > facts["parameters"]["text"] > 100_000
    assert facts["preprocessing"]["size"] == 32
    assert facts["temperature"] == pytest.approx(1 / facts["logit_scale"])
    text = vlm("models", "show", "tiny").out
    assert f"{facts['parameters']['image']:,}" in text and facts["weights_hash"] in text


def test_show_of_a_run_tells_where_it_comes_from(vlm, workplace):
    facts = vlm("models", "show", "run:runs/digits-tiny-full-seed0", "--json").document
    assert facts["saved"] == {"base": "tiny", "method": "full", "epoch": 1}
    assert facts["head"] == "linear" and facts["class_names"][:2] == ["zero", "one"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "tinny"], 2, "unknown model family 'tinny'. Did you mean 'tiny'?"),
        (["ls", "--family", "open-clip"], 2, "Did you mean 'openclip'?"),
        (["show", "openclip:ViT-B-31"], 2, "unknown open_clip architecture 'ViT-B-31'. Did you mean 'ViT-B-32'?"),
        (["show", "openclip:vit-b-32"], 2, "Did you mean 'ViT-B-32'?"),
        (["show", "openclip:ViT-B-32/laion2b_s34b"], 2, "Did you mean 'laion2b_s34b_b79k'?"),
        (["show", "run:nowhere"], 1, "nowhere holds no saved model"),
        (["show", "tiny:2"], 2, "comes in one version"),
    ],
)
def test_a_wrong_name_is_told(vlm, arguments, code, said):
    answer = vlm("models", *arguments)
    assert answer.code == code and said in answer.paragraph and answer.out == ""
