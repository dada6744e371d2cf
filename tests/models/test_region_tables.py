"""Tables of regions as discovery reads them: what a classifier makes of boxes, kept under what it depends on."""

import numpy as np
import pytest
import torch

from vlm_data import load_benchmark
from vlm_data.dataset import ArrayDataset
from vlm_data.errors import CallError
from vlm_data.tables.regions import Regions
from vlm_models import load_encoder, regions
from vlm_models.proposals import Proposals, propose
from vlm_models.region_pooling import POOLINGS
from vlm_models.region_tables import embed_regions
from vlm_models.regions import region_features
from vlm_models.zero_shot import zero_shot_classifier


@pytest.fixture
def digits():
    return load_benchmark("digits", limit=5).test


@pytest.fixture
def model():
    benchmark = load_benchmark("digits", limit=5)
    return zero_shot_classifier(load_encoder("tiny"), benchmark.class_names, benchmark.templates)


class TestTable:
    def test_the_whole_image_as_a_region_scores_as_the_image(self, model, digits):
        for pooling in ("attention", "crop"):
            found = embed_regions(model, digits, propose("grid:1x1", digits), pooling)
            with torch.no_grad():
                logits = model(torch.from_numpy(digits.images).permute(0, 3, 1, 2)).numpy()
            np.testing.assert_allclose(found.logits, logits, atol=1e-3)
            np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=1e-6)
            assert found.image_ids == digits.ids

    def test_what_was_known_is_kept(self, model, digits):
        boxes = np.array([[0, 0, 16, 16], [16, 0, 32, 16], [0, 0, 20, 32]], dtype=float)
        known = Regions(
            (digits.ids[3], "of another split", digits.ids[0]), boxes, labels=np.array([9, -1, 2]),
            contents=("nine", "empty", "two"), spurious=np.array([True, False, False]), clusters=np.array([4, 1, 1]),
        )  # fmt: skip
        found = embed_regions(model, digits, known, "patch")
        assert found.image_ids == (digits.ids[3], digits.ids[0])
        assert found.contents == ("nine", "two")
        assert found.labels.tolist() == [9, 2] and found.spurious.tolist() == [True, False]
        assert found.clusters is None  # of another model
        plain = embed_regions(model, digits, Proposals(np.array([3, 0]), boxes[[0, 2]]), "patch")
        np.testing.assert_array_equal(found.embeddings, plain.embeddings)

    def test_meta_says_where_it_comes_from(self, model, digits):
        found = embed_regions(model, digits, propose("grid:2x2", digits), "roi")
        assert found.meta["fingerprint"] == digits.fingerprint
        facts = {key: found.meta[key] for key in ("data", "split", "proposer", "pooling", "model")}
        expected = {"data": "digits", "split": "test", "proposer": "grid:2x2", "pooling": "roi", "model": "tiny"}
        assert facts == expected

    def test_a_region_the_model_does_not_see_is_left_out(self, model):
        wide = np.random.default_rng(0).integers(0, 256, (2, 32, 96, 3), dtype=np.uint8)
        data = ArrayDataset("wide", "test", ("a", "b"), np.array([0, 1]), wide)
        found = embed_regions(model, data, propose("grid:1x3", data), "crop")  # the outer thirds are cut away
        assert found.image_ids == ("a", "b") and found.boxes.tolist() == [[32, 0, 64, 32]] * 2
        outside = Proposals(np.array([0]), np.array([[0.0, 0, 30, 32]]))
        with pytest.raises(CallError, match=r"none of 1 regions .* is inside what tiny sees"):
            embed_regions(model, data, outside)

    def test_regions_of_other_images_and_towers_without_a_head(self, model, digits):
        strange = Regions(("x", "y"), np.array([[0, 0, 4, 4.0]] * 2))
        with pytest.raises(CallError, match="none of 2 regions lies in an image of digits"):
            embed_regions(model, digits, strange)
        with pytest.raises(CallError, match="tiny has no head"):
            embed_regions(model.encoder, digits, propose("grid:2x2", digits))


class TestFeatures:
    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_order_batch_and_repeated_images_do_not_matter(self, model, digits, pooling):
        rng = np.random.default_rng(3)
        rows = rng.integers(0, 5, 17)
        corners = np.sort(rng.uniform(0, 31, (17, 2, 2)), axis=1)
        boxes = np.concatenate([corners[:, 0], corners[:, 1] + 0.5], axis=1)
        whole = region_features(model.encoder, digits, rows, boxes, pooling)
        assert whole.shape == (17, 64) and np.isfinite(whole).all()
        alone = region_features(model.encoder, digits, rows, boxes, pooling, batch_size=1)
        np.testing.assert_allclose(alone, whole, atol=1e-5)
        order = rng.permutation(17)
        mixed = region_features(model.encoder, digits, rows[order], boxes[order], pooling)
        np.testing.assert_allclose(mixed, whole[order], atol=1e-5)

    def test_images_without_regions_are_not_read(self, model, digits):
        rows, boxes = np.array([4, 1]), np.array([[0, 0, 16, 16], [4, 4, 20, 30]], dtype=float)
        read = []
        region_features(model.encoder, digits, rows, boxes, progress=lambda *seen: read.append(seen), batch_size=1)
        assert [total for *_, total in read] == [2, 2]

    def test_training_mode_comes_back(self, model, digits):
        model.encoder.train()
        region_features(model.encoder, digits, np.array([0]), np.array([[0.0, 0, 16, 16]]))
        assert model.encoder.training


class TestCache:
    @pytest.fixture
    def passes(self, monkeypatch):
        """Count how often features are computed; the real computation runs."""
        counted, real = [], regions._compute
        monkeypatch.setattr(regions, "_compute", lambda *args: counted.append(1) or real(*args))
        return counted

    def test_the_second_call_reads(self, model, digits, tmp_path, passes):
        grid = propose("grid:2x2", digits)
        first, again = (embed_regions(model, digits, grid, cache=tmp_path) for _ in range(2))
        assert len(passes) == 1 and len(list(tmp_path.iterdir())) == 1
        np.testing.assert_array_equal(first.embeddings, again.embeddings)
        np.testing.assert_array_equal(first.logits, again.logits)

    def test_everything_that_matters_is_in_the_key(self, model, digits, tmp_path, passes):
        grid = propose("grid:2x2", digits)
        embed_regions(model, digits, grid, "patch", cache=tmp_path)
        embed_regions(model, digits, grid, "roi", cache=tmp_path)
        embed_regions(model, digits, propose("grid:2x1", digits), "patch", cache=tmp_path)
        embed_regions(model, digits.select([0, 1, 2, 4, 3]), grid, "patch", cache=tmp_path)
        with torch.no_grad():
            model.encoder.clip.visual.proj.mul_(2)
        embed_regions(model, digits, grid, "patch", cache=tmp_path)
        model.encoder.to(torch.bfloat16)
        embed_regions(model, digits, grid, "patch", cache=tmp_path)
        assert len(passes) == 6

    def test_another_head_needs_no_other_features(self, model, digits, tmp_path, passes):
        grid = propose("grid:2x2", digits)
        first = embed_regions(model, digits, grid, cache=tmp_path)
        with torch.no_grad():
            model.head.bias.add_(1)
        again = embed_regions(model, digits, grid, cache=tmp_path)
        assert len(passes) == 1
        np.testing.assert_allclose(again.logits, first.logits + 1, atol=1e-5)
        assert again.meta["weights_hash"] != first.meta["weights_hash"]

    def test_a_damaged_file_is_computed_again(self, model, digits, tmp_path, passes):
        grid = propose("grid:2x2", digits)
        first = embed_regions(model, digits, grid, cache=tmp_path)
        (file,) = tmp_path.iterdir()
        file.write_bytes(file.read_bytes()[:50])
        np.testing.assert_array_equal(embed_regions(model, digits, grid, cache=tmp_path).embeddings, first.embeddings)
        assert len(passes) == 2
