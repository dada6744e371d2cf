import dataclasses
import json
import math
import re

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_models import load_encoder, load_model, save_model
from vlm_models.checkpoint import weights_hash
from vlm_models.errors import CheckpointError
from vlm_models.fusion.sizes import read_sizes
from vlm_models.fusion.tokens import shipped_vocabulary

FAMILIES = ("albef", "blip")
HEADS = ",vision_heads=3,text_heads=4"


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def images():
    return torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def outputs(encoder, images, texts=("abc", "a b")):
    with torch.no_grad():
        tokens = encoder.tokenize(texts)
        matching, fused = encoder.match(encoder.vision_tokens(images), tokens)
        return [encoder.encode_image(images), encoder.encode_text(tokens), matching, fused, encoder.logit_scale]


def same(first, second):
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


class TestWhatFilesHold:
    def test_momentum_copies_queues_and_tables_of_positions_change_nothing(
        self, family, fusion_state, fusion_folder, images
    ):
        state = fusion_state(family)
        dropped = re.compile(r".*(_m\.|_queue$|_ptr$|ptr_queue$|position_ids$|\.cls\.)|text_decoder")
        kept = {name: tensor for name, tensor in state.items() if not dropped.match(name)}
        assert len(kept) < len(state) / 2 + 40 and any("_m." in name for name in state)
        whole, bare = (load_encoder(fusion_folder(family, part)) for part in (state, kept))
        assert same(outputs(whole, images), outputs(bare, images))
        assert weights_hash(whole.state_dict()) == weights_hash(bare.state_dict())

    @pytest.mark.parametrize("layout", ["bare", "module", "fine-tuned", "safetensors", "legacy"])
    def test_layouts(self, family, layout, fusion_state, fusion_folder, images):
        expected = outputs(load_encoder(fusion_folder(family)), images)
        state = fusion_state(family)
        spec = fusion_folder(family, state)
        path = spec.partition(":")[2].partition(",")[0]
        if layout == "fine-tuned":  # without language head, and ALBEF without `bert.` in its names
            names = [name for name in state if not re.search(r"\.cls\.|text_decoder", name)]
            torch.save({"model": {name.replace("bert.", ""): state[name] for name in names}}, path)
        elif layout == "safetensors":
            save_file({name: tensor.clone().contiguous() for name, tensor in state.items()}, path)
        else:
            wrapped = {f"module.{name}": tensor for name, tensor in state.items()} if layout == "module" else state
            torch.save(wrapped, path, _use_new_zipfile_serialization=layout != "legacy")
        assert same(outputs(load_encoder(spec), images), expected)

    def test_half_precision_becomes_single(self, family, fusion_state, fusion_folder, images):
        state = {name: t.half() if t.is_floating_point() else t for name, t in fusion_state(family).items()}
        encoder = load_encoder(fusion_folder(family, state))
        assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
        rounded = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
        assert same(outputs(encoder, images), outputs(load_encoder(fusion_folder(family, rounded)), images))

    def test_the_file_is_not_changed_by_training(self, family, fusion_folder, images):
        spec = fusion_folder(family)
        encoder = load_encoder(spec)
        before = outputs(load_encoder(spec), images)
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.mul_(2)
        assert same(outputs(load_encoder(spec), images), before)


class TestSizes:
    def test_of_a_small_file(self, family, fusion_folder, small_fusion_sizes):
        encoder = load_encoder(fusion_folder(family))
        changes = {"text_layers": 4, "fusion_layers": 0, "temperature_range": (0.001, 0.5)}
        rows = small_fusion_sizes.vocabulary_size
        assert encoder.sizes == dataclasses.replace(
            small_fusion_sizes,
            **({} if family == "albef" else changes | {"vocabulary_size": rows + 2}),
            text_length=12,  # 30 and 35 exceed the table of positions
        )
        assert encoder.preprocess.size == 16 and encoder.preprocess.resize == "squash"
        assert encoder.preprocess.interpolation == "bicubic"
        assert encoder.preprocess.mean == (0.48145466, 0.4578275, 0.40821073)
        assert encoder.preprocess.std == (0.26862954, 0.26130258, 0.27577711)

    def test_what_no_tensor_tells_is_as_published(self, family, fusion_folder):
        encoder = load_encoder(fusion_folder(family))
        towers = [encoder.text_encoder, *([encoder.fusion_encoder] if family == "albef" else [])]
        assert encoder.vision_model.config.layer_norm_eps == 1e-6
        assert {tower.config.layer_norm_eps for tower in towers} == {1e-12}
        assert {tower.config.hidden_act for tower in (encoder.vision_model, *towers)} == {"gelu"}
        assert {module.eps for module in encoder.modules() if hasattr(module, "eps")} == {1e-6, 1e-12}
        assert [tower.config.is_decoder for tower in towers] == ([False, True] if family == "albef" else [True])
        dropouts = {module.p for tower in towers for module in tower.modules() if isinstance(module, torch.nn.Dropout)}
        assert dropouts == {0.1}

    @pytest.mark.parametrize(("family", "size"), [("albef", "base"), ("blip", "base"), ("blip", "large")])
    def test_of_published_files(self, family, size, fusion_state, small_fusion_sizes):
        """Shapes alone: the files themselves have gigabytes."""
        width, layers = (1024, 24) if size == "large" else (768, 12)
        sizes = dataclasses.replace(
            small_fusion_sizes,
            image_size=224,
            patch_size=16,
            vision_width=width,
            vision_layers=layers,
            vision_mlp_width=4 * width,
            text_width=768,
            text_layers=6,
            fusion_layers=6,
            text_mlp_width=3072,
            vocabulary_size=30522,
            positions=512,
            embedding_dim=256,
        )
        shapes = fusion_state(family, seed=None, sizes=sizes)
        found = read_sizes(shapes, family, "weights.pth", {})
        assert size == "large" or len(shapes) == {"albef": 844, "blip": 1272}[family]  # as the authors' classes have
        assert (found.vision_heads, found.text_heads) == (width // 64, 12)
        assert (found.vision_width, found.vision_layers, found.text_width) == (width, layers, 768)
        assert (found.text_layers, found.fusion_layers) == ((6, 6) if family == "albef" else (12, 0))
        assert (found.image_size, found.text_length) == (224, 30 if family == "albef" else 35)
        assert found.vocabulary_size == (30522 if family == "albef" else 30524)


class TestOptions:
    def test_another_image_size_resizes_the_table(self, family, fusion_state, fusion_folder):
        spec = fusion_folder(family)
        encoder = load_encoder(f"{spec},image_size=24")
        table = fusion_state(family)["visual_encoder.pos_embed"]
        grid = table[0, 1:].reshape(4, 4, -1).permute(2, 0, 1).unsqueeze(0)
        larger = functional.interpolate(grid, (6, 6), mode="bicubic", align_corners=False, antialias=False)
        found = encoder.vision_model.embeddings.position_embedding
        torch.testing.assert_close(found[0, 1:].reshape(6, 6, -1).permute(2, 0, 1), larger[0], rtol=0, atol=1e-6)
        assert torch.equal(found[:, :1], table[:, :1])
        assert encoder.architecture["resize"]["from"] == 16 and encoder.architecture["resize"]["to"] == 24
        assert "no antialias" in encoder.architecture["resize"]["rule"]
        assert encoder.encode_image(torch.zeros(1, 3, 24, 24)).shape == (1, 8)
        assert encoder.preprocess.size == 24
        assert "resize" not in load_encoder(spec).architecture

    def test_heads_beside_the_file(self, family, fusion_folder, images, tmp_path):
        expected = outputs(load_encoder(fusion_folder(family)), images)
        bare = fusion_folder(family, folder=tmp_path).partition(",")[0]
        (tmp_path / "config.json").write_text(json.dumps({"vision_heads": 3, "text_heads": 4}), encoding="utf-8")
        assert same(outputs(load_encoder(bare), images), expected)
        other = load_encoder(f"{bare},text_heads=2")  # the spec goes before the file
        assert other.sizes.text_heads == 2 and not same(outputs(other, images), expected)

    def test_text_length(self, family, fusion_folder):
        encoder = load_encoder(f"{fusion_folder(family)},text_length=5")
        assert encoder.tokenize(["a b c d e f g"]).shape == (1, 5)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ("", "nothing tells how many attention heads of .* share its width of 24.*Add ,vision_heads=NUMBER"),
            (",vision_heads=3", "share its width of 16.*Add ,text_heads=NUMBER"),
            (",vision_heads=5,text_heads=4", "vision_heads=5 does not divide the width 24"),
            (",vision_heads=x,text_heads=4", "the option vision_heads=x is not a positive whole number"),
            (f"{HEADS},image_size=18", "image_size=18 is no multiple .* write e.g. image_size=16"),
            (f"{HEADS},text_length=2", "text_length=2 is impossible for this model; expected a number from 3 to 12"),
            (f"{HEADS},text_length=13", "text_length=13 is impossible"),
            (f"{HEADS},imagesize=16", "unknown option of .*: 'imagesize'. Did you mean 'image_size'"),
        ],
    )
    def test_impossible_ones(self, family, fusion_folder, options, message):
        bare = fusion_folder(family).partition(",")[0]
        with pytest.raises(CallError, match=message):
            load_model(bare + options)


class TestStrictness:
    def test_every_tensor_is_needed(self, family, fusion_state, fusion_folder, small_fusion_sizes, tmp_path):
        state = fusion_state(family, bert="" if family == "albef" else "bert.")
        names = [
            name
            for name in state
            if not re.search(r"_m\.|_queue$|_ptr$|ptr_queue$|position_ids$|text_decoder|\.cls\.", name)
        ]
        assert len(names) > 100
        spec = fusion_folder(family, folder=tmp_path)
        for name in names:
            rest = {key: state[key] for key in names if key != name}
            fusion_folder(family, rest, tmp_path)
            with pytest.raises((CheckpointError, CallError)) as caught:
                load_model(spec)
            named = name in str(caught.value)
            assert named or name.endswith("token_type_embeddings.weight"), (name, str(caught.value))

    @pytest.mark.parametrize(
        "name",
        [
            "visual_encoder.blocks.0.extra",
            "text_encoder.pooler.dense.bias",
            "surplus",
            "visual_encoder.blocks.0.norm3.weight",
        ],
    )
    def test_one_tensor_too_many(self, family, name, fusion_state, fusion_folder):
        spec = fusion_folder(family, fusion_state(family) | {name: torch.zeros(1)})
        with pytest.raises(CheckpointError, match=f"1 unexpected: {re.escape(name)}"):
            load_model(spec)

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("visual_encoder.pos_embed", (1, 16, 24)),
            ("visual_encoder.pos_embed", (17, 24)),
            ("visual_encoder.pos_embed", (1, 17, 25)),
            ("visual_encoder.patch_embed.proj.weight", (24, 48)),
            ("visual_encoder.blocks.1.mlp.fc2.bias", (25,)),
            ("vision_proj.weight", ()),
            ("temp", (2,)),
        ],
    )
    def test_a_tensor_of_another_shape(self, family, name, shape, fusion_state, fusion_folder):
        spec = fusion_folder(family, fusion_state(family) | {name: torch.zeros(shape)})
        with pytest.raises(CheckpointError, match=re.escape(name)):
            load_model(spec)

    def test_a_gap_between_layers(self, family, fusion_state, fusion_folder):
        state = fusion_state(family)
        state["visual_encoder.blocks.1000000.norm1.bias"] = torch.zeros(24)
        with pytest.raises(CheckpointError, match=r"has the layers \[0, 1, 1000000\]"):
            load_model(fusion_folder(family, state))


class TestWrongFiles:
    def test_of_the_other_family(self, fusion_folder):
        for family, other in (FAMILIES, FAMILIES[::-1]):
            spec = fusion_folder(family)
            path = spec.partition(":")[2].partition(",")[0]
            with pytest.raises(CallError, match=f"of the family {family}, not of {other}.*write {family}:{path}"):
                load_model(f"{other}:{path}")

    @pytest.mark.parametrize(
        ("name", "advice"),
        [
            ("visual.conv1.weight", "write clip:"),
            ("visual.transformer.resblocks.0.ln_1.bias", "write clip:"),
            ("vision_model.embeddings.class_embedding", "write hf:FOLDER with the folder it lies in"),
            ("visual.trunk.pos_embed", "write openclip:ARCHITECTURE/"),
        ],
    )
    def test_of_another_kind(self, family, name, advice, fusion_folder):
        spec = fusion_folder(family, {name: torch.zeros(2), "text_projection": torch.zeros(2)})
        with pytest.raises(CallError, match=f"it has {re.escape(name)}.*{advice}"):
            load_model(spec)

    def test_of_no_kind(self, family, fusion_folder):
        with pytest.raises(CheckpointError, match=r"is not a file of .*: its tensors are called 'fc.weight'.*take a"):
            load_model(fusion_folder(family, {"fc.weight": torch.zeros(2, 2)}))

    @pytest.mark.parametrize(
        ("left_out", "message"),
        [("text_encoder", "lacks the text tower, "), ("text", "lacks the text tower and the text projection, ")],
    )
    def test_without_a_text_tower(self, family, left_out, message, fusion_state, fusion_folder):
        state = {k: v for k, v in fusion_state(family).items() if not k.startswith((left_out, "text_decoder"))}
        with pytest.raises(CheckpointError, match=message):
            load_model(fusion_folder(family, state))

    @pytest.mark.parametrize(
        ("left_out", "added", "message"),
        [
            ("text_encoder|text_proj|vision_proj|itm|temp", "", "lacks the text tower .*captioning file.*model_base"),
            ("text_proj|vision_proj|itm|temp", "", "lacks the image projection and the text projection .*question"),
            ("text_proj|vision_proj|itm|text_decoder", "cls_head.0.weight", r"reasoning or entailment"),
            ("visual_encoder", "", "lacks the image tower"),
        ],
    )
    def test_a_missing_part_of_blip(self, left_out, added, message, fusion_state, fusion_folder):
        state = {k: v for k, v in fusion_state("blip").items() if not re.match(left_out, k)}
        state |= {added: torch.zeros(1)} if added else {}
        with pytest.raises(CheckpointError, match=message):
            load_model(fusion_folder("blip", state))

    @pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
    def test_a_truncated_file(self, family, fusion_folder, tmp_path, part):
        spec = fusion_folder(family, folder=tmp_path)
        path = tmp_path / "weights.pth"
        content = path.read_bytes()
        path.write_bytes(content[: math.floor(part * len(content))])
        with pytest.raises(CheckpointError, match=re.escape(str(path))):
            load_model(spec)

    def test_no_file(self, family, tmp_path):
        with pytest.raises(CallError, match=f"the model spec {family}: lacks its file"):
            load_model(f"{family}:")
        with pytest.raises((CallError, CheckpointError), match=r"nothing\.pth"):
            load_model(f"{family}:{tmp_path}/nothing.pth")


class TestTokenizers:
    def test_one_that_does_not_fit(self, family, fusion_folder, tmp_path):
        spec = fusion_folder(family, folder=tmp_path, words=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
        counts = (6, 36) if family == "albef" else (8, 38)
        with pytest.raises(CheckpointError, match="has {} word pieces, .*has {} rows.*vocab.txt".format(*counts)):
            load_model(spec)
        (tmp_path / "vocab.txt").unlink()
        with pytest.raises(CheckpointError, match=r"has 3052[24] word pieces of BERT, but its table"):
            load_model(spec)

    def test_a_vocabulary_that_knows_the_tokens_of_blip_already(self, fusion_folder, fusion_words, images):
        expected = outputs(load_encoder(fusion_folder("blip")), images)
        found = load_encoder(fusion_folder("blip", words=[*fusion_words, "[DEC]", "[ENC]"]))
        assert same(outputs(found, images), expected)


class TestSaving:
    def test_it_comes_back_with_its_vocabulary(self, family, fusion_folder, images, tmp_path):
        encoder = load_encoder(f"{fusion_folder(family)},image_size=16,mean=0/0.5/1")
        save_model(encoder, tmp_path)
        assert (tmp_path / "vocab.txt").is_file()
        again = load_encoder(f"file:{tmp_path}")
        assert same(outputs(again, images), outputs(encoder, images))
        assert (again.sizes, again.preprocess, again.capabilities) == (
            encoder.sizes,
            encoder.preprocess,
            encoder.capabilities,
        )
        assert json.loads(json.dumps(again.architecture)) == json.loads(json.dumps(encoder.architecture))

    def test_a_lost_vocabulary_is_named(self, family, fusion_folder, tmp_path):
        save_model(load_encoder(fusion_folder(family)), tmp_path)
        (tmp_path / "vocab.txt").unlink()
        with pytest.raises(CheckpointError, match=r"cannot read the vocabulary .*vocab\.txt"):
            load_model(f"file:{tmp_path}")

    def test_the_shipped_vocabulary_is_not_written(
        self, family, fusion_state, fusion_folder, small_fusion_sizes, tmp_path
    ):
        sizes = dataclasses.replace(small_fusion_sizes, vocabulary_size=len(shipped_vocabulary()), text_width=4)
        source, target = tmp_path / "source", tmp_path / "target"
        source.mkdir()
        spec = fusion_folder(family, fusion_state(family, sizes=sizes), source)
        (source / "vocab.txt").unlink()
        encoder = load_encoder(spec)
        save_model(encoder, target)
        assert not (target / "vocab.txt").exists()
        again = load_encoder(f"file:{target}")
        texts = ["a photo of a café"]
        assert torch.equal(again.tokenize(texts), encoder.tokenize(texts))
        assert encoder.tokenize(texts)[0, :8].tolist() == [
            101,
            1037,
            6302,
            1997,
            1037,
            7668,
            102 * (family == "blip"),
            0,
        ]
