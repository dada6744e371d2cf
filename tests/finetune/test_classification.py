from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from vlm_finetune.losses import classification, scaled_cosines

GOLDEN = Path(__file__).parents[1] / "golden"


def assert_close(actual, expected, tolerance=1e-9):
    np.testing.assert_allclose(actual.detach(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", sorted(path.name for path in (GOLDEN / "losses").glob("ce_heads*.npz")))
def test_published_values_and_gradients(name):
    golden = np.load(GOLDEN / "losses" / name)
    images, classes = (
        functional.normalize(torch.tensor(golden[key])) for key in ("image_features_raw", "class_text_features_raw")
    )
    assert_close(scaled_cosines(images, classes, torch.tensor(golden["logit_scale"])), golden["logits"])
    labels = torch.tensor(golden["labels"])
    for key, smoothing in (("ce", 0.0), ("ce_smoothed", float(golden["smoothing"]))):
        logits = torch.tensor(golden["logits"], requires_grad=True)
        loss = classification(logits, labels, label_smoothing=smoothing)
        assert_close(loss, golden[key])
        loss.backward()
        assert_close(logits.grad, golden[f"grad_{key}_wrt_logits"])


def test_published_label_smoothing():
    golden = np.load(GOLDEN / "linear_probe" / "schedule_and_loss.npz")
    logits, labels = torch.tensor(golden["ls_logits"]), torch.tensor(golden["ls_targets"])
    for smoothing, expected in zip(golden["ls_smoothing"], golden["ls_loss"], strict=True):
        assert_close(classification(logits, labels, label_smoothing=smoothing), expected, 1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_compared_in_single(dtype):
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).mul(30).to(dtype)
    labels = torch.tensor([0, 1, 2, 3])
    loss = classification(logits, labels)
    assert loss.dtype == torch.float32
    assert loss == classification(logits.float(), labels)
