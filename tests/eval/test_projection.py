from pathlib import Path

import numpy as np
import pytest

from vlm_data.errors import CallError
from vlm_eval.metrics.accuracy import accuracy
from vlm_eval.metrics.calibration import batch_averaged_ece, softmax
from vlm_eval.projection import exclude_classes, merge_classes, project, select_classes, select_labels

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "calibration" / "projection.npz")
TOLERANCE = 3e-6


def test_published_subset():
    logits, labels = select_classes(GOLDEN["logits"], GOLDEN["class_ids"]), GOLDEN["subset_labels"]
    np.testing.assert_array_equal(logits, GOLDEN["subset_logits"])
    assert accuracy(logits, labels) == pytest.approx(float(GOLDEN["subset_top1"]), abs=TOLERANCE)
    probabilities = softmax(logits)
    whole = batch_averaged_ece(probabilities, labels, len(labels))
    assert whole == pytest.approx(float(GOLDEN["subset_ece"]), abs=TOLERANCE)
    assert batch_averaged_ece(probabilities, labels, 16) == pytest.approx(
        float(GOLDEN["subset_ece_batch16"]), abs=TOLERANCE
    )


def test_published_groups():
    targets, sources = GOLDEN["group_of"].T
    classes = tuple(tuple(sources[targets == target].tolist()) for target in range(targets.max() + 1))
    logits, labels = merge_classes(GOLDEN["logits"], classes), GOLDEN["grouped_labels"]
    np.testing.assert_array_equal(project(GOLDEN["logits"], classes), logits)
    np.testing.assert_array_equal(logits, GOLDEN["grouped_logits"])
    assert accuracy(logits, labels) == pytest.approx(float(GOLDEN["grouped_top1"]), abs=TOLERANCE)
    ece = batch_averaged_ece(softmax(logits), labels, len(labels))
    assert ece == pytest.approx(float(GOLDEN["grouped_ece"]), abs=TOLERANCE)


def test_labels_follow_the_classes():
    labels = np.array([4, 9, 0, 4, 2, 7, 11])
    ids = np.array([9, 4, 11, 2, 0])  # not ascending
    assert select_labels(labels, ids).tolist() == [1, 0, 4, 1, 3, -1, 2]
    logits = np.eye(12)[labels]
    kept = select_labels(labels, ids) >= 0
    assert accuracy(select_classes(logits, ids)[kept], select_labels(labels, ids)[kept]) == 1.0


def test_a_source_may_serve_several_targets():
    logits = np.array([[1.0, 5.0, 3.0]])
    assert merge_classes(logits, [[1, 0], [1]]).tolist() == [[5.0, 5.0]]
    assert merge_classes(logits, [[1, 0], [1]], "mean").tolist() == [[3.0, 5.0]]
    assert merge_classes(logits, [[0, 1, 2], []], "median", missing=-1.0).tolist() == [[3.0, -1.0]]
    assert exclude_classes(logits, [1]).argmax(axis=1).tolist() == [2]


def test_wrong_class_lists():
    logits = np.zeros((2, 4))
    with pytest.raises(CallError, match=r"2 ids, 1 of them outside the 4 columns of the logits \(first 4\)"):
        select_classes(logits, np.array([0, 4]))
    with pytest.raises(CallError, match="names a class twice"):
        select_classes(logits, np.array([1, 1]))
    with pytest.raises(CallError, match="has 0 ids"):
        select_classes(logits, np.array([], dtype=int))
    with pytest.raises(CallError, match="1 of 3 target classes have no source, first 1"):
        merge_classes(logits, [[0], [], [1]])
    with pytest.raises(CallError, match="outside the 4 columns"):
        merge_classes(logits, [[-1]])
    with pytest.raises(CallError, match="has 0 ids"):
        merge_classes(logits, [])
    with pytest.raises(CallError, match="unknown way to merge classes 'maximum'"):
        merge_classes(logits, [[0]], "maximum")
