"""The architecture of a CLIP is read off its tensors; what they do not tell is asked for, never guessed."""

import open_clip
import pytest
import torch
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_models import load_encoder, load_model
from vlm_models.clip.sizes import clip_config
from vlm_models.errors import CheckpointError

RESNET = {"layers": (1, 1, 1, 1), "width": 16, "image_size": 64, "patch_size": None}


class TestSizes:
    @pytest.mark.parametrize(
        "name",
        ["ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "RN50", "RN101", "RN50x4", "RN50x16", "RN50x64"],
    )
    def test_those_of_every_published_model_are_read_off_its_shapes(self, name):
        expected = open_clip.get_model_config(name)
        with torch.device("meta"):
            clip = open_clip.CLIP(expected["embed_dim"], expected["vision_cfg"], expected["text_cfg"])
        found = clip_config(clip.state_dict(), name, {}, {})
        assert found["embed_dim"] == expected["embed_dim"]
        assert found["text_cfg"] == {key: expected["text_cfg"][key] for key in found["text_cfg"]}
        assert found["vision_cfg"] == {"head_width": 64, **expected["vision_cfg"]}

    @pytest.mark.parametrize("name", ["ViT-H-14", "ViT-g-14", "ViT-bigG-14"])
    def test_models_with_other_heads_are_refused(self, name):
        config = open_clip.get_model_config(name)
        with torch.device("meta"):
            clip = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])
        with pytest.raises(CallError, match=rf"Write openclip:\S*{name.split('-')[1]}-14\S*/w\.pt, or vision_heads="):
            clip_config(clip.state_dict(), "w.pt", {}, {})

    def test_heads_that_no_width_tells_are_asked_for(
        self, tmp_path, make_clip, half_as_openai, assert_equal_features, as_half_and_back
    ):
        clip = make_clip({"width": 48, "head_width": 16})
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "w.pt")
        with pytest.raises(CallError, match=r"a tower of width 48.*write vision_heads=NUMBER"):
            load_model(f"clip:{tmp_path}/w.pt")
        assert_equal_features(load_encoder(f"clip:{tmp_path}/w.pt,vision_heads=3"), as_half_and_back(clip))
        with pytest.raises(CallError, match="vision_heads=5 does not divide the width of"):
            load_model(f"clip:{tmp_path}/w.pt,vision_heads=5")
        torch.save(clip, tmp_path / "module.pt")
        assert load_encoder(f"clip:{tmp_path}/module.pt").architecture["vision_cfg"]["head_width"] == 16

    def test_another_image_size_resizes_positions_by_open_clips_rule(self, clip, tmp_path, half_as_openai):
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "w.pt")
        encoder = load_encoder(f"clip:{tmp_path}/w.pt,image_size=48")
        table = clip.state_dict()["visual.positional_embedding"]
        grid = table[1:].view(1, 4, 4, -1).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, size=(6, 6), mode="bicubic", antialias=True, align_corners=False)
        expected = torch.cat([table[:1], grid[0].flatten(1).T])
        torch.testing.assert_close(encoder.clip.visual.positional_embedding.data, expected)
        assert encoder.preprocess.size == 48
        assert encoder.architecture["position_resize"] == {"from": 32, "rule": "bicubic, antialias"}
        assert load_encoder(f"clip:{tmp_path}/w.pt,image_size=32").architecture.get("position_resize") is None

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("image_size=50", "no multiple of the patches"),
            ("image_size=x", "not a positive whole number"),
            ("image_sise=32", "Did you mean 'image_size'"),
        ],
    )
    def test_impossible_options(self, clip, tmp_path, option, message, half_as_openai):
        torch.save(half_as_openai(clip.state_dict()), tmp_path / "w.pt")
        with pytest.raises(CallError, match=message):
            load_model(f"clip:{tmp_path}/w.pt,{option}")

    def test_a_resnet_has_one_size(self, tmp_path, make_clip, half_as_openai):
        torch.save(half_as_openai(make_clip(RESNET).state_dict()), tmp_path / "w.pt")
        with pytest.raises(CallError, match="reads images of 64 pixels"):
            load_model(f"clip:{tmp_path}/w.pt,image_size=96")

    @pytest.mark.parametrize(
        ("name", "rows", "message"),
        [
            ("visual.positional_embedding", 16, "16 rows. Expected one more than a square"),
            ("visual.transformer.resblocks.0.ln_1.weight", 3, "1 misshapen: visual.transformer"),
            ("surplus", 1, "1 unexpected: surplus"),
        ],
    )
    def test_tensors_that_do_not_fit_together(self, clip, tmp_path, name, rows, message, half_as_openai):
        state = half_as_openai(clip.state_dict())
        torch.save(state | {name: state.get(name, torch.ones(9, 2))[:rows]}, tmp_path / "w.pt")
        with pytest.raises(CheckpointError, match=message):
            load_model(f"clip:{tmp_path}/w.pt")
