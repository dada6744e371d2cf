from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_finetune.losses import (
    contrastive,
    contrastive_exclusive,
    contrastive_from_logits,
    contrastive_soft_targets,
    contrastive_without_collisions,
    pair_logits,
)
from vlm_finetune.losses.label_aware import log_odds

GOLDEN = Path(__file__).parents[1] / "golden" / "losses"
LABEL_AWARE = {
    "clip_soft": contrastive_soft_targets,
    "clip_ignore": contrastive_without_collisions,
    "clip_sup_exclusive": contrastive_exclusive,
}


def golden_files(*prefixes):
    return sorted(path.name for prefix in prefixes for path in GOLDEN.glob(f"{prefix}*.npz"))


def assert_close(actual, expected, tolerance=1e-9):
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


def unit_rows(generator, *shape, dtype=torch.float64):
    return functional.normalize(torch.randn(*shape, generator=generator, dtype=dtype), dim=-1)


@st.composite
def batches(draw, least=1):
    """Unit-norm images and texts, a scale, labels."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rows, size = draw(st.integers(least, 7)), draw(st.integers(1, 6))
    images, texts = unit_rows(generator, 2, rows, size)
    scale = torch.tensor(draw(st.floats(0.01, 100.0)), dtype=torch.float64)
    return images, texts, scale, torch.randint(0, 3, (rows,), generator=generator)


def check_against_golden(name, loss_of):
    golden = np.load(GOLDEN / name)
    inputs = {
        key: torch.tensor(golden[key], requires_grad=True) for key in ("image_features", "text_features", "logit_scale")
    }
    loss = loss_of(*inputs.values(), golden)
    assert_close(loss, golden["loss"])
    loss.backward()
    for key, leaf in inputs.items():
        if f"grad_{key}" in golden:
            assert_close(leaf.grad, golden[f"grad_{key}"], 1e-8)


@pytest.mark.parametrize("name", golden_files("clip_plain", "clip_label_smoothing"))
def test_published_values_and_gradients(name):
    check_against_golden(
        name, lambda i, t, s, golden: contrastive(i, t, s, label_smoothing=float(golden["label_smoothing"]))
    )


@pytest.mark.parametrize("name", golden_files(*LABEL_AWARE))
def test_published_values_and_gradients_with_labels(name):
    loss_of = next(loss for prefix, loss in LABEL_AWARE.items() if name.startswith(prefix))
    check_against_golden(name, lambda i, t, s, golden: loss_of(i, t, s, torch.tensor(golden["labels"])))


@pytest.mark.parametrize("name", golden_files("clip_plain", *LABEL_AWARE))
def test_published_logits(name):
    golden = np.load(GOLDEN / name)
    pairs = pair_logits(*(torch.tensor(golden[key]) for key in ("image_features", "text_features", "logit_scale")))
    assert_close(pairs.logits_per_image, golden["logits_per_image"])
    assert_close(pairs.logits_per_text, golden["logits_per_text"])


@pytest.mark.parametrize("name", golden_files("clip_plain"))
def test_single_precision_agrees_with_double(name):
    golden = np.load(GOLDEN / name)
    inputs = (torch.tensor(golden[key]).float() for key in ("image_features", "text_features", "logit_scale"))
    assert_close(contrastive(*inputs), golden["loss"], 2e-5)


@given(batches())
def test_the_value_is_the_definition_written_out(batch):
    images, texts, scale, _ = batch
    logits = (scale * images @ texts.T).exp()
    own = logits.diagonal()
    expected = -((own / logits.sum(1)).log() + (own / logits.sum(0)).log()).mean() / 2
    torch.testing.assert_close(contrastive(images, texts, scale), expected)


@given(batches(), st.integers(0, 2**31))
def test_rotating_all_features_changes_nothing(batch, seed):
    images, texts, scale, labels = batch
    square = torch.randn(
        images.shape[1], images.shape[1], dtype=images.dtype, generator=torch.Generator().manual_seed(seed)
    )
    rotation = torch.linalg.qr(square).Q
    for loss, rest in all_losses(labels):
        torch.testing.assert_close(
            loss(images @ rotation, texts @ rotation, scale, *rest), loss(images, texts, scale, *rest)
        )


@given(batches(), st.randoms(use_true_random=False))
def test_the_order_of_pairs_does_not_matter(batch, random):
    images, texts, scale, labels = batch
    order = list(range(len(images)))
    random.shuffle(order)
    for (loss, rest), (_, shuffled) in zip(all_losses(labels), all_losses(labels[order]), strict=True):
        torch.testing.assert_close(
            loss(images[order], texts[order], scale, *shuffled), loss(images, texts, scale, *rest)
        )


@given(batches())
def test_images_and_texts_can_be_exchanged(batch):
    images, texts, scale, labels = batch
    for loss, rest in all_losses(labels):
        torch.testing.assert_close(loss(texts, images, scale, *rest), loss(images, texts, scale, *rest))


@given(batches(), st.floats(0, 1))
def test_it_is_never_negative(batch, label_smoothing):
    images, texts, scale, labels = batch
    assert contrastive(images, texts, scale, label_smoothing=label_smoothing) >= 0
    assert contrastive_soft_targets(images, texts, scale, labels) >= 0
    assert contrastive_without_collisions(images, texts, scale, labels) >= 0


@given(batches())
def test_labels_that_all_differ_give_the_plain_loss(batch):
    images, texts, scale, _ = batch
    labels = torch.arange(len(images))
    plain = contrastive(images, texts, scale)
    torch.testing.assert_close(contrastive_soft_targets(images, texts, scale, labels), plain)
    torch.testing.assert_close(contrastive_without_collisions(images, texts, scale, labels), plain)


@given(batches(least=2))
def test_the_exclusive_loss_is_its_definition_written_out(batch):
    images, texts, scale, labels = batch
    expected = torch.zeros((), dtype=torch.float64)
    for logits in (scale * images @ texts.T, scale * texts @ images.T):
        for row, label in zip(logits, labels, strict=True):
            positives = (labels == label).nonzero().flatten()
            terms = [torch.cat((row[:j], row[j + 1 :])).logsumexp(0) - row[j] for j in positives]
            expected += torch.stack(terms).mean() / len(labels) / 2
    torch.testing.assert_close(contrastive_exclusive(images, texts, scale, labels), expected)


def test_the_exclusive_loss_has_the_gradient_of_its_value():
    images, texts = unit_rows(torch.Generator().manual_seed(3), 2, 5, 4)
    labels = torch.tensor([0, 1, 0, 2, 1])
    leaves = (
        images.requires_grad_(),
        texts.requires_grad_(),
        torch.tensor(7.0, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(lambda *inputs: contrastive_exclusive(*inputs, labels), leaves)


@pytest.mark.parametrize("gap", [0.0, 5.0, 1e4])
def test_log_odds_of_certain_and_impossible_entries_are_finite(gap):
    logits = torch.tensor([[gap, 0.0, 0.0]], requires_grad=True)
    odds = log_odds(logits)
    torch.testing.assert_close(odds[0, 0], torch.tensor(gap - np.log(2), dtype=torch.float32))
    odds.sum().backward()
    assert logits.grad.isfinite().all()


def test_one_pair_has_nothing_to_be_confused_with():
    one = torch.ones(1, 3) / 3**0.5
    scale = torch.tensor(100.0)
    assert contrastive(one, -one, scale) == 0
    assert contrastive(one, -one, scale, label_smoothing=0.5) == 0
    assert contrastive_without_collisions(one, -one, scale, torch.tensor([4])) == 0
    with pytest.raises(CallError, match="at least two pairs"):
        contrastive_exclusive(one, one, scale, torch.tensor([4]))


def test_identical_rows_cost_the_logarithm_of_their_number():
    rows = torch.ones(5, 4) / 2
    torch.testing.assert_close(contrastive(rows, rows, 100.0), torch.tensor(5.0).log())


def test_opposite_features_at_scale_100_are_finite():
    images = torch.eye(4, requires_grad=True)
    loss = contrastive(images, -torch.eye(4), 100.0)
    torch.testing.assert_close(loss, torch.tensor(100.0 + np.log(3), dtype=torch.float32))
    loss.backward()
    assert images.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_compared_in_single(dtype):
    images, texts = unit_rows(torch.Generator().manual_seed(0), 2, 6, 8, dtype=torch.float32).to(dtype)
    loss = contrastive(images, texts, torch.tensor(100.0, dtype=dtype))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, contrastive(images.float(), texts.float(), 100.0), rtol=0, atol=0)


def test_autocast_does_not_lower_the_precision():
    images, texts = unit_rows(torch.Generator().manual_seed(0), 2, 6, 8, dtype=torch.float32)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    for loss, rest in all_losses(labels):
        with torch.autocast("cpu", torch.bfloat16):
            inside = loss(images, texts, 100.0, *rest)
        torch.testing.assert_close(inside, loss(images, texts, 100.0, *rest), rtol=0, atol=0)


def test_double_precision_stays_double():
    images, texts = unit_rows(torch.Generator().manual_seed(0), 2, 3, 4)
    assert contrastive(images, texts, torch.tensor(10.0)).dtype == torch.float64


@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((3, 4), (3, 5)), ((0, 4), (0, 4))])
def test_what_is_no_batch_of_pairs_is_refused(shapes):
    images, texts = (torch.zeros(shape) for shape in shapes)
    # a run-time type checker, where one is active, is the first to see unequal shapes
    with pytest.raises((CallError, TypeCheckError), match=r"are no batch of pairs|'text_features'"):
        contrastive_from_logits(pair_logits(images, texts, 1.0))


def all_losses(labels):
    """Each loss of the family with the arguments that follow the scale; the exclusive one needs two pairs."""
    aware = [contrastive_soft_targets, contrastive_without_collisions, contrastive_exclusive][
        : 3 if len(labels) > 1 else 2
    ]
    return [(contrastive, ()), *((loss, (labels,)) for loss in aware)]
