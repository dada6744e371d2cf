import dataclasses
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlm_models import load_encoder, load_model, save_model
from vlm_models.checkpoint import load_state, model_facts, read_manifest, read_weights, weights_hash, write_weights
from vlm_models.classifier import LINEAR, ZERO_SHOT, Classifier, LinearHead
from vlm_models.errors import CheckpointError
from vlm_models.weight_space import State

NAMES, TEMPLATES = ("zero", "one", "ünïcode"), ("the digit {c}", "{c}")


@pytest.fixture(scope="module")
def tiny():
    return load_encoder("tiny")


def with_head(encoder, kind=LINEAR):
    generator = torch.Generator().manual_seed(0)
    head = LinearHead(torch.randn(3, 64, generator=generator), torch.randn(3, generator=generator))
    return Classifier(encoder, head, kind, NAMES, TEMPLATES)


def assert_same_weights(a: State, b: State):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


class TestSaveAndLoad:
    def test_towers(self, tiny, tmp_path):
        assert save_model(tiny, tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
        found = load_model(f"file:{tmp_path}/new/folder")
        assert_same_weights(tiny.state_dict(), found.state_dict())
        assert (found.architecture, found.preprocess) == (tiny.architecture, tiny.preprocess)
        assert found.spec == f"file:{tmp_path}/new/folder"
        assert not found.training

    @pytest.mark.parametrize("kind", [LINEAR, ZERO_SHOT])
    def test_classifier(self, tiny, tmp_path, kind):
        model = with_head(tiny, kind)
        save_model(model, tmp_path, method="full", epoch=3)
        found = load_model(f"run:{tmp_path}")
        assert_same_weights(model.state_dict(), found.state_dict())
        assert (found.head_kind, found.class_names, found.templates) == (kind, NAMES, TEMPLATES)
        images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
        with torch.inference_mode():
            assert torch.equal(model(images), found(images))

    def test_the_manifest_tells_what_the_model_is(self, tiny, tmp_path):
        model = with_head(tiny)
        manifest = read_manifest(save_model(model, tmp_path, method="full", epoch=3))
        assert manifest["base"] == "tiny" and manifest["method"] == "full" and manifest["epoch"] == 3
        assert manifest["head"] == LINEAR
        assert manifest["weights_hash"] == weights_hash(model.state_dict())
        assert len(manifest["class_names_hash"]) == len(manifest["templates_hash"]) == 16

    def test_changed_preprocessing_is_kept(self, tmp_path):
        model = load_encoder("tiny")
        model.preprocess = type(model.preprocess)(48, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear", "squash")
        save_model(model, tmp_path)
        assert load_model(f"file:{tmp_path}").preprocess == model.preprocess

    def test_a_crop_out_of_a_larger_image_is_kept(self, tmp_path):
        model = load_encoder("tiny,resize_side=36")
        save_model(model, tmp_path)
        assert load_model(f"file:{tmp_path}").preprocess.shorter_side == model.preprocess.shorter_side == 36

    def test_equal_models_are_equal_files(self, tiny, tmp_path):
        folders = [save_model(with_head(tiny), tmp_path / name) for name in "ab"]
        for name in ("model.safetensors", "model.json"):
            assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()

    def test_a_model_can_be_saved_over_another(self, tiny, tmp_path):
        save_model(with_head(tiny), tmp_path)
        save_model(tiny, tmp_path)
        assert not isinstance(load_model(f"file:{tmp_path}"), Classifier)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]

    def test_a_copy_of_a_saved_model_names_where_it_came_from(self, tiny, tmp_path):
        save_model(tiny, tmp_path / "first")
        save_model(load_model(f"file:{tmp_path}/first"), tmp_path / "second")
        assert read_manifest(tmp_path / "second")["base"] == f"file:{tmp_path}/first"
        assert_same_weights(tiny.state_dict(), load_model(f"file:{tmp_path}/second").state_dict())

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_half_precision_comes_back_exactly(self, tmp_path, precision):
        half = load_model("tiny", precision=precision)
        save_model(half, tmp_path)
        assert_same_weights(half.state_dict(), load_model(f"file:{tmp_path}", precision=precision).state_dict())


class TestStrictness:
    def test_every_kind_of_difference_is_listed(self, tiny):
        state = dict(tiny.state_dict())
        del state["clip.visual.proj"]
        state["clip.extra"] = torch.zeros(1)
        state["clip.logit_scale"] = torch.zeros(2)
        before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
        with pytest.raises(CheckpointError) as caught:
            load_state(tiny, state, "some/file")
        for part in (
            "the weights of some/file do not fit OpenClipEncoder",
            "1 missing: clip.visual.proj",
            "1 unexpected: clip.extra",
            "1 misshapen: clip.logit_scale has shape (2,), expected ()",
        ):
            assert part in str(caught.value)
        assert_same_weights(before, tiny.state_dict())

    def test_weights_of_another_model_beside_the_manifest(self, tiny, tmp_path):
        save_model(with_head(tiny), tmp_path)
        write_weights(tiny.state_dict(), tmp_path / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"do not fit Classifier: 88 missing: encoder\.clip"):
            load_model(f"file:{tmp_path}")

    def test_weights_that_fit_but_are_not_those_of_the_manifest(self, tiny, tmp_path):
        save_model(with_head(tiny), tmp_path)
        other = {name: torch.zeros_like(tensor) for name, tensor in with_head(tiny).state_dict().items()}
        write_weights(other, tmp_path / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"are not those model\.json was written for"):
            load_model(f"file:{tmp_path}")


class TestDamage:
    @pytest.fixture
    def folder(self, tiny, tmp_path):
        return save_model(with_head(tiny), tmp_path)

    @pytest.mark.parametrize("keep", [0, 5, 100, 100_000, -1])
    def test_truncated_weights(self, folder, keep):
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(CheckpointError, match=r"cannot read weights from .*model\.safetensors"):
            load_model(f"file:{folder}")

    def test_missing_weights(self, folder):
        (folder / "model.safetensors").unlink()
        with pytest.raises(CheckpointError, match=r"cannot read weights from .*model\.safetensors"):
            load_model(f"file:{folder}")

    def test_a_folder_in_place_of_weights(self, folder):
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors").mkdir()
        with pytest.raises(CheckpointError, match="cannot read weights from"):
            read_weights(folder / "model.safetensors")

    def test_a_pickle_is_not_opened(self, folder):
        torch.save({"w": torch.zeros(1)}, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match="Expected a whole safetensors file"):
            load_model(f"file:{folder}")

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "null", '"text"', "{}", '{"format": 2}', '{"format": "1"}', "\ud800"]
    )
    def test_a_manifest_that_is_none(self, folder, text):
        (folder / "model.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(CheckpointError, match=r"model\.json"):
            load_model(f"file:{folder}")

    @pytest.mark.parametrize("key", ["architecture", "preprocessing", "class_names", "templates"])
    def test_a_manifest_that_lacks_something(self, folder, key):
        manifest = json.loads((folder / "model.json").read_text())
        del manifest[key]
        (folder / "model.json").write_text(json.dumps(manifest))
        with pytest.raises(CheckpointError, match=f"model.json.*{key}"):
            load_model(f"file:{folder}")

    @pytest.mark.parametrize(
        "change",
        [
            {"architecture": {"family": "nothing"}},
            {"architecture": {"family": "run"}},
            {"architecture": {"family": "tiny"}},
            {"architecture": 5},
            {"preprocessing": {"size": 32, "colour": "blue"}},
            {"preprocessing": None},
        ],
    )
    def test_a_manifest_that_makes_no_sense(self, folder, change):
        manifest = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps(manifest | change))
        with pytest.raises(CheckpointError, match=r"model\.json"):
            load_model(f"file:{folder}")

    @pytest.mark.parametrize("family", ["file", "run"])
    def test_a_place_without_model(self, tmp_path, family):
        with pytest.raises(CheckpointError, match="holds no saved model: cannot read"):
            load_model(f"{family}:{tmp_path}")
        with pytest.raises(CheckpointError, match="holds no saved model"):
            load_model(f"{family}:{tmp_path}/nowhere")


states = st.dictionaries(
    st.sampled_from(["a", "b", "tower.weight"]),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4).map(torch.tensor),
    min_size=1,
)


@given(states)
def test_the_hash_is_that_of_the_contents(state):
    assert weights_hash(state) == weights_hash({name: state[name].clone() for name in reversed(state)})
    name = next(iter(state))
    assert weights_hash(state) != weights_hash({**state, name: state[name] + 1.5 * state[name].abs().max() + 1})
    assert weights_hash(state) != weights_hash({**state, name: state[name].double()})
    assert weights_hash(state) != weights_hash({**state, name: state[name][None]})
    renamed = {("c" if key == name else key): tensor for key, tensor in state.items()}
    assert weights_hash(state) != weights_hash(renamed)


@given(states)
def test_weights_on_disk_are_the_same_bits(tmp_path_factory, state):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    write_weights(state, path)
    assert weights_hash(read_weights(path)) == weights_hash(state)


def test_all_types_and_shapes_are_hashed_and_stored(tmp_path):
    whole = torch.arange(6.0).view(2, 3)
    state = {
        "transposed": whole.T,
        "part": whole[:, 1:],
        "again": whole,
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "count": torch.tensor(3),
        "mask": torch.tensor([True, False]),
    }
    write_weights(state, tmp_path / "w.safetensors")
    found = read_weights(tmp_path / "w.safetensors")
    assert_same_weights(state, found)
    assert weights_hash(found) == weights_hash(state)


def test_every_change_of_a_model_changes_its_facts(tiny):
    model = with_head(tiny)

    def with_(**changes):
        return Classifier(
            changes.get("encoder", model.encoder),
            changes.get("head", model.head),
            changes.get("kind", model.head_kind),
            changes.get("names", model.class_names),
            changes.get("templates", model.templates),
        )

    other = load_encoder("tiny")
    with torch.no_grad():
        other.clip.logit_scale += 1e-3
    squashed = load_encoder("tiny")
    squashed.preprocess = dataclasses.replace(squashed.preprocess, resize="squash")
    variants = [
        model,
        with_(encoder=other),
        with_(encoder=squashed),
        with_(head=LinearHead(model.head.weight * 1.001), kind=LINEAR),
        with_(names=model.class_names[::-1]),
        with_(templates=model.templates[:1]),
    ]
    facts = {tuple(sorted(model_facts(variant).items())) for variant in variants}
    assert len(facts) == len(variants)
    assert model_facts(with_()) == model_facts(model)
