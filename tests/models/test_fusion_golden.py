"""What the programs of ALBEF's and BLIP's authors compute; definitions in golden/fusion and golden/relevance."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from torchvision.transforms.v2 import functional as images_v2

from specimens.golden import ALBEF, golden_albef, golden_arrays, golden_images
from vlm_models import load_encoder
from vlm_models.attention import record_attention
from vlm_models.fusion.captioner import load_captioner
from vlm_models.fusion.encoder import FusionEncoder
from vlm_models.fusion.masked_words import load_masked_word_head
from vlm_models.fusion.weights import resized_positions

GOLDEN = Path(__file__).parents[1] / "golden"
FAMILIES, SIZES = ("albef", "blip"), ("native", "resized")


class Case:
    """A golden model with its inputs and expected outputs."""

    def __init__(self, family, size, dtype, folder):
        source = GOLDEN / "fusion" / family
        torch.save({"model": load_file(source / "checkpoint.safetensors"), "epoch": 3}, folder / "weights.pth")
        shutil.copy(source / "config.json", folder)  # tells the attention heads
        shutil.copy(GOLDEN / "fusion" / "tokenizer" / "vocab.txt", folder)
        self.config = json.loads((source / "config.json").read_text(encoding="utf-8"))
        option = f",image_size={self.config['resized_image_size']}" if size == "resized" else ""
        self.encoder = load_encoder(f"{family}:{folder}/weights.pth{option}").to(dtype)
        assert isinstance(self.encoder, FusionEncoder)
        self.family, self.size, self.folder = family, size, folder
        self.inputs = {
            name: self.cast(value, dtype) for name, value in load_file(source / "inputs.safetensors").items()
        }
        self.outputs = load_file(source / "outputs.safetensors")
        self.images, self.tokens = self.inputs[f"image_{size}"], self.inputs["input_ids"]
        self.tight = dtype == torch.float64

    @staticmethod
    def cast(value, dtype):
        return value.to(dtype) if value.is_floating_point() else value

    def check(self, name, found):
        """Compare with `size.name`, or with `name` where that is the same for both sizes."""
        key = f"{self.size}.{name}"
        expected = self.outputs[key if key in self.outputs else name]
        loose = name.endswith(("_logits", "_logits_all", "lm_loss", "_cls_token"))
        tolerance = 5e-6 if self.tight else 1e-4 if loose else 2e-5
        torch.testing.assert_close(found.detach().float(), expected, rtol=0, atol=tolerance)

    def features(self):
        images = functional.normalize(self.encoder.encode_image(self.images), dim=-1)
        return images, functional.normalize(self.encoder.encode_text(self.tokens), dim=-1)

    def itc_logits(self):
        images, texts = self.features()
        return images @ texts.T * self.encoder.logit_scale


@pytest.fixture(
    scope="module",
    params=[(f, s, t) for f in FAMILIES for s in SIZES for t in (torch.float32, torch.float64)],
    ids=lambda values: "-".join(map(str, values)),
)
def case(request, tmp_path_factory):
    """In single precision within the README's tolerance, in double precision as near as the files were rounded."""
    return Case(*request.param, tmp_path_factory.mktemp("golden"))


class TestFeatures:
    @torch.no_grad()
    def test_image_tower(self, case):
        case.check("pos_embed", case.encoder.vision_model.embeddings.position_embedding)
        vision = case.encoder.vision_tokens(case.images)
        case.check("image_embeds", vision.tokens)
        assert torch.equal(vision.pooled, vision.tokens[:, 0])
        assert vision.prefix_tokens == 1 and math.prod(vision.grid) == vision.tokens.shape[1] - 1
        torch.testing.assert_close(vision.features, case.encoder.encode_image(case.images))
        case.check("lp_logits", vision.pooled @ case.inputs["lp_weight"].T + case.inputs["lp_bias"])

    @torch.no_grad()
    def test_text_tower(self, case):
        case.check("text_embeds", case.encoder.text_states(case.tokens))

    @torch.no_grad()
    def test_contrast(self, case):
        images, texts = case.features()
        case.check("image_feat", images)
        case.check("text_feat", texts)
        case.check("sim", images @ texts.T)
        case.check("zs_probs", (case.config["itc_eval_scale"] * images @ texts.T).softmax(dim=-1))
        case.check("itc_logits", case.itc_logits())
        case.check("logit_temp", case.encoder.temp)
        if case.size == "native":
            logits, diagonal = case.itc_logits(), torch.arange(len(images))
            rows, columns = (functional.cross_entropy(part, diagonal) for part in (logits, logits.T))
            case.check("flcp_loss", (rows + columns) / 2)

    @torch.no_grad()
    def test_matching(self, case):
        vision = case.encoder.vision_tokens(case.images)
        logits, fused = case.encoder.match(vision, case.tokens)
        case.check("itm_logits", logits)
        case.check("fused", fused)
        count = len(case.tokens)
        repeated = dataclasses.replace(vision, tokens=vision.tokens.repeat_interleave(count, dim=0))
        every, _ = case.encoder.match(repeated, case.tokens.repeat(count, 1))
        case.check("itm_logits_all", every.unflatten(0, (count, count)))

    @torch.no_grad()
    def test_the_first_token_of_matching(self, case):
        vision = case.encoder.vision_tokens(case.images)
        own, _ = case.encoder.match(vision, case.tokens)
        if case.family == "albef":  # has no other than [CLS]
            assert case.tokens[:, 0].eq(case.config["cls_token_id"]).all()
            return
        given, _ = case.encoder.match(vision, case.inputs["input_ids_enc"])
        assert torch.equal(own, given)
        seen = {"attention_mask": case.tokens.ne(0).long(), "encoder_hidden_states": vision.tokens}
        states = case.encoder.text_encoder(input_ids=case.tokens, **seen).last_hidden_state
        case.check("itm_logits_cls_token", case.encoder.itm_head(states[:, 0]))
        assert float((own - case.outputs[f"{case.size}.itm_logits_cls_token"]).abs().max()) > 1e-2

    @torch.no_grad()
    def test_single_rows_are_rows_of_the_batch(self, case):
        for row in range(len(case.images)):
            image, tokens = case.images[row : row + 1], case.tokens[row : row + 1]
            vision = case.encoder.vision_tokens(image)
            expected = case.outputs[f"{case.size}.itm_logits"][row : row + 1]
            torch.testing.assert_close(case.encoder.match(vision, tokens)[0].float(), expected, rtol=0, atol=1e-4)
            for name, found in (
                (f"{case.size}.image_feat", case.encoder.encode_image(image)),
                ("text_feat", case.encoder.encode_text(tokens)),
            ):
                found = functional.normalize(found, dim=-1).float()
                torch.testing.assert_close(found, case.outputs[name][row : row + 1], rtol=0, atol=2e-5)


def relevance(attention, score):
    """R <- R + mean over heads of max(G * A, 0) times R, block after block; the class token's row without itself."""
    total = None
    for found, slope in zip(attention.probabilities, attention.gradients(score), strict=True):
        weighted = (slope * found).clamp(min=0).mean(dim=1)
        total = torch.eye(found.shape[-1], dtype=found.dtype).expand_as(weighted) if total is None else total
        total = total + weighted @ total
    return total[:, 0, 1:]


class TestAttention:
    def test_grad_cam_of_matching(self, case):
        layer = case.config["gradcam_itm_text_layer"] - case.config.get("fusion_layer", 0)
        with record_attention(case.encoder, "cross", [layer]) as attention:
            logits, _ = case.encoder.match(case.encoder.vision_tokens(case.images), case.tokens)
        (found,) = attention.probabilities
        (slope,) = attention.gradients(logits[:, 1].sum())
        torch.testing.assert_close(found.sum(dim=-1), torch.ones(found.shape[:-1], dtype=found.dtype))
        if case.size == "native":
            case.check("cross_attn", found)
            case.check("cross_attn_grad", slope)
        maps = (found * slope.clamp(min=0)).mean(dim=1)[:, :, 1:]
        maps = (maps * case.tokens.ne(0).unsqueeze(-1)).unflatten(-1, case.encoder.sizes.grid)
        case.check("gradcam_itm_tokens", maps)
        case.check("gradcam_itm", maps.mean(dim=1))

    def test_grad_cam_of_contrast(self, case):
        with record_attention(case.encoder, "vision", [case.config["gradcam_itc_vision_block"]]) as attention:
            logits = case.itc_logits()
        (found,), (slope,) = attention.probabilities, attention.gradients(logits.diagonal().sum())
        rows = (found * slope.clamp(min=0)).mean(dim=1)[:, 0, 1:]
        case.check("gradcam_itc", rows.unflatten(-1, case.encoder.sizes.grid))

    @pytest.mark.parametrize("frozen", [False, True])
    @pytest.mark.parametrize(("name", "layers"), [("relevance_itc_last", [-1]), ("relevance_itc_all", None)])
    def test_relevance_of_contrast(self, case, name, layers, frozen):
        case.encoder.requires_grad_(not frozen)
        try:
            with record_attention(case.encoder, "vision", layers) as attention:
                logits = case.itc_logits()
            case.check(name, relevance(attention, logits.diagonal().sum()))
        finally:
            case.encoder.requires_grad_(True)

    def test_relevance_of_a_linear_head(self, case):
        with record_attention(case.encoder, "vision") as attention:
            pooled = case.encoder.vision_tokens(case.images).pooled
            logits = pooled @ case.inputs["lp_weight"].T + case.inputs["lp_bias"]
        score = logits.gather(1, case.inputs["lp_class"].unsqueeze(1)).sum()
        case.check("relevance_lp_all", relevance(attention, score))


class TestLanguage:
    """Arrays that exist for the native image size only."""

    @pytest.fixture(params=[torch.float32, torch.float64], ids=str)
    def case(self, request, family, tmp_path):
        return Case(family, "native", request.param, tmp_path)

    @pytest.mark.parametrize("family", ["albef"])
    @torch.no_grad()
    def test_masked_words(self, case):
        head = load_masked_word_head(case.folder / "weights.pth", case.encoder).to(case.images.dtype)
        vision = case.encoder.vision_tokens(case.images)
        case.check("mlm_logits", head(case.encoder.match(vision, case.inputs["input_ids_mlm"])[1]))

    @pytest.mark.parametrize("family", ["blip"])
    @torch.no_grad()
    def test_captions(self, case):
        captioner = load_captioner(str(case.folder / "weights.pth")).to(case.images.dtype)
        tokens = case.inputs["input_ids_dec"]
        case.check("lm_logits", captioner.caption_logits(case.images, tokens))
        case.check("lm_loss", captioner.caption_loss(case.images, tokens))


class TestWhatWouldBeWrong:
    """Mistakes that load without a word; each is seen by the tests above."""

    @pytest.fixture
    def own(self, tmp_path):
        return Case("albef", "native", torch.float32, tmp_path)

    @staticmethod
    def difference(case, name, found):
        return float((found.detach() - case.outputs[name]).abs().max())

    def test_attention_heads(self, own):
        for layer in own.encoder.text_encoder.encoder.layer:
            layer.attention.self.num_attention_heads, layer.attention.self.attention_head_size = 3, 8
        assert self.difference(own, "text_feat", own.features()[1]) > 1e-3

    def test_the_pooled_output_of_transformers(self, own):
        pooled = own.encoder.vision_model(own.images).pooler_output
        images = functional.normalize(own.encoder.vision_proj(pooled), dim=-1)
        assert self.difference(own, "native.image_feat", images) > 1e-2

    def test_a_closing_separator(self, own):
        tokens = own.tokens.clone()
        tokens[2, 4] = own.encoder.tokenizer.id_of("[SEP]")
        texts = functional.normalize(own.encoder.encode_text(tokens), dim=-1)
        assert self.difference(own, "text_feat", texts) > 1e-2

    def test_resizing_with_antialias(self, own):
        table = own.encoder.vision_model.embeddings.position_embedding.detach()
        grid = table[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
        smooth = images_v2.resize(grid, [5, 5], images_v2.InterpolationMode.BICUBIC, antialias=True)
        mine = resized_positions(table, 5)[:, 1:].unflatten(1, (5, 5)).permute(0, 3, 1, 2)
        assert float((smooth - mine).abs().max()) > 1e-2


@pytest.fixture(scope="module")
def alone():
    """`golden/relevance/albef_*`: half-precision weights of an image tower of width 96 and its projection."""
    return {name: values.numpy() for name, values in golden_arrays(ALBEF).items()}


@pytest.fixture(scope="module")
def tower():
    """An encoder with that tower; the others stay undefined and are not called."""
    return golden_albef()


@pytest.fixture(scope="module")
def pixels(tower):
    """The images, enlarged by repeating pixels, normalised."""
    return tower.preprocess.normalise(golden_images(golden_arrays(ALBEF)))


class TestVisionTowerAlone:
    @staticmethod
    def check(found, expected, relative):
        expected = torch.from_numpy(expected)
        tolerance = relative * float(expected.abs().max())
        torch.testing.assert_close(found.detach(), expected, rtol=0, atol=tolerance)

    @staticmethod
    def scores(tower, pixels, alone):
        texts = torch.from_numpy(alone["text_embeds"])
        return functional.cosine_similarity(tower.encode_image(pixels), texts) * tower.logit_scale

    def test_features(self, tower, pixels, alone):
        vision = tower.vision_tokens(pixels)
        self.check(vision.pooled, alone["cls_features"], 2e-6)
        self.check(self.scores(tower, pixels, alone) * float(alone["temp"]), alone["cos"], 2e-6)
        logits = vision.pooled @ torch.from_numpy(alone["lp_weight"]).T + torch.from_numpy(alone["lp_bias"])
        self.check(logits, alone["lp_logits"], 2e-6)

    @pytest.mark.parametrize("frozen", [False, True])
    @pytest.mark.parametrize(("name", "layers"), [("zs_relevance_last", [-1]), ("zs_relevance_all", None)])
    def test_relevance_of_contrast(self, tower, pixels, alone, name, layers, frozen):
        tower.requires_grad_(not frozen)
        with record_attention(tower, "vision", layers) as attention:
            scores = self.scores(tower, pixels, alone)
        self.check(relevance(attention, scores.sum()), alone[name], 1e-5)

    def test_relevance_of_a_linear_head(self, tower, pixels, alone):
        with record_attention(tower, "vision") as attention:
            pooled = tower.vision_tokens(pixels).pooled
        logits = pooled @ torch.from_numpy(alone["lp_weight"]).T + torch.from_numpy(alone["lp_bias"])
        score = logits[range(len(pixels)), torch.from_numpy(alone["lp_labels"])].sum()
        self.check(relevance(attention, score), alone["lp_relevance_all"], 1e-5)
