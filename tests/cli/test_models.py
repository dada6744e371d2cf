"""`vlm models`: families, architectures and tags, and what one model is."""

from typing import Any

import open_clip
import pytest
import torch
from transformers import AutoModel

from vlm_models import load_encoder
from vlm_models.catalog import REGISTRY
from vlm_models.export import LAYOUTS


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
        (["show", "tiny:2"], 2, "comes as tiny and as tiny:random"),
    ],
)
def test_a_wrong_name_is_told(vlm, arguments, code, said):
    answer = vlm("models", *arguments)
    assert answer.code == code and said in answer.paragraph and answer.out == ""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_export_writes_what_the_other_library_loads(vlm, workplace, tmp_path, layout):
    spec = "run:runs/digits-tiny-full-seed0"
    answer = vlm("models", "export", spec, tmp_path / "out", "--layout", layout, "--json")
    assert answer.document["files"].keys() == {path.name for path in (tmp_path / "out").iterdir()}
    assert "the head for 10 classes stays behind" in answer.err
    if layout == "huggingface":
        model: Any = AutoModel.from_pretrained(tmp_path / "out").eval()
        encode = model.get_image_features
    else:
        model = open_clip.create_model(f"local-dir:{tmp_path / 'out'}").eval()
        encode = model.encode_image
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = encode(pixels), load_encoder(spec).encode_image(pixels)
    torch.testing.assert_close(getattr(found, "pooler_output", found), expected, atol=2e-5, rtol=2e-5)
    text = vlm("models", "export", spec, tmp_path / "out", "--layout", layout, "--overwrite").out
    assert "features were compared" in text
    again = vlm("models", "export", spec, tmp_path / "out", "--layout", layout)
    assert again.code == 2 and "is not empty" in again.paragraph


def test_export_offers_every_layout(vlm):
    assert f"[{'|'.join(LAYOUTS)}]" in vlm("models", "export", "--help").out.replace(" ", "").replace("\n", "")
    answer = vlm("models", "export", "tiny", "out", "--layout", "huggingfase")
    assert answer.code == 2 and "huggingface" in answer.paragraph


def test_convert_writes_what_is_loaded_without_the_file(vlm, workplace, tmp_path):
    folder = tmp_path / "clip"
    answer = vlm("models", "convert", "ViT-B-32.pt", folder, "--json")
    assert answer.code == 0, answer.err
    found = answer.document
    assert (found["spec"], found["converted"]["spec"]) == (f"file:{folder}", "clip:ViT-B-32.pt")
    assert (found["converted"]["source"], found["converted"]["format"]) == ("ViT-B-32.pt", "torch zip")
    assert found["architecture"]["activation"] == "quickgelu" and len(found["converted"]["sha256"]) == 64
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    shown = vlm("models", "show", f"file:{folder}", "--json").document
    assert shown["weights_hash"] == found["weights_hash"] and shown["saved"]["converted"] == found["converted"]
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    pair = [load_encoder(spec).encode_image(images) for spec in (found["spec"], "clip:ViT-B-32.pt")]
    assert torch.equal(*pair)


def test_convert_replaces_only_what_it_wrote(vlm, workplace, tmp_path):
    assert vlm("models", "convert", "tiny", tmp_path / "tiny").code == 0
    again = vlm("models", "convert", "tiny", tmp_path / "tiny")
    assert again.code == 2 and "replace it with --overwrite" in again.paragraph
    replaced = vlm("models", "convert", "ViT-B-32.pt", tmp_path / "tiny", "--overwrite")
    assert replaced.code == 0 and f"--model file:{tmp_path / 'tiny'}" in replaced.out
    run = vlm("models", "convert", "tiny", "runs/digits-tiny-full-seed0", "--overwrite")
    assert run.code == 2 and "trained or saved, so it is not replaced" in run.paragraph


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("nothing.pt", 2, "nothing.pt is neither a file nor a model spec"),
        ("photos/table.csv", 1, "of no known format"),
        ("clip:nothing.pt", 1, "there is no weight file nothing.pt"),
    ],
)
def test_convert_of_something_else_leaves_nothing(vlm, workplace, tmp_path, source, code, said):
    answer = vlm("models", "convert", source, tmp_path / "out")
    assert answer.code == code and said in answer.paragraph and answer.out == ""
    assert not list(tmp_path.iterdir())
