"""Fine-tuning with known spurious regions: what each method computes, and that files of regions are checked."""

import dataclasses
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from vlm_data.errors import CallError, VlmError
from vlm_data.region_batches import BatchRegions, RegionSource
from vlm_data.tables import Regions
from vlm_finetune.errors import RecipeError
from vlm_finetune.finetuning import finetune, zero_shot_model
from vlm_finetune.losses import contrastive, region_aware
from vlm_finetune.losses.groups import group_losses, moved_group_weights
from vlm_finetune.losses.image_similarity import similarity_gap
from vlm_finetune.losses.region_aware import ScoredRegions
from vlm_finetune.losses.region_uniform import distance_from_uniform, label_cross_entropy
from vlm_finetune.recipe import METHODS, parse
from vlm_finetune.training_regions import group_weights, training_labels, training_regions
from vlm_models import load_model
from vlm_models.region_pooling import POOLINGS, features_with_regions

pairs = runpy.run_path(str(Path(__file__).with_name("grad_cache_worker.py")))["pairs"]
GROUPED = ["upsampled", "vl-erm", "vl-gdro", "spurious-aware"]
"""Methods that look at groups, and not into regions."""


@pytest.fixture
def build(recipe, digits):
    """Builds a method on a fresh model."""

    def on_fresh_model(name, **settings):
        own = recipe(name, method=settings)
        return METHODS.load(own.method).build(zero_shot_model(own, digits), own.method_settings, 10)

    return on_fresh_model


def features(method, batch):
    """Unit-norm features of images, captions, regions and classes, each computed for itself."""
    encoder = method.model.encoder
    pooled = features_with_regions(
        encoder, batch.images, batch.regions.boxes, batch.regions.image_of, method.pooling or "crop"
    )
    texts = encoder.encode_text(encoder.tokenize(batch.captions))
    classes = method.model.head.weight
    return [functional.normalize(found.detach().float(), dim=1) for found in (pooled[0], texts, pooled[1], classes)]


class TestRegionAware:
    @pytest.mark.parametrize("pooling", [name for name in POOLINGS if name != "roi"])
    def test_the_loss_is_that_of_the_features(self, build, pooling):
        settings = {"reduction": "mean", "label_terms": "per-sample", "temperature": 0.2, "contrastive_weight": 0.3}
        method, batch = build("region-aware", pooling=pooling, **settings), pairs()
        found = method(batch, 0)
        facts = (batch.regions.labels, batch.regions.image_of, batch.regions.spurious)
        torch.testing.assert_close(found["loss"], region_aware(*features(method, batch), *facts, **settings))
        images, texts = features(method, batch)[:2]
        torch.testing.assert_close(found["contrastive"].detach(), contrastive(images, texts, 5.0))

    def test_lambda_one_is_standard_fine_tuning_bit_for_bit(self, train, tmp_path):
        tables = {"data": {"augmentation": "crop"}, "training": {"epochs": 2, "accumulation_steps": 2}}
        plain, events = train("standard", tmp_path / "plain", **tables)
        ours, own = train("region-aware", tmp_path / "ours", method={"contrastive_weight": 1.0}, **tables)
        weights = [(run.path / "model.safetensors").read_bytes() for run in (plain, ours)]
        assert weights[0] == weights[1]
        losses = [[event["loss"] for event in log if event["event"] == "step"] for log in (events, own)]
        assert losses[0] == losses[1]

    def test_a_batch_without_any_region(self, build):
        method, batch = build("region-aware"), pairs(8)
        none = torch.zeros(0, dtype=torch.bool)
        labels = batch.regions.labels
        regions = BatchRegions(torch.zeros(0, 4), none.long(), none, labels, torch.zeros(8, dtype=torch.bool))
        found = method(dataclasses.replace(batch, regions=regions), 0)
        found["loss"].backward()
        torch.testing.assert_close(found["loss"], 0.8 * found["contrastive"])
        assert found["anchors"] == 0

    def test_captions_are_encoded_once_until_forgotten(self, build):
        method, batch = build("region-aware"), pairs(8)
        passed = []
        method.model.encoder.clip.token_embedding.register_forward_hook(lambda *_: passed.append(1))
        for step in range(3):
            method(batch, step)
        assert len(passed) == 1
        method.forget()
        method(batch, 3)
        assert len(passed) == 2

    def test_true_regions_are_told_apart_after_training(self, train, tmp_path, recipe, digits):
        source = training_regions("region-aware", recipe("region-aware").data, digits)
        run, events = train("region-aware", method={"reduction": "mean"}, training={"epochs": 4})
        steps = [event for event in events if event["event"] == "step"]
        for term in ("region_to_label", "label_to_region"):
            values = [step[term] for step in steps]
            assert np.mean(values[-3:]) < np.mean(values[:3])
        assert source.spurious.any() and load_model(run.spec).head_kind == "zero-shot"


class TestRegionUniform:
    def test_terms_written_out(self):
        scores = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [4.0, 1.0, 1.0], [5.0, 5.0, 5.0]])
        image_of, spurious = torch.tensor([0, 0, 1, 1]), torch.tensor([False, True, False, True])
        regions = ScoredRegions(scores, image_of, spurious, torch.tensor([1, 0, -1]))
        loss, anchors = label_cross_entropy(regions)
        rows = torch.stack([scores[0, :2], scores[2, :2]])  # class 2 is no label of this batch
        torch.testing.assert_close(loss, functional.cross_entropy(rows, torch.tensor([1, 0])))
        assert anchors.tolist() == [True, True, False]
        expected = functional.kl_div(scores[1].log_softmax(0), torch.full((3,), 1 / 3), reduction="sum") / 2
        torch.testing.assert_close(distance_from_uniform(regions), expected)

    def test_nothing_to_look_at_is_zero(self):
        none = torch.zeros(0, dtype=torch.bool)
        regions = ScoredRegions(torch.zeros(0, 3, requires_grad=True), none.long(), none, torch.tensor([1, -1]))
        assert label_cross_entropy(regions)[0] == 0 and distance_from_uniform(regions) == 0

    def test_coefficients_zero_are_standard_fine_tuning(self, build):
        batch = pairs(8)
        method = build("region-uniform", relevant=0.0, spurious=0.0)
        assert torch.equal(method(batch, 0)["loss"], build("standard")(batch, 0)["loss"])


class TestGroups:
    def test_erm_is_the_cross_entropy_of_zero_shot_logits(self, build):
        method, batch = build("vl-erm", contrastive_weight=0.25), pairs()
        images, texts, _, classes = features(method, batch)
        known = batch.regions.labels >= 0
        assert 0 < known.sum() < len(known)
        own = functional.cross_entropy((images @ classes.T / 0.07)[known], batch.regions.labels[known])
        expected = 0.25 * contrastive(images, texts, 1 / 0.07) + 0.75 * own
        torch.testing.assert_close(method(batch, 0)["loss"], expected)

    def test_group_weights_follow_the_losses_once_per_step(self, build):
        method, batch = build("vl-gdro", step_size=0.5), pairs()
        before = method.group_weights.clone()
        found = [method(batch, 0) for _ in range(2)]
        assert torch.equal(found[0]["loss"], found[1]["loss"]) and torch.equal(method.group_weights, before)
        images, _, _, classes = features(method, batch)
        labels, holds = batch.regions.labels, batch.regions.holds
        losses = functional.cross_entropy(images @ classes.T / 0.07, labels.clamp(min=0), reduction="none")
        of_groups = torch.zeros(20)
        for group in range(20):
            own = losses[(labels == group // 2) & (holds == bool(group % 2))]
            of_groups[group] = own.mean() if len(own) else 0.0
        expected = before * (0.5 * of_groups).exp()
        expected /= expected.sum()
        method.after_step(0)
        torch.testing.assert_close(method.group_weights, expected)
        torch.testing.assert_close(found[0]["group_dro"].detach(), (expected * of_groups).sum())

    def test_only_groups_that_exist_have_a_weight(self, build, recipe, digits):
        method = build("vl-gdro")
        source = training_regions("vl-gdro", recipe("vl-gdro").data, digits)
        method.meet(source)
        there = np.unique(source.groups)
        assert 10 < len(there) < 21 and method.group_weights.sum().item() == pytest.approx(1)
        assert method.group_weights.nonzero().squeeze(1).tolist() == there.tolist()

    def test_a_step_size_of_zero_leaves_the_weights(self):
        weights = torch.tensor([0.2, 0.8])
        torch.testing.assert_close(moved_group_weights(weights, torch.tensor([3.0, 1.0]), 0.0), weights)
        assert group_losses(torch.zeros(0), torch.zeros(0, dtype=torch.long), 2).tolist() == [0, 0]

    def test_images_of_one_kind_are_pulled_together(self):
        features = functional.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
        kinds, cosines = [0, 1, -1, 0, 1, 1], features @ features.T
        total = sum(
            (-1 if kinds[i] == kinds[j] else 1) * float(cosines[i, j])
            for i in range(6)
            for j in range(6)
            if kinds[i] >= 0 and kinds[j] >= 0
        )
        assert similarity_gap(features, torch.tensor(kinds)).item() == pytest.approx(total / 36, rel=1e-5)

    def test_every_group_is_drawn_as_often(self, recipe, digits):
        source = training_regions("upsampled", recipe("upsampled").data, digits)
        labels = source.labels.copy()
        labels[:9] = -1
        source = dataclasses.replace(source, labels=labels)
        weights = group_weights(source)
        shares = [weights[source.groups == group].sum() for group in np.unique(source.groups)]
        assert shares[0] == pytest.approx(9)  # those without a class, as often as without weights
        assert shares[1:] == pytest.approx([shares[1]] * (len(shares) - 1))
        assert weights.sum() == pytest.approx(len(digits.train))

    @pytest.mark.parametrize("name", GROUPED)
    def test_what_is_drawn_by_group(self, build, name):
        assert build(name).balances_groups is (name != "spurious-aware")

    def test_group_weights_of_micro_batches_are_refused(self):
        training = {"negatives": "micro-batch", "accumulation_steps": 2}
        with pytest.raises(RecipeError, match="negatives is micro-batch, but vl-gdro looks at whole batches"):
            parse({"method": {"name": "vl-gdro"}, "training": training})
        parse({"method": {"name": "vl-gdro"}, "training": {**training, "accumulation_steps": 1}})


class TestLabels:
    def test_classes_are_read_from_captions_where_labels_are_missing(self, digits):
        names = digits.class_names
        captions = (("the number is a nine",), ("a one or a two",), ("a picture",), ("a three", "one three"), ("two",))
        train = digits.train.select(range(5))
        labels = np.array([-1, -1, -1, -1, 7])
        train = dataclasses.replace(train, labels=labels, captions=captions)
        found = training_labels(dataclasses.replace(digits, train=train))
        assert found.tolist() == [names.index("nine"), -1, -1, -1, 7] and train.labels.tolist() == labels.tolist()

    def test_a_training_with_captions_in_place_of_labels_is_the_same(self, digits, train, tmp_path):
        captions = tuple((f"the digit {digits.class_names[label]}",) for label in digits.train.labels)
        both = dataclasses.replace(digits.train, captions=captions)
        without = dataclasses.replace(both, labels=np.full(len(both), -1))
        weights = [
            (train("region-aware", tmp_path / name, benchmark=dataclasses.replace(digits, train=data))[0].path)
            / "model.safetensors"
            for name, data in (("with", both), ("without", without))
        ]
        assert weights[0].read_bytes() == weights[1].read_bytes()


def table(digits, **changes):
    """One region per training image, every second one spurious."""
    ids = digits.train.ids
    own = {"boxes": np.tile([0.0, 0.0, 16.0, 16.0], (len(ids), 1)), "spurious": np.arange(len(ids)) % 2 == 0}
    return Regions(ids, **{**own, **changes})


class TestFiles:
    """A file of regions that does not fit is refused before anything is trained."""

    @pytest.fixture
    def refused(self, digits, recipe, tmp_path):
        def attempt(message, regions, name="region-aware", benchmark=None, **data):
            regions.save(tmp_path / "regions.parquet")
            own = recipe(name, data={"regions": str(tmp_path / "regions.parquet"), **data})
            shutil.rmtree(tmp_path / "run", ignore_errors=True)
            with pytest.raises(VlmError, match=message):
                finetune(own, tmp_path / "run", benchmark=benchmark or digits)

        return attempt

    def test_of_other_images(self, refused, digits):
        ids = tuple(f"photo{row}" for row in range(len(digits.train)))
        other = table(digits).replace(image_ids=ids)
        refused(r"regions of other images: none of its 96 ids, such as 'photo0', .* is a training image of digi", other)

    def test_of_other_images_among_them(self, refused, digits):
        ids = ("stranger", *digits.train.ids[1:])
        refused(
            "regions of other data: 1 of its 96 images are not in digits, such as 'stranger'",
            table(digits).replace(image_ids=ids),
            limit=0,
        )

    def test_images_that_a_limit_leaves_out_are_no_strangers(self, digits, recipe, tmp_path):
        table(digits).replace(image_ids=("left out", *digits.train.ids[1:])).save(tmp_path / "r.parquet")
        source = training_regions("region-aware", recipe(data={"regions": str(tmp_path / "r.parquet")}).data, digits)
        assert len(source.boxes) == 95 and source.bounds[:3].tolist() == [0, 0, 1]

    def test_of_other_images_with_the_same_names(self, refused, digits, tmp_path):
        found = table(digits).replace(meta={"split": "train", "fingerprint": "of other images"})
        refused("was made for other images than those of digits, though they have the same names", found, limit=0)
        truth = table(digits).replace(meta={"data": "planted"}, contents=("nine",) * 96)
        truth.save(tmp_path / "own.parquet")
        setting = dataclasses.replace(digits, regions=tmp_path / "own.parquet")
        moved = truth.replace(boxes=truth.boxes + 1)
        others = truth.replace(contents=("rectangle", *truth.contents[1:]))
        for regions, limit in ((moved, 0), (moved, 60), (others, 60)):
            refused("was made for other images than those of digits", regions, benchmark=setting, limit=limit)

    @pytest.mark.parametrize("meta", ["own fingerprint", "own table", "part of the own table"])
    def test_made_for_these_images(self, digits, recipe, tmp_path, meta):
        regions = table(digits).replace(meta={"data": "planted"}).save(tmp_path / "own.parquet")
        setting = dataclasses.replace(digits, regions=tmp_path / "own.parquet")
        if meta == "own fingerprint":
            regions = regions.replace(meta={"split": "train", "fingerprint": digits.train.fingerprint})
        regions = regions.select(np.arange(40)) if meta.startswith("part") else regions
        regions.save(tmp_path / "r.parquet")
        own = recipe(data={"regions": str(tmp_path / "r.parquet"), "limit": 0})
        assert len(training_regions("region-aware", own.data, setting).boxes) == len(regions)

    def test_without_regions(self, refused, digits):
        refused(r"regions\.parquet holds no region\. Expected regions of the training", table(digits).select([]))

    def test_without_flags(self, refused, digits):
        refused("does not say which of them are spurious", table(digits, spurious=None))

    @pytest.mark.parametrize("name", ["region-aware", *GROUPED])
    def test_without_a_spurious_region(self, refused, digits, name):
        refused(
            "none of the 96 regions of training images in .* is spurious, so there is nothing to unlearn",
            table(digits, spurious=np.zeros(96, dtype=bool)),
            name,
        )

    def test_without_a_class(self, refused, digits):
        captions = tuple(("a picture",) for _ in digits.train.ids)
        train = dataclasses.replace(digits.train, labels=np.full(96, -1), captions=captions)
        benchmark = dataclasses.replace(digits, train=train)
        refused("needs classes, but no training image of digits has a label", table(digits), benchmark=benchmark)

    def test_no_table(self, digits, recipe, tmp_path):
        (tmp_path / "regions.parquet").write_bytes(b"no table")
        with pytest.raises(VlmError, match="is not a parquet file"):
            training_regions("vl-erm", recipe(data={"regions": str(tmp_path / "regions.parquet")}).data, digits)

    def test_missing_and_uncalled_for(self, recipe, tmp_path, digits):
        with pytest.raises(CallError, match="region-aware has to know which regions of the training images are spuri"):
            finetune(parse({"method": {"name": "region-aware"}}), tmp_path / "run", benchmark=digits)
        with pytest.raises(CallError, match=r"--regions names no\.parquet, which is no file"):
            finetune(recipe("vl-erm", data={"regions": "no.parquet"}), tmp_path / "run", benchmark=digits)
        for name in ("full", "lp-ft", "linear-probe-lbfgs", "standard"):
            with pytest.raises(CallError, match=r"looks at no regions, but r\.parquet was given"):
                finetune(recipe(name, data={"regions": "r.parquet"}), tmp_path / "run", benchmark=digits)
        assert not (tmp_path / "run").exists()

    def test_images_without_regions_are_trained_on(self, digits, recipe, tmp_path):
        few = table(digits).select(np.arange(96) < 5)
        few.save(tmp_path / "few.parquet")
        own = recipe("region-aware", data={"regions": str(tmp_path / "few.parquet")}, training={"epochs": 1})
        assert finetune(own, tmp_path / "run", benchmark=digits).is_trained
        source = RegionSource.of(few, digits.train, digits.train.labels)
        assert (np.diff(source.bounds) == 0).sum() == 91
