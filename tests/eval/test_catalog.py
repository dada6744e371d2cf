import inspect
import subprocess
import sys

import numpy as np
import pytest

from vlm_data.errors import CallError
from vlm_eval.catalog import array_names, load_metric, measure, metric_names
from vlm_eval.metrics.likelihood import softmax
from vlm_eval.scores import DEFAULT_METRICS

LABELS = np.array([0, 1, 2, 0, 1])
LOGITS = np.random.default_rng(0).normal(size=(5, 3))
ARRAYS = {"logits": LOGITS, "probabilities": softmax(LOGITS), "labels": LABELS}
ARRAYS |= {"region": np.array(["Asia", "Other", "Asia", "Africa", "Africa"]), "year": np.array(["2016"] * 5)}
ARRAYS |= {"confidences": ARRAYS["probabilities"].max(axis=1), "correct": LOGITS.argmax(axis=1) == LABELS}
ARRAYS |= {"groups": {"year": ("2016", "2017", "2016", "2016", "2017")}}


@pytest.mark.parametrize("name", metric_names())
def test_every_metric_keeps_the_contract(name):
    metric = load_metric(name)
    assert set(metric) == {"compute", "better", "range", "unit"}
    assert metric["better"] in ("higher", "lower") and metric["unit"]
    low, high = metric["range"]
    assert low < high
    assert inspect.getdoc(metric["compute"])
    if set(array_names(metric)) <= ARRAYS.keys():
        before = {key: value.copy() for key, value in ARRAYS.items()}
        value = measure(name, ARRAYS)
        assert type(value) is float and low <= value <= high
        assert measure(name, ARRAYS) == value
        for key, array in ARRAYS.items():
            np.testing.assert_array_equal(array, before[key])  # pure: the input is not changed


def test_the_default_metrics_of_a_row_exist():
    assert set(DEFAULT_METRICS) <= set(metric_names())


def test_a_missing_array_is_named():
    with pytest.raises(CallError, match=r"'nll' needs logits, which is not there\. Available: labels, probabilities\."):
        measure("nll", {"labels": LABELS, "probabilities": ARRAYS["probabilities"]})


def test_metrics_are_cheap_to_import():
    program = (
        "import sys; import vlm_eval, vlm_eval.catalog; from vlm_eval.metrics import accuracy, calibration; "
        "vlm_eval.catalog.metric_names(); "
        "print([name for name in ('torch', 'scipy', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
