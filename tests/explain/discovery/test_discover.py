import dataclasses
import json

import numpy as np
import pytest

from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Predictions
from vlm_explain.discovery import Discovery, DiscoveryOptions, assign, discover, reference_options

FEW = DiscoveryOptions(candidates=(8, 12), permutations=200)


@pytest.fixture(scope="module")
def found(tied):
    return discover(tied.regions, tied.predictions, FEW, class_names=tied.class_names)


def test_the_planted_feature_is_the_top_cluster(found, tied):
    top = found.top
    assert found.found and found.reason == ""
    assert {found.regions.contents[row] for row in top.ranked} == {"rectangle"}
    assert top.rank == 1 and top.attribute == "f" and not top.is_absence and top.failed == ()
    assert top.direction["f"] == "helps" and set(top.direction.values()) == {"helps", "hurts"}
    assert top.p_value == pytest.approx(1 / 201) and top.influence > 0.25 and top.pull > 0.1
    assert found.regions.spurious.sum() == top.regions
    assert found.regions.contents[top.medoid] == "rectangle" and top.ranked[0] == top.medoid
    assert [gap.class_name for gap in top.gaps] == list(tied.class_names)
    for gap in top.gaps:
        assert gap.low <= gap.gap <= gap.high


def test_nothing_is_found_where_nothing_is_tied(untied):
    nothing = discover(untied.regions, untied.predictions, FEW)
    assert not nothing.found and nothing.top is None and nothing.ranked == ()
    assert nothing.reason.startswith("Of ") and nothing.clusters
    assert not nothing.regions.spurious.any()


def test_the_order_of_regions_changes_nothing_but_rows(tied, found):
    order = np.random.default_rng(3).permutation(len(tied.regions))
    shuffled = discover(tied.regions.select(order), tied.predictions, FEW, class_names=tied.class_names)
    assert shuffled.top.gaps == found.top.gaps and shuffled.top.p_value == found.top.p_value


def test_what_was_saved_is_loaded(found, tmp_path):
    found.save(tmp_path / "one")
    again = Discovery.load(tmp_path / "one")
    assert again.document() == found.document()
    assert again.clusters == found.clusters and again.options == found.options
    np.testing.assert_array_equal(again.medoids.embeddings, found.medoids.embeddings)
    np.testing.assert_array_equal(again.regions.clusters, found.regions.clusters)
    again.save(tmp_path / "two")
    for name in ("discovery.json", "regions.parquet", "clusters.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    document = json.loads((tmp_path / "one" / "discovery.json").read_text())
    assert document["clusters"][0]["class"] == "f" and document["clusters"][0]["rank"] == 1


def test_a_damaged_discovery_is_one_paragraph(found, tmp_path):
    found.save(tmp_path)
    whole = (tmp_path / "discovery.json").read_text()
    for broken in ("", "[]", "{}", whole[:-50], whole.replace('"schema_version": 1', '"schema_version": 9')):
        (tmp_path / "discovery.json").write_text(broken)
        with pytest.raises(VlmDataError, match="cannot read a discovery"):
            Discovery.load(tmp_path)


def test_assigned_regions_are_in_the_nearest_cluster(found, tied):
    assigned = assign(found, tied.regions)
    assert set(np.array(tied.regions.contents)[assigned.spurious]) == {"rectangle"}
    assert assigned.spurious.sum() == np.sum(np.array(tied.regions.contents) == "rectangle")
    assert set(assigned.clusters) <= set(found.medoids.clusters)


@pytest.mark.parametrize(("key", "name"), [("weights_hash", "weights"), ("pooling", "pooling")])
def test_regions_of_another_space_are_refused(found, tied, key, name):
    other = tied.regions.replace(meta={**tied.regions.meta, key: "other"})
    with pytest.raises(CallError, match=f"embedded with {name} other"):
        assign(found, other)


def test_nothing_can_be_assigned_where_nothing_was_found(untied):
    nothing = discover(untied.regions, untied.predictions, FEW)
    with pytest.raises(CallError, match="nothing was found"):
        assign(nothing, untied.regions)


def test_the_reference_finds_clusters_without_a_tie(untied):
    loose = dataclasses.replace(reference_options(), candidates=(12,))
    assert discover(untied.regions, untied.predictions, loose).found  # which is why there is a test and a floor


@pytest.mark.parametrize("strategy", ["weighted-gap", "unweighted-gap", "trove"])
def test_every_strategy_finds_the_planted_feature(tied, strategy):
    options = dataclasses.replace(FEW, strategy=strategy, candidates=(8,))
    top = discover(tied.regions, tied.predictions, options).top
    assert {tied.regions.contents[row] for row in top.ranked} == {"rectangle"}


def answers_of(predictions, predicted):
    logits = np.eye(predictions.logits.shape[1], dtype=np.float32)[predicted]
    return Predictions(predictions.ids, predictions.labels, logits)


@pytest.mark.parametrize(("shift", "word"), [(0, "right"), (1, "wrong")])
def test_all_right_and_all_wrong_are_told(untied, shift, word):
    labels = untied.predictions.labels
    predictions = answers_of(untied.predictions, (labels + shift) % 6)
    assert f"answered {word}" in discover(untied.regions, predictions, FEW).reason


@pytest.mark.parametrize("label", [6, -2])
def test_labels_that_are_no_class_are_refused(tied, label):
    labels = tied.predictions.labels.copy()
    labels[3] = label
    with pytest.raises(CallError, match=r"labels of the predictions go from .* expected 0 to 5"):
        discover(tied.regions, Predictions(tied.predictions.ids, labels, tied.predictions.logits), FEW)


def test_regions_that_show_no_class_are_refused(tied):
    labels = np.full(len(tied.regions), -1)
    labels[3] = 6
    with pytest.raises(CallError, match="regions tell the label 6; expected 0 to 5"):
        discover(tied.regions.replace(labels=labels), tied.predictions, FEW)


def test_one_region_per_image_is_told(tied):
    single = tied.regions.select(np.arange(0, len(tied.regions), 4))
    nothing = discover(single, tied.predictions, FEW)
    assert "one region only" in nothing.reason and any("one region only" in note for note in nothing.notes)


def test_one_image_is_told(tied):
    ids = tied.predictions.ids[:1]
    predictions = Predictions(ids, tied.predictions.labels[:1], tied.predictions.logits[:1])
    assert "all 1 images" in discover(tied.regions.select(range(4)), predictions, FEW).reason


def test_images_without_regions_and_labels_are_counted(tied):
    labels = tied.predictions.labels.copy()
    labels[:7] = -1
    predictions = Predictions(tied.predictions.ids, labels, tied.predictions.logits)
    kept = tied.regions.select(np.arange(40, len(tied.regions)))
    discovery = discover(kept, predictions, FEW)
    assert discovery.images == 593
    assert "7 images have no label and were left out." in discovery.notes
    assert any(note.startswith("3 of 593 images have no region") for note in discovery.notes)


def test_predictions_of_other_weights_are_remarked_on(tied):
    table = tied.predictions
    predictions = Predictions(table.ids, table.labels, table.logits, {"weights_hash": "v"})
    assert any("(w and v)" in note for note in discover(tied.regions, predictions, FEW).notes)


def test_tables_that_do_not_belong_together_are_refused(tied):
    strange = tied.regions.replace(image_ids=("elsewhere", *tied.regions.image_ids[1:]))
    with pytest.raises(CallError, match="1 of 2400 regions lie in images without predictions: 'elsewhere'"):
        discover(strange, tied.predictions)
    with pytest.raises(CallError, match="no embeddings or no logits"):
        discover(tied.regions.replace(embeddings=None), tied.predictions)
    with pytest.raises(CallError, match="numbers of classes differ"):
        discover(tied.regions, tied.predictions, class_names=("a", "b"))
    unlabelled = Predictions(tied.predictions.ids, np.full(600, -1), tied.predictions.logits)
    with pytest.raises(CallError, match="none of 2400 regions lies in an image with a label"):
        discover(tied.regions, unlabelled)
    with pytest.raises(CallError, match="none of 0 regions"):
        discover(tied.regions.select([]), tied.predictions)


@pytest.mark.parametrize("change", [{"level": 2.0}, {"permutations": 0}, {"influence": -1}, {"level": 1e-4}])
def test_impossible_options_are_refused(change):
    with pytest.raises(CallError, match=r"[eE]xpected"):
        DiscoveryOptions(**change)


def test_an_unknown_strategy_gets_the_nearest_name():
    with pytest.raises(CallError, match="Did you mean 'ravl'"):
        DiscoveryOptions(strategy="ravle")
