import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_data.errors import CallError, VlmDataError
from vlm_eval.metrics.accuracy import (
    accuracy,
    class_recalls,
    mean_per_class_recall,
    top_k_accuracy,
    worst_class,
    worst_class_recall,
)


@st.composite
def scores(draw):
    """Small integers, so that ties are the rule."""
    samples, classes = draw(st.integers(1, 30)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(0, 3, (samples, classes)).astype(np.float64), rng.integers(0, classes, samples)


def test_ties_go_to_the_lowest_index():
    logits = np.zeros((4, 4))
    labels = np.arange(4)
    assert [top_k_accuracy(logits, labels, k) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert accuracy(logits, labels) == 0.25


@settings(deadline=None)
@given(scores(), st.data())
def test_top_k_is_the_head_of_a_stable_sort(table, data):
    logits, labels = table
    k = data.draw(st.integers(1, logits.shape[1]))
    head = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    assert top_k_accuracy(logits, labels, k) == (head == labels[:, None]).any(axis=1).mean()
    assert top_k_accuracy(logits, labels, 1) == accuracy(logits, labels)
    assert top_k_accuracy(logits, labels, logits.shape[1]) == 1.0


@settings(deadline=None)
@given(scores())
def test_recalls_weighted_by_class_size_give_accuracy(table):
    logits, labels = table
    classes, recalls = class_recalls(logits, labels)
    sizes = np.bincount(labels)[classes]
    assert (recalls * sizes).sum() / sizes.sum() == pytest.approx(accuracy(logits, labels))
    assert (
        worst_class_recall(logits, labels) == recalls.min() == recalls[classes.tolist().index(worst_class(*table)[0])]
    )


def test_classes_without_samples_do_not_count():
    logits = np.eye(5)[[0, 0, 3, 3]]
    labels = np.array([0, 1, 3, 3])
    classes, recalls = class_recalls(logits, labels)
    assert classes.tolist() == [0, 1, 3] and recalls.tolist() == [1, 0, 1]
    assert mean_per_class_recall(logits, labels) == pytest.approx(2 / 3)
    assert worst_class(logits, labels) == (1, 0.0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_one_sample_one_class_and_half_precision(dtype):
    logits, labels = np.array([[1.0]], dtype=dtype), np.array([0])
    assert accuracy(logits, labels) == mean_per_class_recall(logits, labels) == top_k_accuracy(logits, labels, 1) == 1.0


def test_torchmetrics_agrees():
    functional = pytest.importorskip("torchmetrics").functional
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(300, 7)), rng.integers(0, 6, 300)  # class 6 never occurs
    tensors = torch.tensor(logits), torch.tensor(labels)
    options = {"task": "multiclass", "num_classes": 7, "average": "micro"}
    for k in (1, 3):
        assert top_k_accuracy(logits, labels, k) == pytest.approx(
            float(functional.accuracy(*tensors, top_k=k, **options))
        )
    recall = functional.recall(*tensors, **{**options, "average": "none"})
    assert mean_per_class_recall(logits, labels) == pytest.approx(float(recall[:6].mean()))


@pytest.mark.parametrize("k", [0, 4])
def test_k_beyond_the_classes_is_refused(k):
    with pytest.raises(CallError, match=rf"k is {k}, but there are 3 classes\. Expected 1 to 3\."):
        top_k_accuracy(np.zeros((2, 3)), np.array([0, 1]), k)


@pytest.mark.parametrize("metric", [accuracy, mean_per_class_recall, worst_class_recall])
def test_undefined_cases_are_errors(metric):
    with pytest.raises(VlmDataError, match="nothing to score"):
        metric(np.zeros((0, 3)), np.zeros(0, dtype=int))
    with pytest.raises(VlmDataError, match=r"first 3 at row 0\. Expected 0 to 2"):
        metric(np.zeros((1, 3)), np.array([3]))
