import numpy as np
import open_clip
import pytest
import torch

from vlm_data.dataset import ArrayDataset
from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess
from vlm_models import features, load_encoder
from vlm_models.features import extract_features
from vlm_models.inference import map_images
from vlm_models.openclip.encoder import OpenClipEncoder


def pictures(count: int = 6, size: int = 32, seed: int = 0) -> ArrayDataset:
    images = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return ArrayDataset("noise", "test", tuple(map(str, range(count))), np.zeros(count, dtype=np.int64), images)


def resnet() -> OpenClipEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = open_clip.CLIP(
            16,
            open_clip.CLIPVisionCfg(image_size=64, layers=(1, 1, 1, 1), width=8, head_width=8),
            open_clip.CLIPTextCfg(context_length=8, vocab_size=50, width=16, heads=2, layers=1),
        )
    return OpenClipEncoder(
        clip.eval(), lambda texts: torch.zeros(len(texts), 8, dtype=torch.long), spec="resnet", architecture={},
        preprocess=Preprocess(64), embedding_dim=16,
    )  # fmt: skip


READINGS = ("feature", "pooled", "tokens.class", "tokens.mean", "tokens.patches", "layer0.class", "layer-1.patches")


class TestReadings:
    def test_they_are_what_the_model_computes(self):
        model, data = load_encoder("tiny"), pictures()
        found = extract_features(model, data, READINGS, batch_size=4)
        pixels = torch.from_numpy(data.images).permute(0, 3, 1, 2)
        visual = model.clip.visual
        with torch.no_grad():
            stream = visual._embeds(model.preprocess.normalise(pixels))
            first = visual.transformer.resblocks[0](stream)
            last = first
            for block in visual.transformer.resblocks[1:]:
                last = block(last)
            final = visual.ln_post(last)
            feature = final[:, 0] @ visual.proj
        expected = {
            "feature": feature, "pooled": final[:, 0], "tokens.class": final[:, 0],
            "tokens.mean": final[:, 1:].mean(1), "tokens.patches": final[:, 1:],
            "layer0.class": first[:, 0], "layer-1.patches": last[:, 1:],
        }  # fmt: skip
        assert set(found) == set(READINGS)
        for reading, values in expected.items():
            np.testing.assert_allclose(found[reading], values.numpy(), atol=2e-6, rtol=1e-5, err_msg=reading)

    @pytest.mark.parametrize("batch_size", [1, 4, 100])
    def test_they_do_not_depend_on_the_batch(self, batch_size):
        model, data = load_encoder("tiny"), pictures()
        whole, parts = (extract_features(model, data, READINGS, batch_size=size) for size in (6, batch_size))
        for reading in READINGS:
            np.testing.assert_allclose(parts[reading], whole[reading], atol=1e-5)

    @pytest.mark.parametrize("training", [True, False])
    def test_the_mode_of_the_model_stays(self, training):
        model = load_encoder("tiny").train(training)
        extract_features(model, pictures(2))
        assert model.training is training

    def test_features_alone_are_those_of_a_pass_over_the_images(self):
        model, data = load_encoder("tiny"), pictures()
        expected = map_images(model.encode_image, data, model.preprocess)
        assert np.array_equal(extract_features(model, data)["feature"], expected)

    @pytest.mark.parametrize("reading", ["features", "layer.class", "tokens", "layer0.max", "tokens.class.mean"])
    def test_unknown_readings_are_refused(self, reading):
        with pytest.raises(CallError, match=f"there is no reading '{reading}'"):
            extract_features(load_encoder("tiny"), pictures(), [reading])

    def test_what_a_model_lacks_is_said(self):
        with pytest.raises(CallError, match="tiny has no block 4; expected a number from -4 to 3"):
            extract_features(load_encoder("tiny"), pictures(), ["layer4.mean"])
        with pytest.raises(CallError, match="resnet has no class token"):
            extract_features(resnet(), pictures(2, 64), ["tokens.class"])
        with pytest.raises(CallError, match="cannot do vision attention"):
            extract_features(resnet(), pictures(2, 64), ["layer0.mean"])


class TestCache:
    @pytest.fixture
    def passes(self, monkeypatch):
        """Count passes over the data, which still happen."""
        counted = []

        def counting(*args, **kwargs):
            counted.append(1)
            return map_images(*args, **kwargs)

        monkeypatch.setattr(features, "map_images", counting)
        return counted

    def test_the_second_call_reads_the_file(self, tmp_path, passes):
        first = extract_features(load_encoder("tiny"), pictures(), READINGS, cache=tmp_path)
        again = extract_features(load_encoder("tiny"), pictures(), READINGS, cache=tmp_path)
        assert len(passes) == 1
        for reading in READINGS:
            np.testing.assert_array_equal(first[reading], again[reading])

    def test_only_what_is_missing_is_computed(self, tmp_path, passes):
        extract_features(load_encoder("tiny"), pictures(), ["feature"], cache=tmp_path)
        found = extract_features(load_encoder("tiny"), pictures(), ["feature", "pooled"], cache=tmp_path)
        assert len(passes) == 2 and len(list(tmp_path.iterdir())) == 2
        assert list(found) == ["feature", "pooled"]

    def test_whatever_changes_the_features_changes_the_key(self, tmp_path, passes):
        def other_weights(model):
            with torch.no_grad():
                model.clip.visual.proj[0, 0] += 1e-3

        def other_pixels(model):
            model.preprocess = Preprocess(32, mean=(0.4, 0.5, 0.5))

        def half(model):
            model.to(torch.bfloat16)

        def other_split(data):
            return ArrayDataset(data.name, "val", data.ids, data.labels, data.images)

        changes = [(None, None), (other_weights, None), (other_pixels, None), (half, None), (None, other_split)]
        changes += [(None, lambda data: pictures(seed=1)), (None, lambda data: data.select([1, 0, 2, 3, 4, 5]))]
        results = []
        for change_model, change_data in changes:
            model, data = load_encoder("tiny"), pictures()
            if change_model:
                change_model(model)
            data = change_data(data) if change_data else data
            results.append(extract_features(model, data, cache=tmp_path)["feature"])
        assert len(passes) == len(changes)
        assert len(list(tmp_path.iterdir())) == len(changes)

    def test_text_weights_and_damaged_files(self, tmp_path, passes):
        model = load_encoder("tiny")
        first = extract_features(model, pictures(), cache=tmp_path)["feature"]
        with torch.no_grad():
            model.clip.text_projection.zero_()
        extract_features(model, pictures(), cache=tmp_path)
        assert len(passes) == 1  # the text tower has no part in it
        (file,) = tmp_path.iterdir()
        file.write_bytes(file.read_bytes()[:50])
        np.testing.assert_array_equal(extract_features(model, pictures(), cache=tmp_path)["feature"], first)
        assert len(passes) == 2
