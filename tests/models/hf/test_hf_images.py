"""Preprocessing and image size of folders in Hugging Face layout."""

import json
import shutil

import pytest
import torch

from vlm_data.errors import CallError
from vlm_models import load_encoder, save_model
from vlm_models.errors import CheckpointError


@pytest.fixture
def copied(tmp_path, published):
    """A function that copies a published folder, to be damaged."""
    return lambda kind="clip": shutil.copytree(published(kind)[0], tmp_path / kind)


def edit(path, **changes):
    """Change entries of a JSON file; None removes one."""
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def refused(folder):
    """Return the message of the error; it is one paragraph that names the model."""
    with pytest.raises(CheckpointError) as caught:
        load_encoder(f"hf:{folder}")
    message = str(caught.value)
    assert str(folder) in message and "\n" not in message and len(message) < 900
    return message


class TestImages:
    def test_no_file(self, copied):
        folder = copied()
        (folder / "preprocessor_config.json").unlink()
        assert "has no preprocessor_config.json" in refused(folder)

    def test_inside_the_file_of_a_processor(self, copied):
        """Where version 5 of transformers writes it when a whole processor is saved."""
        folder = copied("siglip")
        expected = load_encoder(f"hf:{folder}").preprocess
        values = json.loads((folder / "preprocessor_config.json").read_text())
        (folder / "preprocessor_config.json").unlink()
        (folder / "processor_config.json").write_text(
            json.dumps({"image_processor": values, "processor_class": "SiglipProcessor"})
        )
        assert load_encoder(f"hf:{folder}").preprocess == expected

    def test_sizes_and_names_of_early_files(self, copied):
        folder = copied()
        expected = load_encoder(f"hf:{folder}").preprocess
        early = {"feature_extractor_type": "CLIPFeatureExtractor", "image_processor_type": None}
        edit(folder / "preprocessor_config.json", size=32, crop_size=32, **early)
        assert load_encoder(f"hf:{folder}").preprocess == expected

    def test_normalisation_left_out(self, copied):
        folder = copied()
        edit(folder / "preprocessor_config.json", do_normalize=False)
        preprocess = load_encoder(f"hf:{folder}").preprocess
        assert (preprocess.mean, preprocess.std) == ((0, 0, 0), (1, 1, 1))

    def test_a_crop_out_of_a_larger_image(self, copied):
        folder = copied()
        edit(folder / "preprocessor_config.json", size={"shortest_edge": 36})
        preprocess = load_encoder(f"hf:{folder}").preprocess
        assert (preprocess.size, preprocess.shorter_side, preprocess.resize) == (32, 36, "shortest")

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"resample": 1}, "resizes with the filter"),
            ({"size": {"shortest_edge": 28}}, "resizes to shortest_edge 28 and cuts height 32, width 32"),
            ({"size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}}, "takes squares of 32 pixels"),
            ({"size": {"height": 32, "width": 24}, "do_center_crop": False}, "resizes to height 32, width 24"),
            ({"do_center_crop": False}, "resizes to shortest_edge 32"),
            ({"do_resize": False}, "resizes to nothing"),
            ({"rescale_factor": 1 / 127.5}, "multiplies pixels by 0.00784314"),
            ({"do_rescale": False}, "multiplies pixels by 1"),
            ({"image_mean": [0.5]}, "has mean (0.5,)"),
            ({"image_std": [0.5, 0.0, 0.5]}, "standard deviation (0.5, 0.0, 0.5)"),
            ({"image_processor_type": "NoImageProcessor"}, "cannot read preprocessor_config.json"),
        ],
    )
    def test_what_cannot_be_done_is_refused(self, copied, changes, said):
        folder = copied()
        edit(folder / "preprocessor_config.json", **changes)
        message = refused(folder)
        assert said in message and "xpected" in message

    def test_damaged(self, copied):
        folder = copied()
        (folder / "preprocessor_config.json").write_text("{")
        assert "cannot read preprocessor_config.json" in refused(folder)


class TestImageSize:
    @pytest.mark.parametrize("kind", ["clip", "metaclip_2", "siglip", "chinese_clip", "altclip"])
    @pytest.mark.parametrize("size", [16, 48])
    @torch.no_grad()
    def test_positions_are_resized_as_the_library_does_it_at_run_time(self, tmp_path, published, kind, size):
        folder, library = published(kind)
        encoder = load_encoder(f"hf:{folder},image_size={size}")
        assert encoder.preprocess.size == size
        pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        expected = library.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output
        torch.testing.assert_close(encoder.encode_image(pixels), expected, atol=2e-6, rtol=1e-5)
        assert encoder.vision_tokens(pixels).grid == (size // 8, size // 8)
        told = encoder.architecture["resized"]
        assert (told["from"], told["to"]) == (32, size) and "no antialias" in told["positions"]
        save_model(encoder, tmp_path)
        again = load_encoder(f"file:{tmp_path}")
        assert torch.equal(again.encode_image(pixels), encoder.encode_image(pixels))
        assert again.preprocess == encoder.preprocess

    @torch.no_grad()
    def test_naflex_resizes_for_every_batch(self, tmp_path, published):
        folder, library = published("siglip2")
        encoder = load_encoder(f"hf:{folder},image_size=48")
        pixels = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
        patches = pixels.reshape(1, 3, 6, 8, 6, 8).permute(0, 2, 4, 3, 5, 1).reshape(1, 36, 192)
        inputs = {"pixel_attention_mask": torch.ones(1, 36), "spatial_shapes": torch.tensor([[6, 6]])}
        expected = library.get_image_features(pixel_values=patches, **inputs).pooler_output
        torch.testing.assert_close(encoder.encode_image(pixels), expected, atol=2e-6, rtol=1e-5)
        assert encoder.preprocess.size == 48 and "NaFlex" in encoder.architecture["resized"]["positions"]
        save_model(encoder, tmp_path)
        again = load_encoder(f"file:{tmp_path}")
        assert again.preprocess.size == 48
        assert torch.equal(again.encode_image(pixels), encoder.encode_image(pixels))

    def test_its_own_size_is_no_change(self, published):
        folder = published("clip")[0]
        assert "resized" not in load_encoder(f"hf:{folder},image_size=32").architecture

    @pytest.mark.parametrize(("value", "said"), [("36", "no multiple of the patches"), ("-8", "positive whole number")])
    def test_a_size_that_cannot_be(self, published, value, said):
        with pytest.raises(CallError, match=said):
            load_encoder(f"hf:{published('clip')[0]},image_size={value}")

    def test_a_chosen_size_overrules_that_of_the_images(self, copied):
        folder = copied()
        edit(folder / "preprocessor_config.json", size={"shortest_edge": 40}, crop_size={"height": 40, "width": 40})
        assert load_encoder(f"hf:{folder},image_size=48").preprocess.size == 48
