import re

import pytest
import torch
from PIL import Image
from torch.nn import functional

from vlm_models import load_encoder
from vlm_models.errors import CheckpointError
from vlm_models.fusion.captioner import load_captioner
from vlm_models.fusion.masked_words import load_masked_word_head
from vlm_models.interface import GenerativeModel

HEADS = {"vision_heads": "3", "text_heads": "4"}


def path_of(spec):
    return spec.partition(":")[2].partition(",")[0]


@pytest.fixture(scope="module")
def captioner(fusion_folder):
    return load_captioner(path_of(fusion_folder("blip")), **HEADS)


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


class TestCaptioner:
    def test_a_captioning_file_is_enough(self, captioner, fusion_state, fusion_folder, images):
        state = fusion_state("blip")
        rest = {name: tensor for name, tensor in state.items() if re.match(r"visual_encoder\.|text_decoder", name)}
        alone = load_captioner(path_of(fusion_folder("blip", rest)), **HEADS)
        tokens = captioner.tokenize(["a b", "c"])
        torch.testing.assert_close(
            alone.caption_logits(images[:2], tokens), captioner.caption_logits(images[:2], tokens)
        )
        assert isinstance(alone, GenerativeModel) and alone.capabilities == {"generation"}
        assert not alone.training

    @pytest.mark.parametrize(
        ("left_out", "message"),
        [
            ("text_decoder", "it has no text_decoder"),
            ("visual_encoder|text_decoder", "it has no visual_encoder and no text_decoder"),
            ("vision_proj|text_proj", "its decoder reads questions"),
        ],
    )
    def test_other_files(self, fusion_state, fusion_folder, left_out, message):
        state = {name: tensor for name, tensor in fusion_state("blip").items() if not re.match(left_out, name)}
        with pytest.raises(CheckpointError, match=f"cannot write captions: {message}.*caption_capfilt"):
            load_captioner(path_of(fusion_folder("blip", state)), **HEADS)

    def test_every_tensor_is_needed(self, fusion_state, fusion_folder):
        for name in ("text_decoder.cls.predictions.bias", "text_decoder.bert.encoder.layer.1.attention.self.key.bias"):
            state = fusion_state("blip")
            del state[name]
            with pytest.raises(CheckpointError, match=f"1 missing: {name}"):
                load_captioner(path_of(fusion_folder("blip", state)), **HEADS)

    def test_captions_have_their_frame(self, captioner):
        begin, end = captioner.tokenizer.id_of("[DEC]"), captioner.tokenizer.id_of("[SEP]")
        assert captioner.tokenize(["a"]).tolist() == [[begin, 5, end, *[0] * 9]]

    def test_the_word_table_stays_tied_in_training(self, captioner):
        decoder = captioner.text_decoder
        assert decoder.cls.predictions.decoder.weight is decoder.bert.embeddings.word_embeddings.weight

    @torch.no_grad()
    def test_no_place_sees_later_ones(self, captioner, images):
        tokens = captioner.tokenize(["a b c", "a b d"])
        logits = captioner.caption_logits(images[:1].expand(2, -1, -1, -1), tokens)
        torch.testing.assert_close(logits[0, :3], logits[1, :3])
        assert not torch.allclose(logits[0, 3], logits[1, 3], atol=1e-3)

    @torch.no_grad()
    def test_greedy_words_are_the_best_ones(self, captioner, images):
        prompts = ["a", "b c d", ""]
        answers = captioner.generate(captioner.prepare(images, prompts), 4)
        end = captioner.tokenizer.id_of("[SEP]")
        for image, prompt, answer in zip(images, prompts, answers, strict=True):
            tokens = captioner.tokenize([prompt])
            ids = tokens[0, : int(tokens[0].eq(end).nonzero()[0])].tolist()
            start = len(ids)
            for _ in range(4):
                best = int(captioner.caption_logits(image[None], torch.tensor([ids]))[0, -1].argmax())
                ids.append(best)
                if best == end:
                    break
            assert answer == captioner.tokenizer.text(ids[start:])
        assert any(answers)

    def test_it_stops_at_the_last_position(self, captioner, images):
        answers = captioner.generate(captioner.prepare(images, ["a b c d e f g h i", "a", ""]), 50)
        assert len(answers) == 3

    @torch.no_grad()
    def test_scores_are_sums_of_log_probabilities(self, captioner, images):
        continuations = ["b", "c d e", "f g"]
        inputs = captioner.prepare(images, ["a", "a b c", ""])
        scores = captioner.score_continuations(inputs, continuations)
        assert scores.shape == (3, 3)
        for row, prompt in enumerate(["a", "a b c", ""]):
            for column, continuation in enumerate(continuations):
                tokens = captioner.tokenize([f"{prompt} {continuation}"])
                logs = captioner.caption_logits(images[row : row + 1], tokens)[0].log_softmax(dim=-1)
                start = 1 + len(prompt.split())
                places = range(start, start + len(continuation.split()))
                expected = sum(logs[place - 1, tokens[0, place]] for place in places)
                torch.testing.assert_close(scores[row, column], expected, rtol=1e-5, atol=1e-5)

    def test_pictures_are_prepared(self, captioner):
        picture = Image.new("RGB", (40, 20), (255, 0, 0))
        inputs = captioner.prepare([picture, picture], ["a", ""])
        assert inputs["images"].shape == (2, 3, 16, 16) and inputs["images"].dtype == torch.uint8
        begin = captioner.tokenizer.id_of("[DEC]")
        assert inputs["tokens"][:, :3].tolist() == [[begin, 5, 0], [begin, 0, 0]]

    def test_loss_is_the_smoothed_cross_entropy_of_what_follows(self, captioner, images):
        tokens = captioner.tokenize(["a b", "c d e f", "g"])
        loss = captioner.caption_loss(images, tokens)
        logs = captioner.caption_logits(images, tokens).log_softmax(dim=-1)
        terms = []
        for row in range(3):
            for place in range(1, int(tokens[row].ne(0).sum())):
                terms.append(-0.9 * logs[row, place - 1, tokens[row, place]] - 0.1 * logs[row, place - 1].mean())
        torch.testing.assert_close(loss, torch.stack(terms).mean())
        loss.backward()
        assert all(parameter.grad is not None for parameter in captioner.parameters() if parameter.requires_grad)


class TestMaskedWords:
    def test_a_fine_tuned_file_has_no_head(self, fusion_state, fusion_folder):
        spec = fusion_folder("albef", fusion_state("albef", bert=""))
        with pytest.raises(CheckpointError, match=r"no head for masked words, text_encoder\.cls\.predictions"):
            load_masked_word_head(path_of(spec), load_encoder(spec))

    def test_every_tensor_is_needed(self, fusion_state, fusion_folder):
        state = fusion_state("albef")
        del state["text_encoder.cls.predictions.transform.dense.bias"]
        spec = fusion_folder("albef", state)
        with pytest.raises(CheckpointError, match=r"1 missing: text_encoder\.cls\.predictions\.transform\.dense\.bias"):
            load_masked_word_head(path_of(spec), load_encoder(spec))

    @torch.no_grad()
    def test_it_reads_image_and_text(self, fusion_folder, images):
        spec = fusion_folder("albef")
        encoder = load_encoder(spec)
        head = load_masked_word_head(path_of(spec), encoder)
        tokens = encoder.tokenize(["a [MASK] c"] * 3)
        assert tokens[0, :4].tolist() == [1, 5, 3, 7]
        logits = head(encoder.match(encoder.vision_tokens(images), tokens)[1])
        assert logits.shape == (3, 12, encoder.sizes.vocabulary_size) and not head.training
        assert functional.pdist(logits[:, 2]).min() > 1e-2
