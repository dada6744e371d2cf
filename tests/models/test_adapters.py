import re
import sys

import open_clip
import pytest
import torch
from torch import nn
from torch.nn import functional

from vlm_data.errors import CallError
from vlm_data.preprocess import Preprocess
from vlm_models import load_encoder, load_model, save_model
from vlm_models.adapters import adapter_targets, add_adapters, merged
from vlm_models.capabilities import CapabilityError
from vlm_models.errors import VlmModelsError
from vlm_models.openclip.encoder import OpenClipEncoder
from vlm_models.openclip.towers import ADAPTER_TARGETS
from vlm_models.weight_space import interpolate

TEXT = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
ATTENTION = "clip.visual.transformer.resblocks.0.attn"
MLP = "clip.visual.transformer.resblocks.0.mlp.c_fc"


def timm_tower():
    """An image tower of timm, of one layer: there query, key and value are one linear layer."""
    vision = {"timm_model_name": "vit_tiny_patch16_224", "image_size": 224, "timm_pool": "token", "timm_proj": "linear"}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        clip = open_clip.CustomTextCLIP(16, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**TEXT))
    del clip.visual.trunk.blocks[1:]
    return OpenClipEncoder(
        clip.eval(),
        lambda texts: torch.tensor([[1, len(text) % 40 + 2, 49, 0, 0, 0, 0, 0] for text in texts]),
        spec="timm",
        architecture={},
        preprocess=Preprocess(224),
        embedding_dim=16,
    )


MODELS = {"tiny": lambda: load_encoder("tiny"), "timm": timm_tower}


def disturb(encoder):
    """Give every adapter an effect: B is zero at first."""
    generator = torch.Generator().manual_seed(7)
    for parameter in encoder.parameters():
        if parameter.requires_grad:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return encoder


@pytest.fixture
def tiny():
    return load_encoder("tiny")


def features(encoder):
    size = encoder.preprocess.size
    images = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    return encoder.encode_image(images), encoder.encode_text(encoder.tokenize(["the digit two", "seven"]))


def state_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("name", MODELS)
class TestEveryKindOfMap:
    def test_at_first_it_is_the_same_function(self, name):
        encoder = MODELS[name]()
        with torch.no_grad():
            expected = features(encoder)
            add_adapters(encoder, rank=4, alpha=16)
            torch.testing.assert_close(features(encoder), expected, rtol=1e-5, atol=1e-5)

    def test_every_adapter_receives_a_gradient_at_the_first_step(self, name):
        encoder = MODELS[name]().train()
        fused = {name for name, module in encoder.named_modules() if isinstance(module, nn.MultiheadAttention)}
        targets = add_adapters(encoder, rank=4, alpha=16)
        sum(found.square().sum() for found in features(encoder)).backward()
        trained = {key: p for key, p in encoder.named_parameters() if p.requires_grad}
        assert len(trained) == 2 * (len(targets) + len(fused))
        assert all(p.grad is not None for p in trained.values())
        assert all(bool(p.grad.any()) == ("lora_B" in key) for key, p in trained.items())  # B is zero: none for A yet

    @pytest.mark.parametrize("training", [False, True])
    def test_merged_it_is_the_same_function(self, name, training):
        encoder = MODELS[name]()
        before = features(encoder)
        add_adapters(encoder, rank=4, alpha=16)
        disturb(encoder).train(training)
        expected = features(encoder)
        plain = merged(encoder)
        assert plain.training == training
        torch.testing.assert_close(features(plain), expected, rtol=1e-5, atol=1e-5)
        assert (expected[0] - before[0]).abs().max() > 0.1 and (expected[1] - before[1]).abs().max() > 0.1

    def test_merged_it_has_the_structure_of_before(self, name):
        encoder = MODELS[name]()
        before, parameters = state_of(encoder), [key for key, _ in encoder.named_parameters()]
        kinds = [(key, type(module)) for key, module in encoder.named_modules()]
        fused = {name for name, module in encoder.named_modules() if isinstance(module, nn.MultiheadAttention)}
        targets = add_adapters(encoder, rank=2, alpha=8)
        plain = merged(disturb(encoder))
        assert list(plain.state_dict()) == list(before)
        assert [key for key, _ in plain.named_parameters()] == parameters
        assert [(key, type(module)) for key, module in plain.named_modules()] == kinds
        moved = {key for key, tensor in plain.state_dict().items() if not torch.equal(tensor, before[key])}
        assert moved == {
            f"{target}.{weight}"
            for target in targets
            for weight in (("in_proj_weight", "out_proj.weight") if target in fused else ("weight",))
        }
        assert not any(parameter.requires_grad for parameter in plain.parameters())

    def test_training_moves_adapters_and_nothing_else(self, name):
        encoder = MODELS[name]().train()
        add_adapters(encoder, rank=4, alpha=16)
        before, order = state_of(encoder), [id(p) for p in encoder.parameters()]
        optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=0.01)
        for _ in range(3):
            sum(found.square().sum() for found in features(encoder)).backward()
            optimizer.step()
            optimizer.zero_grad()
        moved = {key for key, tensor in encoder.state_dict().items() if not torch.equal(tensor, before[key])}
        assert moved == {key for key in before if "lora_" in key}
        assert [id(p) for p in encoder.parameters()] == order

    def test_merging_leaves_the_trained_model_alone(self, name):
        encoder = MODELS[name]()
        add_adapters(encoder, rank=4, alpha=16)
        before, released = state_of(disturb(encoder)), [p.requires_grad for p in encoder.parameters()]
        plain = merged(encoder)
        for tensor in plain.state_dict().values():
            tensor.zero_()
        assert all(torch.equal(tensor, before[key]) for key, tensor in encoder.state_dict().items())
        assert [p.requires_grad for p in encoder.parameters()] == released


class TestWeights:
    def test_the_increment_is_the_scaled_product(self, tiny):
        plain_weights = state_of(tiny)
        add_adapters(tiny, rank=4, alpha=6)
        state, found = state_of(disturb(tiny)), merged(tiny).state_dict()
        for weight, a in {
            f"{ATTENTION}.in_proj_weight": f"{ATTENTION}.lora_A.default.weight",
            f"{ATTENTION}.out_proj.weight": f"{ATTENTION}.base_layer.out_proj.lora_A.default.weight",
            f"{MLP}.weight": f"{MLP}.lora_A.default.weight",
        }.items():
            expected = plain_weights[weight] + 1.5 * state[a.replace("lora_A", "lora_B")] @ state[a]
            torch.testing.assert_close(found[weight], expected, rtol=0, atol=1e-6)

    def test_the_start_depends_on_the_seed_alone(self):
        starts = []
        for seed, before in ((3, 0), (3, 1), (4, 0)):
            encoder = load_encoder("tiny")
            torch.manual_seed(before)
            global_state = torch.get_rng_state()
            add_adapters(encoder, rank=4, alpha=16, seed=seed)
            assert torch.equal(torch.get_rng_state(), global_state)
            starts.append(encoder.state_dict()[f"{ATTENTION}.lora_A.default.weight"])
        assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
        assert starts[0].abs().max() <= 1 / 8  # 1 / sqrt(64)

    def test_towers_can_be_adapted_one_by_one(self, tiny):
        targets = [name for name in adapter_targets(tiny) if name.startswith("clip.visual.")]
        assert add_adapters(tiny, rank=4, alpha=16, targets=targets) == targets and len(targets) == 12
        before = features(merged(tiny))
        image, text = features(disturb(tiny))
        assert torch.equal(text, before[1]) and not torch.equal(image, before[0])
        assert all(key.startswith("clip.visual.") for key, p in tiny.named_parameters() if p.requires_grad)

    @pytest.mark.parametrize("masked", [False, True])
    def test_attention_is_that_of_pytorch_with_the_summed_weights(self, tiny, masked):
        add_adapters(tiny, rank=4, alpha=16, targets=[ATTENTION])
        adapted, plain = disturb(tiny).get_submodule(ATTENTION), merged(tiny).get_submodule(ATTENTION)
        x = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
        mask = torch.full((5, 5), -torch.inf).triu(1) if masked else None
        for weights in (False, True):
            found, expected = (m(x, x, x, attn_mask=mask, need_weights=weights) for m in (adapted, plain))
            torch.testing.assert_close(found, expected)

    def test_half_precision_loses_nothing_of_the_sum(self, tiny):
        add_adapters(tiny, rank=4, alpha=16, targets=[ATTENTION])
        adapted, plain = disturb(tiny).get_submodule(ATTENTION), merged(tiny).get_submodule(ATTENTION)
        x = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(adapted(x, x, x)[0], plain(x, x, x)[0])

    def test_dropout_acts_on_what_adapters_read_in_training(self, tiny):
        add_adapters(tiny, rank=4, alpha=16, dropout=0.5, targets=[MLP])
        layer, plain = disturb(tiny).get_submodule(MLP), merged(tiny).get_submodule(MLP)
        x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(layer(x), plain(x), rtol=1e-5, atol=1e-5)
        layer.train()
        torch.manual_seed(0)
        kept = functional.dropout(torch.ones_like(x), 0.5)
        torch.manual_seed(0)
        increment = functional.linear(x * kept, plain.weight - layer.base_layer.weight)
        torch.testing.assert_close(layer(x), layer.base_layer(x) + increment, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "adapted"),
    [
        ("visual.transformer.resblocks.11.attn", True),
        ("text.transformer.resblocks.0.mlp.c_proj", True),
        ("visual.trunk.blocks.0.attn.qkv", True),
        ("visual.trunk.blocks.0.attn.v_proj", True),
        ("visual.trunk.blocks.0.mlp.fc1_g", True),
        ("visual.trunk.stages.2.blocks.26.mlp.fc2", True),
        ("text.transformer.encoder.layer.3.attention.self.query", True),
        ("visual.transformer.resblocks.11.attn.out_proj", False),
        ("visual.trunk.blocks.0.attn.q_norm", False),
        ("visual.trunk.blocks.0.norm1", False),
        ("visual.trunk.attn_pool.proj", False),
        ("visual.trunk.patch_embed.proj", False),
        ("visual.attn_pool.attn", False),
        ("visual.head.proj", False),
        ("text.text_projection", False),
    ],
)
def test_places_in_the_towers_of_open_clip(name, adapted):
    assert bool(re.fullmatch(ADAPTER_TARGETS, f"clip.{name}")) is adapted


class TestSaved:
    def test_merged_weights_are_a_model_like_any_other(self, tiny, tmp_path):
        add_adapters(tiny, rank=4, alpha=16)
        plain = merged(disturb(tiny))
        save_model(plain, tmp_path)
        with torch.no_grad():
            expected = features(tiny)
            torch.testing.assert_close(features(load_model(f"file:{tmp_path}")), expected, rtol=1e-5, atol=1e-5)

    def test_they_interpolate_with_the_base(self, tiny):
        base = state_of(tiny)
        add_adapters(tiny, rank=4, alpha=16)
        tuned = merged(disturb(tiny)).state_dict()
        half = interpolate(base, tuned, 0.5)
        halved = load_encoder("tiny")
        add_adapters(halved, rank=4, alpha=8)
        for key, tensor in merged(disturb(halved)).state_dict().items():
            torch.testing.assert_close(half[key], tensor, rtol=0, atol=1e-6)


class Unnamed(OpenClipEncoder):
    def adapter_targets(self):
        return r".*\.q_proj"


class Blocks(OpenClipEncoder):
    def adapter_targets(self):
        return r".*\.resblocks\.\d+"


class Everything(OpenClipEncoder):
    def adapter_targets(self):
        return r".*resblocks\.\d+\.attn(\.out_proj)?"


class TestRefused:
    def test_a_model_that_can_take_none(self, tiny):
        tiny.capabilities = frozenset({"image", "text"})
        with pytest.raises(CapabilityError, match=r"tiny cannot do adapters \(low-rank adapters \(LoRA\)\)"):
            add_adapters(tiny, rank=4, alpha=16)

    def test_names_that_no_module_has(self, tiny):
        tiny.__class__ = Unnamed
        with pytest.raises(VlmModelsError, match=r"no module of tiny has a name like .*q_proj.*Expected at least one"):
            add_adapters(tiny, rank=4, alpha=16)

    def test_modules_that_are_no_linear_maps(self, tiny):
        tiny.__class__ = Blocks
        with pytest.raises(
            VlmModelsError, match=r"resblocks\.0 of tiny is a ResidualAttentionBlock; adapters go to Lin"
        ):
            add_adapters(tiny, rank=4, alpha=16)

    def test_a_map_inside_attention_is_adapted_once(self, tiny):
        tiny.__class__ = Everything
        assert add_adapters(tiny, rank=4, alpha=16) == adapter_targets(load_encoder("tiny"))[::3]

    @pytest.mark.parametrize("rank", [0, -1, 65, 10**9])
    def test_ranks_that_no_map_has(self, tiny, rank):
        before = state_of(tiny)
        with pytest.raises(CallError, match=rf"adapters of rank {rank} do not fit {ATTENTION} of tiny.* from 1 to 64"):
            add_adapters(tiny, rank=rank, alpha=16)
        assert state_of(tiny).keys() == before.keys()

    def test_dropout_in_fused_attention(self, tiny):
        with pytest.raises(
            CallError, match=r"a dropout of 0\.1 for adapters has no place in .*attn of tiny.*lora\.drop"
        ):
            add_adapters(tiny, rank=4, alpha=16, dropout=0.1)

    def test_without_peft_it_says_what_to_install(self, tiny, monkeypatch):
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(VlmModelsError, match=r"need the package peft.*pip install 'vlm-models\[lora\]'"):
            add_adapters(tiny, rank=4, alpha=16)
