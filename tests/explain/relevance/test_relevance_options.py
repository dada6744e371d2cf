import dataclasses

import pytest

from vlm_data.errors import CallError
from vlm_explain.relevance import RelevanceOptions, reference_options
from vlm_explain.relevance.options import METHODS, check_effect
from vlm_models import load_encoder
from vlm_models.zero_shot import zero_shot_classifier


def test_all_methods_have_the_same_defaults():
    defaults = {dataclasses.replace(RelevanceOptions(method=name), method="attention") for name in METHODS.names()}
    assert defaults == {RelevanceOptions(method="attention", layers="last", target="label", scalar="logit")}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"method": "atention"}, r"unknown relevance method 'atention'. Did you mean 'attention'"),
        ({"target": "labels"}, r"unknown relevance target 'labels'. Did you mean 'label'.*class:NAME"),
        ({"target": "class:"}, "'class:' names no class; expected class:NAME"),
        ({"scalar": "logits"}, "unknown scalar 'logits'. Did you mean 'logit'"),
        ({"layers": "al"}, "layers='al' is not understood; expected last, all, or the first layer"),
        ({"layers": "0"}, "layers='0' is not understood"),
        ({"layers": "1.5"}, "layers='1.5' is not understood"),
        ({"layers": ""}, "layers='' is not understood"),
        ({"layers": "²"}, "layers='²' is not understood"),
        ({"layers": "--3"}, "layers='--3' is not understood"),
    ],
)
def test_what_is_wrong_with_an_option_is_said(option, message):
    with pytest.raises(CallError, match=message):
        RelevanceOptions(**option)


@pytest.mark.parametrize("layers", ["13", "-13"])
def test_a_layer_that_is_not_there(layers):
    with pytest.raises(CallError, match=rf"layers={layers} .* the tower has 12 layers\. Expected .* from 1 to 12"):
        RelevanceOptions(layers=layers).first_layer(12)


def test_the_reference_takes_other_layers_for_trained_heads():
    model = zero_shot_classifier(load_encoder("tiny"), ["a", "b"], ["{c}"])
    assert reference_options(model).layers == reference_options(model.encoder).layers == "last"
    model.head_kind = "linear"
    assert reference_options(model) == RelevanceOptions(layers="all")


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("rollout", {"target": "prediction"}), ("rollout", {"scalar": "cosine"}), ("rollout", {"layers": "last"}),
        ("input-gradient", {"layers": "all"}),
    ],
)  # fmt: skip
def test_a_choice_without_effect_is_refused(method, given):
    ((name, value),) = given.items()
    with pytest.raises(CallError, match=f"{method} takes no notice of {name}={value}"):
        check_effect(method, given)


def test_choices_with_an_effect_pass():
    check_effect("input-gradient", {"target": "prediction", "scalar": "cosine"})
    check_effect("rollout", {})
