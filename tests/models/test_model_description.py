import json

import pytest

from vlm_models import load_encoder, load_model, save_model
from vlm_models.checkpoint import weights_hash
from vlm_models.description import describe
from vlm_models.interface import parameter_count
from vlm_models.zero_shot import zero_shot_classifier


def test_the_parts_of_a_model_add_up_to_the_whole():
    facts = describe("tiny")
    assert sum(facts["parameters"].values()) == parameter_count(load_model("tiny"))
    assert facts["parameters"]["scalars"] == 1


def test_temperature_is_the_inverse_of_the_logit_scale():
    facts = describe("tiny")
    assert facts["logit_scale"] == pytest.approx(load_encoder("tiny").logit_scale.item())
    assert facts["temperature"] * facts["logit_scale"] == pytest.approx(1)


def test_a_saved_classifier_tells_what_it_was_made_for(tmp_path):
    model = zero_shot_classifier(load_encoder("tiny"), ["zero", "one", "two"], ["the digit {c}"])
    save_model(model, tmp_path, method="flyp", epoch=3)
    facts = json.loads(json.dumps(describe(f"file:{tmp_path}")))
    assert facts["saved"] == {"base": "tiny", "method": "flyp", "epoch": 3}
    assert (facts["head"], facts["class_names"]) == ("zero-shot", ["zero", "one", "two"])
    assert facts["parameters"]["head"] == 3 * 64 + 3
    assert facts["weights_hash"] == weights_hash(model.state_dict())


def test_what_a_model_can_do_and_where_its_patches_are():
    facts = describe("tiny")
    attention = ["region attention", "text", "text attention", "tokens", "vision attention"]
    assert facts["capabilities"] == ["adapters", "image", *attention]
    assert facts["vision"] == {"grid": [4, 4], "prefix_tokens": 1, "width": 64, "layers": 4}
    assert facts["licence"] == "Apache-2.0" and facts["parameters"]["fusion"] == 0
    assert describe("tiny,std=0.1/0.2/0.3")["preprocessing"]["std"] == (0.1, 0.2, 0.3)
