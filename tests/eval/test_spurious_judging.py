"""Judging settings and discoveries from files: validity over seeds, Precision@K against the planted truth."""

import dataclasses
import json

import numpy as np
import pytest

from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Predictions, Regions
from vlm_eval.spurious.discovery_file import read_discovery
from vlm_eval.spurious.group_scores import Presence, image_subgroups, region_subgroups
from vlm_eval.spurious.retrieval import holds_feature, judge_discovery
from vlm_eval.spurious.validity import judge_setting, judge_tables

NAMES = ("seven", "eight", "nine")
QUADRANTS = np.array([[0, 0, 16, 16], [16, 0, 32, 16], [0, 16, 16, 32], [16, 16, 32, 32]], dtype=float)


def answers(with_feature, without, n=120, seed=0):
    """Predictions with these accuracies of (seven, eight, nine), exactly; the tied class is nine."""
    labels = np.arange(n) % 3
    present = np.arange(n) // 3 % 2 == 0
    correct = np.zeros(n, dtype=bool)
    for label in range(3):
        for side, share in ((present, with_feature[label]), (~present, without[label])):
            rows = np.flatnonzero((labels == label) & side)
            correct[rows[: round(share * len(rows))]] = True
    predicted = np.where(correct, labels, (labels + 1) % 3)
    meta = {"data": "digits-nine", "split": "test", "alpha": "1.0", "role": "id"}
    ids = tuple(f"test/{i:03d}" for i in range(n))
    groups = {"feature": tuple("with" if one else "without" for one in present)}
    return Predictions(ids, labels, 2 * np.eye(3, dtype=np.float32)[predicted], meta, groups)


def write_run(folder, table, seed=0, names=NAMES):
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(f'[method]\nname = "full"\n[training]\nseed = {seed}\n')
    (folder / "model.json").write_text(json.dumps({"class_names": names}))
    table.save(folder / "predictions" / "digits-nine.test.alpha-1.00.parquet")
    return folder


LEARNT = answers((0.5, 0.75, 1.0), (1.0, 0.9, 0.35))
"""eps1 = 0.65 (nine), eps2 = 0.5 (seven)."""
WEAK = answers((0.8, 1.0, 1.0), (1.0, 1.0, 0.75))
"""eps1 = 0.25, eps2 = 0.2."""


class TestValidity:
    def test_every_seed_has_to_exceed_the_threshold(self, tmp_path):
        runs = [write_run(tmp_path / "a", LEARNT), write_run(tmp_path / "b", WEAK, seed=1)]
        alone, both = judge_setting(runs[:1], "nine"), judge_setting(runs, "nine")
        assert alone.valid == {0.1: True, 0.2: True, 0.3: True, 0.4: True}
        assert both.valid == {0.1: True, 0.2: False, 0.3: False, 0.4: False}
        assert alone.strength == pytest.approx(0.5) and both.strength == pytest.approx(0.2)

    def test_the_document_tells_gaps_groups_and_overall_accuracy(self, tmp_path):
        told = judge_setting([write_run(tmp_path / "a", LEARNT)], "nine").document()
        (seed,) = told["seeds"]
        assert json.loads(json.dumps(told, allow_nan=False)) == told
        assert (seed["epsilon1"], seed["epsilon2"]) == (pytest.approx(0.65), pytest.approx(0.5))
        assert seed["epsilon2_class"] == "seven" and seed["overall"] == pytest.approx(0.75)
        assert seed["worst_group"] == {"class": "nine", "value": "without", "accuracy": 0.35, "n": 20}
        assert told["valid"][0] == {"threshold": 0.1, "valid": True} and len(seed["cells"]) == 6

    def test_the_other_direction_of_the_feature_is_told_by_its_values(self):
        turned = judge_tables([("m", LEARNT)], NAMES, "nine", presence=Presence("feature", "without", "with"))
        assert turned.seeds[0].gaps.epsilon1 == pytest.approx(-0.65)

    def test_runs_that_do_not_compare_are_refused(self, tmp_path):
        run = write_run(tmp_path / "a", LEARNT)
        with pytest.raises(CallError, match="no run to judge"):
            judge_setting([], "nine")
        with pytest.raises(CallError, match="a run is named twice"):
            judge_setting([run, tmp_path / "a"], "nine")
        with pytest.raises(CallError, match=r"'nin'.*nine"):
            judge_setting([run], "nin")
        other = write_run(tmp_path / "b", LEARNT, names=("one", "two", "three"))
        with pytest.raises(CallError, match="the 2 runs are of different problems"):
            judge_setting([run, other], "nine")
        with pytest.raises(CallError, match="names 0 classes, its predictions have 3"):
            judge_setting([write_run(tmp_path / "c", LEARNT, names=())], "nine")
        with pytest.raises(CallError, match="has no val predictions at alpha 1"):
            judge_setting([run], "nine", split="val")

    def test_data_without_the_feature_are_refused(self):
        with pytest.raises(CallError, match="digits-nine does not tell which images hold the feature"):
            image_subgroups(dataclasses.replace(LEARNT, groups={}))
        with pytest.raises(CallError, match=r"'feature'.*color"):
            image_subgroups(dataclasses.replace(LEARNT, groups={"color": LEARNT.groups["feature"]}))
        with pytest.raises(CallError, match=r"the values 'maybe' of 'feature'"):
            image_subgroups(dataclasses.replace(LEARNT, groups={"feature": ("maybe",) * len(LEARNT)}))


def quadrant_regions(table, **columns):
    """Four quadrants of every image: the object in the first, the feature in the second where the image holds it."""
    n = len(table)
    labels = np.full((n, 4), -1)
    labels[:, 0] = table.labels
    spurious = np.zeros((n, 4), dtype=bool)
    spurious[:, 1] = np.array(table.groups["feature"]) == "with"
    ids = tuple(name for name in table.ids for _ in range(4))
    boxes = np.tile(QUADRANTS, (n, 1))
    return Regions(ids, boxes, labels=labels.ravel(), spurious=spurious.ravel(), **columns)


class TestRegions:
    def test_accuracy_of_regions_is_about_those_that_show_a_class(self):
        rng = np.random.default_rng(0)
        logits = rng.standard_normal((4 * len(LEARNT), 3)).astype(np.float32)
        regions = quadrant_regions(LEARNT, logits=logits)
        order = rng.permutation(len(regions))
        found = region_subgroups(regions.select(order), LEARNT)
        right = logits[::4].argmax(axis=1) == LEARNT.labels
        present = np.array(LEARNT.groups["feature"]) == "with"
        assert found.counts.sum() == len(LEARNT) and found.overall == pytest.approx(right.mean())
        cell = (LEARNT.labels == 2) & present
        assert found.accuracy[2, 0] == pytest.approx(right[cell].mean())

    def test_what_it_needs_is_asked_for(self):
        regions = quadrant_regions(LEARNT)
        with pytest.raises(VlmDataError, match="480 regions have no scores"):
            region_subgroups(regions, LEARNT)
        scored = quadrant_regions(LEARNT, logits=np.zeros((480, 5), dtype=np.float32))
        with pytest.raises(CallError, match="scored for 5 classes, images for 3"):
            region_subgroups(scored, LEARNT)
        scored = regions.replace(logits=np.zeros((480, 3), dtype=np.float32), image_ids=("other/7",) * 480)
        with pytest.raises(CallError, match=r"480 of 480 regions lie in images that are not there, .* 'other/7'"):
            region_subgroups(scored, LEARNT)

    def test_a_region_holds_the_feature_if_it_covers_half_of_it(self):
        truth = quadrant_regions(LEARNT)
        np.testing.assert_array_equal(holds_feature(truth, truth), truth.spurious)
        right_half = Regions(("test/000", "test/003", "gone"), np.array([[16.0, 0, 32, 32]] * 3))
        assert holds_feature(right_half, truth).tolist() == [True, False, False]
        strip = Regions(("test/000",), np.array([[25.0, 0, 32, 16]]))
        assert not holds_feature(strip, truth).any() and holds_feature(strip, truth, 0.4).all()

    @pytest.mark.parametrize("seed", range(5))
    def test_it_agrees_with_loops_over_all_pairs(self, seed):
        rng = np.random.default_rng(seed)

        def random_regions(k):
            corners = rng.integers(0, 12, (k, 2))
            boxes = np.hstack([corners, corners + rng.integers(1, 8, (k, 2))]).astype(float)
            return Regions(tuple(f"i{row}" for row in rng.integers(0, 8, k)), boxes, spurious=rng.random(k) < 0.6)

        regions, truth = random_regions(40), random_regions(30)

        def covers(region, feature):
            width = min(region[2], feature[2]) - max(region[0], feature[0])
            height = min(region[3], feature[3]) - max(region[1], feature[1])
            area = (feature[2] - feature[0]) * (feature[3] - feature[1])
            return max(width, 0) * max(height, 0) >= 0.5 * area

        expected = [
            any(
                covers(box, other) and name == image and planted
                for other, image, planted in zip(truth.boxes, truth.image_ids, truth.spurious, strict=True)
            )
            for box, name in zip(regions.boxes, regions.image_ids, strict=True)
        ]
        assert holds_feature(regions, truth).tolist() == expected

    def test_a_truth_that_tells_nothing_is_refused(self):
        truth = quadrant_regions(LEARNT)
        with pytest.raises(VlmDataError, match="do not tell which of them hold the planted feature"):
            holds_feature(truth, truth.replace(spurious=None))
        with pytest.raises(CallError, match=r"none of the 1 regions lies in an image .* 'gone'"):
            holds_feature(Regions(("gone",), QUADRANTS[:1]), truth)
        with pytest.raises(CallError, match="the coverage is 0"):
            holds_feature(truth, truth, 0)


def cluster(number, rank, ranked=(), attribute="nine"):
    gap = {"class": "nine", "n_with": 20, "n_without": 20, "accuracy_with": 1.0, "accuracy_without": 0.35, "gap": 0.65}
    told = {"id": number, "rank": rank, "size": 60, "images": 60, "gap_score": 1.2, "influence": None, "p_value": 0.005}
    return told | {"class": attribute, "ranked": ranked, "gaps": [gap], "direction": {"nine": "helps"}}


def write_discovery(folder, clusters, regions, found=True, reason=""):
    folder.mkdir(parents=True, exist_ok=True)
    told = {"found": found, "reason": reason, "class_names": NAMES, "images": 120, "regions": 480, "options": {}}
    (folder / "discovery.json").write_text(json.dumps(told | {"clusters": clusters}))
    regions.save(folder / "regions.parquet")
    return folder


class TestDiscovery:
    def test_precision_and_recall_of_the_top_cluster(self, tmp_path):
        truth = quadrant_regions(LEARNT)
        hits, misses = np.flatnonzero(truth.spurious), np.flatnonzero(~truth.spurious)
        ranked = [*hits[:8].tolist(), *misses[:4].tolist(), *hits[8:20].tolist()]
        clusters = [cluster(11, 2, [0]), cluster(4, None), cluster(7, 1, ranked)]
        folder = write_discovery(tmp_path, clusters, Regions(truth.image_ids, truth.boxes))
        found = judge_discovery(folder, truth, spurious_class="nine", ks=(5, 10, 100))
        assert found.precision == {5: 1.0, 10: 0.8, 100: 0.2} and found.available == 24
        assert found.recall == {5: 5 / 60, 10: 8 / 60, 100: 20 / 60}
        assert found.random[10] == 0.125 and found.class_found
        assert json.loads(json.dumps(found.document()))["precision"]["10"] == 0.8
        assert [one.id for one in read_discovery(folder).clusters] == [7, 11, 4]

    def test_nothing_found_is_a_result(self, tmp_path):
        truth = quadrant_regions(LEARNT)
        folder = write_discovery(tmp_path, [cluster(4, None)], truth, found=False, reason="no gap above 0.05")
        found = judge_discovery(folder, truth, spurious_class="nine")
        assert not found.found and set(found.precision.values()) == {0.0} and found.attribute is None
        assert found.class_found is False and found.random[10] == 0.125
        assert read_discovery(folder).reason == "no gap above 0.05"

    def test_damaged_and_missing_files(self, tmp_path):
        truth = quadrant_regions(LEARNT)
        with pytest.raises(CallError, match=r"no discovery\.json"):
            judge_discovery(tmp_path, truth)
        folder = write_discovery(tmp_path, [cluster(7, 1, [480])], truth)
        with pytest.raises(VlmDataError, match=r"ranks region 480, regions\.parquet has 480"):
            judge_discovery(folder, truth)
        (folder / "discovery.json").write_text('{"found": true, "clusters": [], "images": 3, "regions": 4}')
        with pytest.raises(VlmDataError, match=r"discovery\.json: it lacks 'class_names'"):
            read_discovery(folder)
        (folder / "discovery.json").write_text("{")
        with pytest.raises(VlmDataError, match="cannot read"):
            read_discovery(folder)
