"""Features of regions: closed forms, gradients, and everything a batch may look like."""

import numpy as np
import open_clip
import pytest
import torch

from vlm_data.dataset import ArrayDataset
from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess
from vlm_models import load_encoder
from vlm_models.features import extract_features
from vlm_models.openclip.encoder import OpenClipEncoder
from vlm_models.region_batch import box_coverage
from vlm_models.region_pooling import POOLINGS, features_with_regions, shares_head
from vlm_models.regions import region_features

QUADRANTS = torch.tensor([[0.0, 0, 16, 16], [16, 0, 32, 16], [0, 16, 16, 32], [16, 16, 32, 32]])
WHOLE = torch.tensor([[0.0, 0, 32, 32]])


def pictures(count: int = 6, size: int = 32, seed: int = 0) -> ArrayDataset:
    images = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return ArrayDataset("noise", "test", tuple(map(str, range(count))), np.zeros(count, dtype=np.int64), images)


def batch(count: int = 3, size: int = 32) -> torch.Tensor:
    return torch.from_numpy(pictures(count, size).images).permute(0, 3, 1, 2)


@pytest.fixture
def tiny():
    return load_encoder("tiny")


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


class TestClosedForms:
    @pytest.mark.parametrize("pooling", ["attention", "crop"])
    @torch.no_grad()
    def test_the_whole_image_as_a_region_is_the_image(self, tiny, pooling):
        image_of = torch.tensor([2, 0, 1])
        features, regions = features_with_regions(tiny, batch(), WHOLE.repeat(3, 1), image_of, pooling)
        torch.testing.assert_close(features, tiny.encode_image(batch()), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(regions, features[image_of], atol=1e-6, rtol=1e-5)

    @torch.no_grad()
    def test_a_region_is_what_the_class_token_sees_without_other_patches(self, tiny):
        """Run the blocks by hand; of the keys of the last one keep the class token and the patches of the region."""
        visual, images = tiny.clip.visual, batch(1)
        tokens = visual._embeds(tiny.preprocess.normalise(images))
        for block in visual.transformer.resblocks[:-1]:
            tokens = block(tokens)
        seen = tokens[:, [0, 1, 2, 5, 6]]  # class token, rows 0 and 1 of columns 0 and 1 of a grid of 4 x 4
        expected = visual.ln_post(visual.transformer.resblocks[-1](seen)[:, 0]) @ visual.proj
        _, regions = features_with_regions(tiny, images, QUADRANTS[:1], torch.tensor([0]), "attention")
        torch.testing.assert_close(regions, expected, atol=1e-6, rtol=1e-5)

    def test_patches_under_a_box_are_averaged_and_projected(self, tiny):
        data = pictures(3)
        patches = extract_features(tiny, data, ["tokens.patches"])["tokens.patches"].reshape(3, 4, 4, -1)
        boxes = np.array([[0, 0, 16, 8], [8, 8, 12, 12], [0, 0, 32, 32], [4, 0, 16, 8]], dtype=float)
        found = region_features(tiny, data, np.array([2, 0, 1, 2]), boxes, "patch", batch_size=2)
        projection = tiny.clip.visual.proj.detach().numpy()
        means = [
            patches[2, 0, :2].mean(0), patches[0, 1, 1], patches[1].mean((0, 1)),
            (0.5 * patches[2, 0, 0] + patches[2, 0, 1]) / 1.5,
        ]  # fmt: skip
        np.testing.assert_allclose(found, np.stack(means) @ projection, atol=1e-5)

    @torch.no_grad()
    def test_where_the_map_is_constant_roi_and_patch_are_the_same(self, tiny):
        tiny.clip.visual.positional_embedding.zero_()  # no positions, so that equal pixels have equal tokens
        grey = torch.full((1, 3, 32, 32), 90, dtype=torch.uint8)
        boxes, image_of = torch.tensor([[0.0, 0, 32, 32], [3, 5, 20, 30]]), torch.tensor([0, 0])
        found = [features_with_regions(tiny, grey, boxes, image_of, pooling)[1] for pooling in ("roi", "patch")]
        torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_regions_of_a_resnet_end_like_its_images(self):
        """RoIAlign of the whole map at its own resolution is the map, so the region feature is the image feature."""
        model, images = resnet(), batch(2, 64)
        assert model.region_size == 4
        features, regions = features_with_regions(model, images, WHOLE.repeat(2, 1) * 2, torch.arange(2), "roi")
        torch.testing.assert_close(features, model.encode_image(images))
        torch.testing.assert_close(regions, features, atol=1e-4, rtol=1e-4)

    @torch.no_grad()
    def test_a_crop_is_the_part_alone_enlarged(self, tiny):
        """What surrounds the region is white, and no white is seen."""
        part = batch(1, 16).float().div(255)
        image = torch.ones(1, 3, 32, 32)
        image[:, :, 4:20, 16:] = part
        enlarged = torch.nn.functional.interpolate(part, scale_factor=2, mode="bilinear")
        _, regions = features_with_regions(tiny, image, torch.tensor([[16.0, 4, 32, 20]]), torch.tensor([0]), "crop")
        torch.testing.assert_close(regions, tiny.encode_image(enlarged), atol=1e-5, rtol=1e-4)

    def test_coverage_sums_to_the_area(self):
        cells = torch.tensor([[0.2, 0.4, 2.9, 3.0], [1.0, 1.0, 2.0, 2.0]])
        torch.testing.assert_close(box_coverage(cells, 4, 5).sum((1, 2)), torch.tensor([2.7 * 2.6, 1.0]))

    def test_which_poolings_share_the_head(self, tiny):
        assert [shares_head(tiny, pooling) for pooling in POOLINGS] == [True, True, True, False, False]
        assert shares_head(resnet(), "roi") and not shares_head(resnet(), "patch")


class TestBatches:
    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_gradients_reach_the_tower_from_regions(self, tiny, pooling):
        boxes, image_of = QUADRANTS[[0, 3, 3]], torch.tensor([2, 0, 2])
        _, regions = features_with_regions(tiny, batch(), boxes, image_of, pooling)
        regions.square().sum().backward()
        visual = tiny.clip.visual
        for weight in (visual.proj, visual.transformer.resblocks[0].attn.in_proj_weight, visual.conv1.weight):
            assert weight.grad is not None and weight.grad.abs().max() > 0

    @pytest.mark.parametrize("pooling", POOLINGS)
    @torch.no_grad()
    def test_ragged_regions_are_those_of_single_images(self, tiny, pooling):
        """The first image has three regions in no order, the second none, the third one."""
        boxes, image_of = QUADRANTS[[1, 0, 3, 2]], torch.tensor([0, 2, 0, 0])
        features, regions = features_with_regions(tiny, batch(), boxes, image_of, pooling)
        torch.testing.assert_close(features, tiny.encode_image(batch()), atol=1e-6, rtol=1e-5)
        for number in range(4):
            image = batch()[image_of[number]][None]
            _, alone = features_with_regions(tiny, image, boxes[number][None], torch.tensor([0]), pooling)
            torch.testing.assert_close(regions[number], alone[0], atol=2e-6, rtol=1e-5)

    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_a_batch_without_regions(self, tiny, pooling):
        features, regions = features_with_regions(tiny, batch(), torch.zeros(0, 4), torch.zeros(0).long(), pooling)
        torch.testing.assert_close(features, tiny.encode_image(batch()), rtol=0, atol=0)
        assert regions.shape == (0, 64)

    @pytest.mark.parametrize("pooling", POOLINGS)
    @torch.no_grad()
    def test_the_model_is_as_before(self, tiny, pooling):
        hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in tiny.modules()]
        features_with_regions(tiny, batch(), QUADRANTS, torch.tensor([0, 0, 1, 2]), pooling)
        assert hooks == [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in tiny.modules()]

    def test_wrong_boxes(self, tiny):
        for box in ([0, 0, 33, 16], [4, 4, 4, 8], [-1, 0, 8, 8], [float("nan"), 0, 8, 8]):
            with pytest.raises(CallError, match="region 1 has the box"):
                boxes = torch.cat([QUADRANTS[:1], torch.tensor([box])])
                features_with_regions(tiny, batch(1), boxes, torch.tensor([0, 0]))
        with pytest.raises(CallError, match="in image 1; expected one of 1 images"):
            features_with_regions(tiny, batch(1), QUADRANTS[:1], torch.tensor([1]))
        with pytest.raises(CallError, match="do not fit together"):
            features_with_regions(tiny, batch(1), QUADRANTS, torch.tensor([0]))
        with pytest.raises(CallError, match="Did you mean 'patch'"):
            features_with_regions(tiny, batch(1), QUADRANTS[:1], torch.tensor([0]), "patches")
