"""The region-aware loss against its golden values, its definition written out, and its borders."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_data.errors import CallError
from vlm_finetune.losses import contrastive, region_aware
from vlm_finetune.losses.region_aware import LABEL_TERMS, REDUCTIONS, region_terms, score_regions

GOLDEN = Path(__file__).parents[1] / "golden" / "ravl_mitigation"
FILES = sorted(path.name for path in GOLDEN.glob("*.npz") if not path.name.startswith("assign_"))
LEAVES = {"img": "img_emb", "txt": "txt_emb", "reg": "reg_emb", "class": "class_emb"}


def close(found, expected, tolerance):
    """Relative to the largest value of the array, as the README of the golden data says."""
    expected = np.asarray(expected)
    atol = tolerance * max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=atol)


def inputs(golden, dtype=torch.float64):
    tensors = {key: torch.tensor(golden[name], dtype=dtype, requires_grad=True) for key, name in LEAVES.items()}
    counts = torch.tensor(golden["num_regions"])
    image_of = torch.arange(len(counts)).repeat_interleave(counts)
    facts = (torch.tensor(golden["label"]), image_of, torch.tensor(golden["spurious"]))
    return tensors, facts, {"temperature": float(golden["tau"]), "contrastive_weight": float(golden["lam"])}


def loss(tensors, facts, constants, **choice):
    order = (tensors["img"], tensors["txt"], tensors["reg"], tensors["class"])
    return region_aware(*order, *facts, **constants, **choice)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-5)], ids=str)
class TestGolden:
    def test_terms(self, name, dtype, tolerance):
        golden = np.load(GOLDEN / name)
        tensors, facts, constants = inputs(golden, dtype)
        regions = score_regions(tensors["reg"], tensors["class"], *facts, constants["temperature"])
        found = region_terms(regions)
        assert np.array_equal(found.anchors, golden["out_anchor"])
        close(found.to_label, golden["out_L_R"], tolerance)
        close(found.to_region, golden["out_L_A"], tolerance)
        close(found.total("sum"), golden["out_region_sum"], tolerance)
        close(found.log_penalty.double().exp(), golden["out_P"], tolerance * 100 if dtype == torch.float32 else 1e-9)
        close(region_terms(regions, "per-sample").to_label, golden["out_L_R_per_sample"], tolerance)
        close(contrastive(tensors["img"], tensors["txt"], 1 / constants["temperature"]), golden["out_L_CL"], tolerance)

    def test_totals(self, name, dtype, tolerance):
        golden = np.load(GOLDEN / name)
        given = inputs(golden, dtype)
        close(loss(*given), golden["out_total"], tolerance)
        close(loss(*given, reduction="mean"), golden["out_total_mean"], tolerance)
        close(loss(*given, label_terms="per-sample"), golden["out_total_per_sample"], tolerance)

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    def test_gradients(self, name, dtype, tolerance, reduction):
        golden = np.load(GOLDEN / name)
        tensors, facts, constants = inputs(golden, dtype)
        loss(tensors, facts, constants, reduction=reduction).backward()
        for key, tensor in tensors.items():
            expected = golden[f"out_grad_{key}"]
            if reduction == "mean" and key in ("reg", "class"):
                expected = expected / max(1, golden["out_anchor"].sum())
            close(torch.zeros_like(tensor) if tensor.grad is None else tensor.grad, expected, tolerance)


def test_golden_files_are_all_there():
    assert len(FILES) == 6


def random_batch(seed, images=6, classes=4, width=5):
    """Ragged regions in mixed order, images without label, without region, with spurious ones only."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, images)
    image_of = rng.permutation(np.repeat(np.arange(images), counts))
    unit = [
        torch.nn.functional.normalize(torch.tensor(rng.normal(size=(n, width))), dim=1)
        for n in (images, images, len(image_of), classes)
    ]
    labels = torch.tensor(rng.integers(-1, classes, images))
    return unit, (labels, torch.tensor(image_of), torch.tensor(rng.random(len(image_of)) < 0.4))


def written_out(unit, facts, tau, weight, reduction, label_terms):
    """The definition, one image and one region at a time."""
    images, texts, regions, classes = unit
    labels, image_of, spurious = facts
    s = lambda r, c: float(regions[r] @ classes[c]) / tau  # noqa: E731
    kept = {i: [r for r in range(len(regions)) if image_of[r] == i and not spurious[r]] for i in range(len(images))}
    everywhere = [r for r in range(len(regions)) if spurious[r]]
    known = [int(label) for label in labels if label >= 0]
    lab = sorted(set(known))
    anchors = [i for i in kept if kept[i] and labels[i] >= 0]
    m = lambda i, c: max(s(r, c) for r in kept[i])  # noqa: E731
    penalty = sum(math.exp(max(s(r, c) for c in lab)) for r in everywhere) if lab else 0.0
    total = 0.0
    for i in anchors:
        y = int(labels[i])
        terms = sum(math.exp(m(i, c)) for c in (lab if label_terms == "distinct" else known))
        total += math.log(terms + penalty) - m(i, y)
        others = sum(math.exp(m(j, y)) for j in anchors if labels[j] != y)
        total += math.log(math.exp(m(i, y)) + others + sum(math.exp(s(r, y)) for r in everywhere)) - m(i, y)
    part = total / max(1, len(anchors)) if reduction == "mean" else total
    return weight * float(contrastive(images, texts, 1 / tau)) + (1 - weight) * part


class TestDefinition:
    @settings(deadline=None, max_examples=40)
    @given(
        seed=st.integers(0, 10**6),
        reduction=st.sampled_from(REDUCTIONS),
        label_terms=st.sampled_from(LABEL_TERMS),
        tau=st.sampled_from([0.07, 1.0]),
    )
    def test_the_loss_is_its_definition(self, seed, reduction, label_terms, tau):
        unit, facts = random_batch(seed)
        choice = {"temperature": tau, "contrastive_weight": 0.8, "reduction": reduction, "label_terms": label_terms}
        expected = written_out(unit, facts, tau, 0.8, reduction, label_terms)
        assert region_aware(*unit, *facts, **choice).item() == pytest.approx(expected, rel=1e-9)

    def test_the_order_of_regions_does_not_matter(self):
        (images, texts, regions, classes), (labels, image_of, spurious) = random_batch(5)
        turned = torch.randperm(len(regions), generator=torch.Generator().manual_seed(0))
        one = region_aware(images, texts, regions, classes, labels, image_of, spurious)
        two = region_aware(images, texts, regions[turned], classes, labels, image_of[turned], spurious[turned])
        assert one.item() == pytest.approx(two.item(), rel=1e-12)

    def test_half_precision_is_computed_in_full(self):
        unit, facts = random_batch(3)
        half = [tensor.bfloat16() for tensor in unit]
        with torch.autocast("cpu", torch.bfloat16):
            found = region_aware(*half, *facts, temperature=0.01)
        assert found.dtype == torch.float32
        expected = region_aware(*(tensor.float() for tensor in half), *facts, temperature=0.01)
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)


class TestBorders:
    def test_lambda_one_is_the_contrastive_loss_bit_for_bit_and_asks_nothing_of_regions(self):
        unit, facts = random_batch(7)
        leaves = [tensor.clone().requires_grad_() for tensor in unit]
        found = region_aware(*leaves, *facts, contrastive_weight=1.0)
        assert torch.equal(found, contrastive(unit[0], unit[1], 1 / 0.07))
        found.backward()
        assert leaves[2].grad is None and leaves[3].grad is None

    @pytest.mark.parametrize("reduction", REDUCTIONS)
    @pytest.mark.parametrize("missing", ["labels", "regions", "kept regions", "one image"])
    def test_a_batch_without_anchors_has_the_contrastive_part_and_finite_gradients(self, missing, reduction):
        (images, texts, regions, classes), (labels, image_of, spurious) = random_batch(11)
        if missing == "labels":
            labels = torch.full_like(labels, -1)
        elif missing == "regions":
            regions, image_of, spurious = regions[:0], image_of[:0], spurious[:0]
        elif missing == "kept regions":
            spurious = torch.ones_like(spurious)
        else:
            images, texts, labels = images[:1], texts[:1], labels[:1]
            regions, image_of, spurious = regions[:0], image_of[:0], spurious[:0]
        leaves = [tensor.clone().requires_grad_() for tensor in (images, texts, regions, classes)]
        found = region_aware(*leaves, labels, image_of, spurious, reduction=reduction)
        found.backward()
        assert found.item() == pytest.approx(0.8 * contrastive(images, texts, 1 / 0.07).item(), rel=1e-12)
        assert all(leaf.grad.isfinite().all() for leaf in leaves if leaf.grad is not None)

    def test_gradients_are_finite_where_some_images_have_nothing(self):
        for seed in range(30):
            unit, facts = random_batch(seed)
            leaves = [tensor.clone().requires_grad_() for tensor in unit]
            region_aware(*leaves, *facts, temperature=0.01).backward()
            assert all(leaf.grad.isfinite().all() for leaf in leaves if leaf.grad is not None)


class TestErrors:
    def test_arrays_that_do_not_fit(self):
        unit, (labels, image_of, spurious) = random_batch(1)
        with pytest.raises(CallError, match=r"regions do not fit together: features .* 0 flags"):
            region_aware(*unit, labels, image_of, spurious[:0])
        with pytest.raises(CallError, match=r"image_of goes from \d+ to .*; expected numbers from 0 to 5"):
            region_aware(*unit, labels, image_of + 66, spurious)
        with pytest.raises(CallError, match=r"labels goes from -1 to 4; expected numbers from -1 to 3"):
            region_aware(*unit, torch.tensor([0, 1, 2, 3, 4, -1]), image_of, spurious)

    def test_unknown_choices(self):
        unit, facts = random_batch(1)
        with pytest.raises(CallError, match=r"unknown reduction 'mena'. Did you mean 'mean'"):
            region_aware(*unit, *facts, reduction="mena")
        with pytest.raises(CallError, match=r"unknown label terms 'each'"):
            region_aware(*unit, *facts, label_terms="each")
