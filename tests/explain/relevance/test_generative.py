"""Relevance of answer tokens, against attention and gradients that the library returns itself."""

from types import SimpleNamespace

import pytest
import torch

from specimens.generative import GRIDS, IMAGE, KINDS, batch, generative, prompt
from vlm_data.errors import CallError
from vlm_explain.relevance.generative import answer_relevance
from vlm_explain.relevance.image_places import image_places
from vlm_models.capabilities import CapabilityError

ANSWER = [11, 30, 7]


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind):
    return generative(kind)


def by_hand(kind, inputs, answer, first, scalar):
    """The square recursion over what the library returns when it computes attention step by step."""
    eager = generative(kind, "eager")
    ids = torch.cat((inputs["input_ids"], torch.tensor([answer])), dim=1)
    more = {"attention_mask": torch.ones_like(ids)}
    if "mm_token_type_ids" in inputs:
        more["mm_token_type_ids"] = ids.eq(IMAGE).int()
    output = eager(**{**inputs, "input_ids": ids, **more}, output_attentions=True, use_cache=False)
    is_image = ids[0].eq(IMAGE)
    maps, odds = [], []
    for number, token in enumerate(answer):
        place = inputs["input_ids"].shape[1] + number - 1
        log_probability = output.logits[0, place].log_softmax(-1)[token]
        score = output.logits[0, place, token] if scalar == "logit" else log_probability
        gradients = torch.autograd.grad(score, output.attentions[first:], retain_graph=True, materialize_grads=True)
        total = torch.eye(ids.shape[1])
        for attention, gradient in zip(output.attentions[first:], gradients, strict=True):
            total = total + (gradient * attention)[0].clamp(min=0).mean(dim=0) @ total
        maps.append(total[place, is_image].detach().unflatten(0, GRIDS[kind]))
        odds.append(log_probability.detach())
    return torch.stack(maps), torch.stack(odds)


@pytest.mark.parametrize(("layers", "first"), [("last", 2), ("all", 0), ("2", 1)])
@pytest.mark.parametrize("scalar", ["logit", "log-probability"])
def test_maps_are_those_of_the_definition(kind, model, layers, first, scalar):
    inputs = prompt(kind, [20, 21])
    found = answer_relevance(model, inputs, [ANSWER], layers=layers, scalar=scalar)
    maps, odds = by_hand(kind, inputs, ANSWER, first, scalar)
    assert found.maps.shape == (1, 3, *GRIDS[kind])
    torch.testing.assert_close(found.maps[0], maps, atol=1e-5 * float(maps.max()), rtol=1e-4)
    torch.testing.assert_close(found.log_probabilities[0], odds, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.whole, found.maps.sum(dim=1))
    assert float(maps.max()) > 1e-6 and not found.maps.requires_grad and found.known.all()


def test_one_prompt_is_a_row_of_the_batch(kind, model):
    prompts = [prompt(kind, [20, 21], seed=1), prompt(kind, [22], seed=2, padding=1)]
    answers = [ANSWER, [9]]
    for layers in ("last", "all"):
        together = answer_relevance(model, batch(*prompts), answers, layers=layers)
        assert together.known.tolist() == [[True, True, True], [True, False, False]]
        assert together.maps[1, 1:].eq(0).all() and together.log_probabilities[1, 1:].eq(0).all()
        alone = [
            answer_relevance(model, prompt(kind, [20, 21], seed=1), [ANSWER], layers=layers),
            answer_relevance(model, prompt(kind, [22], seed=2), [[9]], layers=layers),
        ]
        for row, expected in enumerate(alone):
            length = len(answers[row])
            tolerance = {"atol": 1e-5 * float(expected.maps.max()), "rtol": 1e-3}
            torch.testing.assert_close(together.maps[row, :length], expected.maps[0], **tolerance)
            torch.testing.assert_close(
                together.log_probabilities[row, :length], expected.log_probabilities[0], atol=1e-4, rtol=1e-4
            )


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(kind, attention, fails):
    model = generative(kind, attention).train()
    with torch.no_grad():
        model(**prompt(kind, [20]))  # the library makes attributes of its own in the first call

    def state():
        configs = {id(m.config): m.config._attn_implementation for m in model.modules() if hasattr(m, "config")}
        own = [sorted(vars(module)) for module in model.modules()]
        return configs, own, [p.requires_grad for p in model.parameters()], [m.training for m in model.modules()]

    before, inputs = state(), prompt(kind, [20])
    if fails:
        with pytest.raises(Exception):  # noqa: B017 - of the library, for images that are too small
            answer_relevance(model, {**inputs, "pixel_values": inputs["pixel_values"][..., :-1]}, [ANSWER])
    else:
        with torch.inference_mode():
            found = answer_relevance(model, inputs, [ANSWER])
        torch.testing.assert_close(found.maps, answer_relevance(generative(kind), inputs, [ANSWER]).maps)
    assert state() == before and attention in before[0].values()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_answer_token_does_not_depend_on_what_follows(kind, model):
    inputs = prompt(kind, [20, 21])
    short, long = (answer_relevance(model, inputs, [answer], layers="all") for answer in (ANSWER[:1], ANSWER))
    torch.testing.assert_close(short.maps[:, 0], long.maps[:, 0], atol=1e-6, rtol=1e-4)


class TestWrongCalls:
    def test_answers(self, kind, model):
        inputs = prompt(kind, [20])
        with pytest.raises(CallError, match=r"2 answers of \[1, 1\] tokens for 1 prompts"):
            answer_relevance(model, inputs, [[1], [2]])
        with pytest.raises(CallError, match=r"1 answers of \[0\] tokens"):
            answer_relevance(model, inputs, [[]])
        with pytest.raises(CallError, match="scalar 'loss'"):
            answer_relevance(model, inputs, [[1]], scalar="loss")

    def test_padding_on_the_right(self, kind, model):
        inputs = prompt(kind, [20, 0])
        inputs["attention_mask"][:, -1] = 0
        with pytest.raises(CallError, match=r"padded on the right.*padding_side='left'"):
            answer_relevance(model, inputs, [[1]])

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({}, "a Linear has no token that stands for a patch"),
            ({"image_token_id": IMAGE}, "language model of a Linear is not built of layers with self-attention"),
        ],
    )
    def test_models_of_another_kind(self, config, message):
        plain = torch.nn.Linear(1, 1)
        plain.config = SimpleNamespace(**config)
        with pytest.raises(CapabilityError, match=message):
            answer_relevance(plain, prompt("llava", [20]), [[1]])


class TestPlaces:
    def test_views_in_reading_order(self):
        ids = torch.tensor([[1, 9, 9, 9, 9, 5, 9, 9, 9, 9]])
        found = image_places(ids, 9, {"pixel_values": torch.zeros(1, 2, 3, 4, 4)})
        assert found.positions.tolist() == [[[1, 2, 3, 4], [6, 7, 8, 9]]] and found.grid == (2, 2)

    @pytest.mark.parametrize(
        ("ids", "inputs", "message"),
        [
            ([[1, 2]], {}, "a text without image tokens"),
            ([[9, 9, 9]], {}, "3 image tokens in a run form no grid of 1 x 1"),
            ([[9, 1, 1, 1, 1], [1, 9, 9, 9, 9]], {}, "different grids.*one by one"),
            ([[9, 9, 9, 9]], {"pixel_values": torch.zeros(4, 3, 2, 2)}, "4 views of images, but 1 unbroken runs"),
            ([[9, 9]], {"image_grid_thw": torch.tensor([[1, 2, 2]])}, "2 image tokens in a run form no grid of 1 x 1"),
            (
                [[9, 9, 1, 9, 9]],
                {"image_grid_thw": torch.tensor([[1, 2, 4], [1, 4, 2]])},
                "different grids.*one by one",
            ),
        ],
    )
    def test_what_forms_no_grid_is_refused(self, ids, inputs, message):
        with pytest.raises(CallError, match=message):
            image_places(torch.tensor(ids), 9, inputs, merge=2)
