import os
from pathlib import Path

import open_clip
import pytest
from huggingface_hub import constants

from vlm_data.errors import CallError
from vlm_models.openclip.published import open_clip_variants
from vlm_models.variants import family_variants


def test_every_architecture_and_tag_of_open_clip_is_listed():
    found = {variant.architecture: variant.tags for variant in family_variants("openclip")}
    assert list(found) == open_clip.list_models()
    assert sum(map(len, found.values())) == len(open_clip.list_pretrained())


def test_a_family_of_one_version_has_no_variants_and_an_unknown_one_is_refused():
    assert family_variants("tiny") == family_variants("run") == []
    with pytest.raises(CallError, match="Did you mean 'openclip'"):
        family_variants("openclp")


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_a_tag_is_on_this_machine_when_one_of_its_files_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert not any(variant.cached for variant in open_clip_variants())
    place = open_clip.get_pretrained_cfg("ViT-B-32", "laion2b_s34b_b79k")["hf_hub"].strip("/")
    repository = tmp_path / f"models--{place.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / file).write_bytes(b"weights")
    cached = {variant.architecture: variant.cached for variant in open_clip_variants() if variant.cached}
    assert cached == {"ViT-B-32": ("laion2b_s34b_b79k",)}
    assert sum(len(files) for _, _, files in os.walk(tmp_path)) == 2  # looking downloads nothing
