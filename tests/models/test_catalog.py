import pytest
import torch

from vlm_data.errors import CallError
from vlm_models import load_encoder, load_model, save_model
from vlm_models.capabilities import CAPABILITIES
from vlm_models.catalog import REGISTRY, family_info
from vlm_models.checkpoint import weights_hash
from vlm_models.classifier import LINEAR, Classifier, LinearHead
from vlm_models.interface import DualEncoder, FamilyInfo
from vlm_models.variants import family_variants

SMALL = {"tiny": "tiny", "openclip": "openclip:ViT-S-32-alt"}
"""The cheapest model of each family that holds its own weights; the others are places of saved models."""
WRITTEN = {"clip": "clip_file", "albef": "fusion_folder", "blip": "fusion_folder", "hf": "hf_folder"}
"""Families that read files of others: the fixture that writes a small one and returns its spec."""


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tinny", "unknown model family 'tinny'. Did you mean 'tiny'? Known: "),
        ("OpenCLIP:ViT-B-32", "unknown model family 'OpenCLIP'. Did you mean 'openclip'?"),
        ("", "unknown model family ''"),
        ("tiny:large", "the model 'tiny' comes as tiny and as tiny:random; got 'tiny:large'"),
        ("openclip:ViT-B32", "unknown open_clip architecture 'ViT-B32'. Did you mean 'ViT-B-32'?"),
        ("openclip:ViT-B-32/laion2b", "unknown tag of ViT-B-32 'laion2b'. Did you mean 'laion2b_e16'?"),
        ("run:", "the model spec run: lacks its directory"),
        ("file:", "the model spec file: lacks its directory"),
    ],
)
def test_unknown_names_offer_the_nearest(spec, message):
    with pytest.raises(CallError) as caught:
        load_model(spec)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_unknown_precision_offers_the_nearest():
    with pytest.raises(CallError, match=r"unknown precision 'bf61'\. Did you mean 'bf16'"):
        load_model("tiny", precision="bf61")


def test_towers_of_a_saved_classifier(tmp_path):
    tiny = load_encoder("tiny")
    save_model(Classifier(tiny, LinearHead(torch.zeros(2, 64)), LINEAR, ["a", "b"], ["{c}"]), tmp_path)
    assert isinstance(load_model(f"file:{tmp_path}"), Classifier)
    found = load_encoder(f"file:{tmp_path}")
    assert isinstance(found, DualEncoder)
    assert weights_hash(found.state_dict()) == weights_hash(tiny.state_dict())


def test_two_models_of_one_spec_share_nothing():
    first, second = load_encoder("tiny"), load_encoder("tiny")
    with torch.no_grad():
        next(first.parameters()).add_(1)
    assert weights_hash(first.state_dict()) != weights_hash(second.state_dict())
    assert weights_hash(second.state_dict()) == weights_hash(load_encoder("tiny").state_dict())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return save_model(load_encoder("tiny"), tmp_path_factory.mktemp("saved"))


@pytest.fixture
def small(family, place, request):
    """The spec of a small model of a family."""
    if family in WRITTEN:
        return request.getfixturevalue(WRITTEN[family])(family)
    return SMALL.get(family, f"{family}:{place}")


@pytest.mark.parametrize("family", REGISTRY.names())
class TestEveryFamily:
    """What holds for every file in `families/`."""

    @pytest.fixture
    def model(self, small):
        return load_encoder(small)

    def test_it_says_what_it_is(self, family):
        info = family_info(family)
        assert isinstance(info, FamilyInfo)
        assert info.summary.endswith(".") and info.spec.startswith(family)
        assert set(info.capabilities) <= set(CAPABILITIES)
        assert info.capabilities or family in ("file", "run")  # whatever was saved

    def test_its_variants_are_listed_without_loading(self, family):
        for variant in family_variants(family):
            assert variant.architecture
            assert set(variant.cached) <= set(variant.tags)

    def test_towers_meet_in_one_space(self, model):
        images = torch.zeros(2, 3, model.preprocess.size, model.preprocess.size, dtype=torch.uint8)
        with torch.inference_mode():
            image_features = model.encode_image(images)
            text_features = model.encode_text(model.tokenize(["a digit", "the number seven", ""]))
        assert image_features.shape == (2, model.embedding_dim)
        assert text_features.shape == (3, model.embedding_dim)
        assert image_features.isfinite().all() and text_features.isfinite().all()
        assert model.logit_scale.shape == () and model.logit_scale > 0

    def test_it_is_ready_to_be_evaluated(self, model):
        assert not model.training
        assert not any(module.training for module in model.modules())

    def test_each_row_depends_on_its_own_input_only(self, model):
        size = model.preprocess.size
        images = torch.randint(0, 256, (3, 3, size, size), generator=torch.Generator().manual_seed(0))
        images = images.to(torch.uint8)
        tokens = model.tokenize(["one", "two", "three"])
        with torch.inference_mode():
            torch.testing.assert_close(model.encode_image(images)[1:2], model.encode_image(images[1:2]))
            torch.testing.assert_close(model.encode_text(tokens)[1:2], model.encode_text(tokens[1:2]))

    def test_it_can_be_saved_and_loaded(self, model, tmp_path):
        save_model(model, tmp_path)
        found = load_encoder(f"file:{tmp_path}")
        assert weights_hash(found.state_dict()) == weights_hash(model.state_dict())
        assert (found.preprocess, found.embedding_dim) == (model.preprocess, model.embedding_dim)
        texts = ["the digit five"]
        assert torch.equal(found.tokenize(texts), model.tokenize(texts))

    @pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
    def test_precisions(self, small, precision):
        model = load_encoder(small, precision=precision)
        size = model.preprocess.size
        with torch.inference_mode():
            features = model.encode_image(torch.zeros(1, 3, size, size, dtype=torch.uint8))
        expected = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        assert {tensor.dtype for tensor in model.parameters()} == {expected} == {features.dtype}

    def test_the_image_tower_is_a_part_of_it(self, model):
        own = {id(parameter) for parameter in model.parameters()}
        tower = {id(parameter) for parameter in model.image_tower().parameters()}
        assert tower and tower < own
