import copy
import dataclasses
import json
import math

import pytest
import torch

from vlm_data import load_benchmark
from vlm_explain.checking import DeletionCheck, RandomisationCheck, check_deletion, check_maps, check_randomisation
from vlm_explain.checking.deletion import Comparison
from vlm_explain.rationale import Perturbation
from vlm_explain.relevance import RelevanceOptions
from vlm_models import load_encoder
from vlm_models.classifier import LINEAR, Classifier, LinearHead
from vlm_models.zero_shot import zero_shot_classifier


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=40)


@pytest.fixture(scope="module")
def zero_shot(digits):
    return zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)


@pytest.fixture(scope="module")
def images(digits):
    return torch.from_numpy(digits.test.images).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def labels(digits):
    return torch.from_numpy(digits.test.labels)


class TestRandomisation:
    def test_maps_of_the_attention_rule_depend_on_the_weights(self, zero_shot, images, labels):
        found = check_randomisation(zero_shot, images, labels, RelevanceOptions())
        assert found.stages[:2] == ("head", "projection") and found.stages[-1] == "patch embedding and norms"
        assert [stage for stage in found.stages if stage.startswith("block")] == [
            f"block {number}" for number in (4, 3, 2, 1)
        ]
        assert found.passed and found.rank_correlation[-1] < 0.35 < 0.5
        assert found.verdict.startswith("Maps depend on what the model learnt: rank correlation ")
        assert found.n == 40 and -1 < found.between_images < 1

    def test_maps_that_know_no_class_do_not_change_with_the_head(self, zero_shot, images, labels):
        found = check_randomisation(zero_shot, images, labels, RelevanceOptions(method="rollout"))
        assert found.rank_correlation[:2] == pytest.approx((1, 1), abs=1e-6)
        assert found.structural_similarity[:2] == pytest.approx((1, 1), abs=1e-6)
        assert found.rank_correlation[-1] < 0.8

    def test_a_head_without_weights_gives_no_maps(self, zero_shot, images, labels):
        """Gradients are zero, so every map is flat: nothing is compared, and nothing is claimed."""
        silent = Classifier(
            zero_shot.encoder, LinearHead(torch.zeros(10, 64)), LINEAR, zero_shot.class_names, zero_shot.templates
        )
        found = check_randomisation(silent, images[:4], labels[:4], RelevanceOptions())
        assert found.flat == (4,) * len(found.stages) and found.passed is None
        assert all(math.isnan(value) for value in (*found.rank_correlation, found.between_images))
        assert found.verdict == "No map of the randomised model is defined (4 images), so nothing can be compared."

    def test_the_model_stays_and_the_seed_decides(self, zero_shot, images, labels):
        before = copy.deepcopy(zero_shot.state_dict())
        first, again, other = (
            check_randomisation(zero_shot, images[:6], labels[:6], RelevanceOptions(), seed=seed) for seed in (0, 0, 1)
        )
        assert first == again and first != other
        assert all(torch.equal(before[name], tensor) for name, tensor in zero_shot.state_dict().items())

    @pytest.mark.parametrize("target", ["prediction", "class:seven", "contrast"])
    def test_the_class_that_is_explained_stays(self, zero_shot, images, labels, target):
        found = check_randomisation(zero_shot, images[:6], labels[:6], RelevanceOptions(target=target), batch_size=4)
        assert math.isfinite(found.rank_correlation[-1])

    @pytest.mark.parametrize("family", ["albef", "hf"])
    def test_towers_of_other_families(self, specimen, family):
        encoder = load_encoder(specimen(family))
        weight = torch.randn(3, encoder.embedding_dim, generator=torch.Generator().manual_seed(0))
        model = Classifier(encoder, LinearHead(weight), LINEAR, ("a", "b", "c"), ("{c}",))
        method = "attention" if family != "hf" else "pooling-attention"
        size = encoder.preprocess.size
        images = torch.randint(
            0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
        )
        found = check_randomisation(model, images, torch.tensor([0, 2]), RelevanceOptions(method=method))
        assert found.stages[0] == "head" and "block 1" in found.stages

    def test_verdicts(self):
        kept = RandomisationCheck(("head",), (0.7,), (0.6,), (0,), 0.2, 30)
        assert kept.passed is False
        assert kept.verdict == (
            "Maps hardly depend on what the model learnt: rank correlation 0.70 with all weights randomised "
            "(30 images; expected at most 0.5)."
        )


class TestDeletion:
    def test_deleting_what_is_relevant_hurts_more_than_at_random(self, zero_shot, images, labels):
        found = check_deletion(zero_shot, images, labels, RelevanceOptions())
        assert found.passed and found.deletion.by_map < found.deletion.at_random
        assert found.deletion.low < found.deletion.by_map - found.deletion.at_random < found.deletion.high < 0
        assert found.insertion.low > 0
        assert found.verdict.startswith("The answer depends on what maps call relevant: area under the deletion curve")
        assert (found.n, found.flat) == (40, 0)

    def test_flat_maps_are_left_out(self, zero_shot, images, labels):
        silent = Classifier(
            zero_shot.encoder, LinearHead(torch.zeros(10, 64)), LINEAR, zero_shot.class_names, zero_shot.templates
        )
        found = check_deletion(silent, images[:3], labels[:3], RelevanceOptions())
        assert (found.n, found.flat, found.passed) == (0, 3, None)
        assert found.verdict == "All 3 maps are undefined, so there is no order to delete in."

    def test_one_image_proves_nothing(self, zero_shot, images, labels):
        found = check_deletion(
            zero_shot, images[:1], labels[:1], RelevanceOptions(), perturbation=Perturbation(steps=4)
        )
        assert found.passed is None and "cannot be told apart from chance" in found.verdict
        assert found.deletion.low == -math.inf

    def test_verdicts(self):
        better = Comparison(0.2, 0.3, -0.15, -0.05)
        worse = dataclasses.replace(better, low=0.01, high=0.02)
        assert DeletionCheck(better, better, 9, 0).passed is True
        found = DeletionCheck(worse, better, 9, 0)
        assert found.passed is False
        assert found.verdict == (
            "The answer depends less on what maps call relevant than on the rest of the image: area under the deletion "
            "curve 0.200 against 0.300 in random order, difference +0.010 to +0.020 (9 images)."
        )


def test_both_checks_as_plain_values(zero_shot, images, labels):
    told = []
    found = check_maps(
        zero_shot,
        images[:1],
        labels[:1],
        RelevanceOptions(),
        perturbation=Perturbation(steps=3),
        progress=lambda *event: told.append(event),
    )
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert document["randomisation"]["between_images"] is None  # one image only
    assert document["deletion"]["deletion"]["low"] is None
    assert document["randomisation"]["verdict"] == found.verdicts[0]
    assert {event[0] for event in told} > {"deleting in random order", "randomising weights (head)"}
