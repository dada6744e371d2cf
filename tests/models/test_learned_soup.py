import pytest
import torch
from torch.nn import functional

from vlm_data import load_benchmark
from vlm_data.errors import CallError
from vlm_models.classifier import LINEAR
from vlm_models.errors import CheckpointError, VlmModelsError
from vlm_models.learned_soup import MixingWeights, SoupClassifier, learned_soup
from vlm_models.soups import uniform_soup
from vlm_models.zero_shot import load_classifier, zero_shot_head


def linear_models(count=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "w": torch.randn(4, 5, generator=generator, dtype=dtype),
            "b": torch.randn(4, generator=generator, dtype=dtype),
            "steps": torch.tensor(number),
        }
        for number in range(count)
    ]


def linear(state, x):
    return functional.linear(x, state["w"], state["b"])


def batch(n=64, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=generator, dtype=dtype)
    return x, linear(linear_models(dtype=dtype)[1], x).argmax(1)  # the second model is right about everything


@pytest.mark.parametrize("per_tensor", [False, True])
def test_it_starts_as_the_uniform_soup_with_scale_one(per_tensor):
    models = linear_models()
    soup = learned_soup(models, linear, lambda epoch: [batch()], per_tensor=per_tensor, epochs=0)
    for name, tensor in uniform_soup(models).items():
        torch.testing.assert_close(soup.state[name], tensor, rtol=1e-6, atol=1e-7)
    assert soup.scale == 1.0 and soup.losses == [] and soup.shares == pytest.approx([1 / 3] * 3)
    assert soup.state["steps"] == 2  # what cannot be averaged is that of the last model


@pytest.mark.parametrize("per_tensor", [False, True])
def test_gradients_are_exact(per_tensor):
    mixing = MixingWeights(linear_models(), per_tensor).double()
    x, y = batch(8)
    with torch.no_grad():
        mixing.logits += torch.randn(mixing.logits.shape, generator=torch.Generator().manual_seed(2))

    def loss():
        return functional.cross_entropy(mixing.scale * linear(mixing(), x), y)

    loss().backward()
    for parameter in mixing.parameters():
        flat = parameter.data.view(-1)
        for place in range(flat.numel()):
            old, h = flat[place].item(), 1e-6
            values = []
            for step in (h, -h):
                flat[place] = old + step
                values.append(loss().item())
            flat[place] = old
            assert parameter.grad.view(-1)[place].item() == pytest.approx((values[0] - values[1]) / (2 * h), abs=1e-8)


@pytest.mark.parametrize("per_tensor", [False, True])
def test_it_finds_the_model_that_is_right(per_tensor):
    soup = learned_soup(linear_models(), linear, lambda epoch: [batch()] * 20, per_tensor=per_tensor, epochs=5)
    assert soup.losses == sorted(soup.losses, reverse=True) and soup.losses[-1] < soup.losses[0] / 2
    assert soup.shares.index(max(soup.shares)) == 1 and sum(soup.shares) == pytest.approx(1)
    assert all(not tensor.requires_grad for tensor in soup.state.values())
    assert soup.state["w"].dtype == torch.float64


def test_the_same_batches_give_the_same_soup():
    one, other = (learned_soup(linear_models(), linear, lambda epoch: [batch(seed=epoch)] * 3) for _ in range(2))
    assert torch.equal(one.state["w"], other.state["w"]) and one.shares == other.shares


def test_half_precision_is_mixed_in_single():
    models = linear_models(dtype=torch.float16)
    assert MixingWeights(models)()["w"].dtype == torch.float32
    soup = learned_soup(models, linear, lambda epoch: [batch(dtype=torch.float32)], epochs=1)
    assert soup.state["w"].dtype == torch.float16


def test_what_makes_no_soup_is_refused():
    with pytest.raises(CheckpointError, match="at least one model"):
        learned_soup([], linear, lambda epoch: [batch()])
    with pytest.raises(CheckpointError, match="1 missing: b"):
        learned_soup([linear_models()[0], {"w": torch.zeros(4, 5), "steps": torch.tensor(0)}], linear, lambda epoch: [])
    with pytest.raises(CallError, match="needs held-out images; there are none"):
        learned_soup(linear_models(), linear, lambda epoch: [])
    broken = [*linear_models(2), {**linear_models(1)[0], "w": torch.full((4, 5), torch.nan, dtype=torch.float64)}]
    with pytest.raises(VlmModelsError, match="the loss of the mean is nan in epoch 1"):
        learned_soup(broken, linear, lambda epoch: [batch()])


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=8)


@pytest.fixture(scope="module")
def images(digits):
    return torch.from_numpy(digits.val.images).permute(0, 3, 1, 2).contiguous()


class TestClassifiers:
    @pytest.mark.parametrize("rebuilds", [False, True])
    def test_its_logits_are_those_of_the_classifier_with_these_tensors(self, digits, images, rebuilds):
        model = load_classifier("tiny", digits.class_names, digits.templates).eval()
        with torch.no_grad():
            other = {name: tensor * 1.1 for name, tensor in model.state_dict().items()}
            logits = SoupClassifier(model, rebuilds).logits(other, images)
            before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            model.load_state_dict(other)
            head = zero_shot_head(model.encoder, digits.class_names, digits.templates) if rebuilds else model.head
            torch.testing.assert_close(logits, head(model.encoder.encode_image(images)), rtol=0, atol=1e-3)
        assert before.keys() == other.keys()

    @pytest.mark.parametrize("rebuilds", [False, True])
    def test_a_gradient_reaches_the_shares(self, digits, images, rebuilds):
        model = load_classifier("tiny", digits.class_names, digits.templates).eval()
        model.head_kind = LINEAR
        states = [model.state_dict(), {name: tensor * 0.9 for name, tensor in model.state_dict().items()}]
        mixing = MixingWeights(states, per_tensor=True)
        logits = SoupClassifier(model, rebuilds).logits(mixing(), images)
        functional.cross_entropy(mixing.scale * logits, torch.from_numpy(digits.val.labels)).backward()
        names = list(model.state_dict())
        moved = {names[row] for row in mixing.logits.grad.abs().sum(1).nonzero()[:, 0]}
        text = {name for name in moved if name.startswith("encoder.clip.") and "visual" not in name}
        assert bool(text) is rebuilds and ("head.weight" in moved) is not rebuilds
        assert any("visual" in name for name in moved)
