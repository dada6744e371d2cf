"""BLIP as a writer of captions: the image tower and the text decoder of its published files."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

from vlm_data.transforms import evaluation_transform
from vlm_models.errors import CheckpointError
from vlm_models.fusion.architecture import FusionSizes, text_config, undefined_weights, vision_tower
from vlm_models.fusion.files import fusion_tokenizer, vocabulary_beside
from vlm_models.fusion.sizes import read_sizes
from vlm_models.fusion.tokens import DECODING, SEPARATOR, BertTokens
from vlm_models.fusion.vision import fusion_preprocess, image_tokens
from vlm_models.fusion.weights import POSITIONS, check_tensors, published_name, resized_positions
from vlm_models.interface import GenerativeModel
from vlm_models.weight_files import read_weight_file

LABEL_SMOOTHING = 0.1
"""Of the captioning loss in BLIP's training."""


class BlipCaptioner(GenerativeModel):
    """Writes about an image, word by word: `[DEC] X [SEP]` under a causal mask, with cross-attention to the image.

    Attributes:
        preprocess: size and normalisation of its images.
        tokenizer: texts to ids.
        grid: rows and columns of patches; the class token stands before them.
    """

    def __init__(self, sizes: FusionSizes, tokenizer: BertTokens, spec: str) -> None:
        super().__init__()
        self.spec = spec
        self.tokenizer = tokenizer
        self.preprocess = fusion_preprocess(sizes.image_size)
        self.grid = sizes.grid
        with undefined_weights():
            self.vision_model = vision_tower(sizes)
            self.text_decoder = BlipTextLMHeadModel(text_config(sizes, sizes.text_layers, True))
        self.text_decoder.tie_weights()

    def attention_modules(self) -> Sequence[nn.Module]:
        """Return the modules by which captions look at the image, first layer first, for `vlm_models.attention`."""
        return [cast(Any, layer).crossattention.self for layer in self.text_decoder.bert.encoder.layer]

    def tokenize(self, texts: Sequence[str]) -> Int64[Tensor, "n length"]:
        """Return the ids of captions, `[DEC] X [SEP]`, padded or cut to one length."""
        tokens = self.tokenizer(texts)
        tokens[:, 0] = self.tokenizer.id_of(DECODING)
        return tokens

    def caption_logits(self, images: Tensor, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n length words"]:
        """Return at every place of a caption the logits of the next word piece.

        Raises:
            CallError: if images have another size than the tower.
        """
        return self._logits(image_tokens(self.vision_model, images, self.preprocess, self.spec), tokens)

    def caption_loss(self, images: Tensor, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, ""]:
        """Return the cross entropy of the next word piece, smoothed by 0.1, mean over all that are not padding.

        Raises:
            CallError: if images have another size than the tower.
        """
        logits = self.caption_logits(images, tokens)[:, :-1].flatten(0, 1)
        padding = self.tokenizer.padding_id
        return functional.cross_entropy(
            logits, tokens[:, 1:].flatten(), ignore_index=padding, label_smoothing=LABEL_SMOOTHING
        )

    def _logits(self, seen: Tensor, tokens: Tensor) -> Tensor:
        mask = tokens.ne(self.tokenizer.padding_id).long()
        found = self.text_decoder(
            input_ids=tokens, attention_mask=mask, encoder_hidden_states=seen, is_decoder=True, use_cache=False
        )
        return cast(Tensor, found.logits)

    def prepare(self, images: Sequence[Any], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Return the inputs for images with the beginnings of their captions, such as `a picture of` or nothing.

        Args:
            images: Pillow images, or a batch of tensors as `preprocess` describes them.
            prompts: as many.
        """
        rows = [
            evaluation_transform(image, self.preprocess) if isinstance(image, Image.Image) else image
            for image in images
        ]
        tokens = self.tokenize(prompts)
        end = self.tokenizer.id_of(SEPARATOR)
        return {"images": torch.stack(rows), "tokens": tokens.masked_fill(tokens.eq(end), self.tokenizer.padding_id)}

    @torch.no_grad()
    def generate(self, inputs: Mapping[str, Tensor], max_new_tokens: int) -> list[str]:
        """Return what follows every prompt, by greedy decoding up to `[SEP]`.

        Raises:
            CallError: if images have another size than the tower.
        """
        seen = image_tokens(self.vision_model, inputs["images"], self.preprocess, self.spec)
        padding, end = self.tokenizer.padding_id, self.tokenizer.id_of(SEPARATOR)
        tokens = functional.pad(inputs["tokens"], (0, max_new_tokens), value=padding)
        start = inputs["tokens"].ne(padding).sum(dim=1)
        rows, done = torch.arange(len(tokens), device=tokens.device), torch.zeros_like(start, dtype=torch.bool)
        for step in range(min(max_new_tokens, self._positions - int(start.max()))):
            place = start + step
            used = int(place.max())
            best = self._logits(seen, tokens[:, :used])[rows, place - 1].argmax(dim=-1)
            tokens[rows, place] = best.masked_fill(done, padding)
            done |= best.eq(end)
            if bool(done.all()):
                break
        return [self.tokenizer.text(row[first:].tolist()) for row, first in zip(tokens, start.tolist(), strict=True)]

    @property
    def _positions(self) -> int:
        return self.text_decoder.bert.embeddings.position_embeddings.num_embeddings

    @torch.no_grad()
    def score_continuations(
        self, inputs: Mapping[str, Tensor], continuations: Sequence[str]
    ) -> Float[Tensor, "n continuations"]:
        """Return the sum of log probabilities of every continuation's word pieces after every row, without an end.

        Raises:
            CallError: if images have another size than the tower.
        """
        seen = image_tokens(self.vision_model, inputs["images"], self.preprocess, self.spec)
        padding = self.tokenizer.padding_id
        frame = {padding, self.tokenizer.id_of(DECODING), self.tokenizer.id_of(SEPARATOR)}
        words = [[index for index in row if index not in frame] for row in self.tokenize(continuations).tolist()]
        prompts = [[index for index in row if index != padding] for row in inputs["tokens"].tolist()]
        rows = [torch.tensor(prompt + word) for prompt in prompts for word in words]
        tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding).to(seen.device)
        logits = self._logits(seen.repeat_interleave(len(words), dim=0), tokens)[:, :-1]
        chosen = logits.log_softmax(dim=-1).gather(2, tokens[:, 1:].unsqueeze(2)).squeeze(2)
        starts = torch.tensor([len(prompt) - 1 for prompt in prompts for _ in words], device=seen.device)
        places = torch.arange(chosen.shape[1], device=seen.device)
        wanted = (places >= starts.unsqueeze(1)) & tokens[:, 1:].ne(padding)
        return chosen.where(wanted, 0).sum(dim=1).unflatten(0, (len(prompts), len(words)))


def load_captioner(source: str, **options: str) -> BlipCaptioner:
    """Load a captioning or pretraining file of BLIP.

    Args:
        source: path of the file.
        options: `image_size`, `text_length` and attention heads, as for `blip:`.

    Raises:
        CheckpointError: if the file is damaged, has no decoder, or one that answers questions: that reads the states
            of the question in place of the image.
        CallError: for an impossible option.
    """
    tensors = read_weight_file(source).tensors
    starts = {name.split(".")[0] for name in tensors}
    missing = [part for part in ("visual_encoder", "text_decoder") if part not in starts]
    answers = "text_encoder" in starts and "vision_proj" not in starts
    if missing or answers:
        reason = "its decoder reads questions" if answers else f"it has no {' and no '.join(missing)}"
        raise CheckpointError(
            f"{source} cannot write captions: {reason}. "
            "Take a captioning or pretraining file of BLIP, such as model_base_caption_capfilt_large.pth."
        )
    sizes = read_sizes(tensors, "blip", source, options, decoder="text_decoder.bert.")
    model = BlipCaptioner(sizes, fusion_tokenizer("blip", sizes, vocabulary_beside(source), source), f"blip:{source}")
    given = {name: tensor for name, tensor in tensors.items() if name.startswith(("visual_encoder.", "text_decoder."))}
    given = {name: tensor.float() for name, tensor in given.items() if not name.endswith(".position_ids")}
    given[POSITIONS] = resized_positions(given[POSITIONS], sizes.grid[0])
    names = {name: published_name(name, "", 0) for name in model.state_dict()}
    check_tensors({names[name]: tensor for name, tensor in model.state_dict().items()}, given, "blip", source)
    model.load_state_dict({name: given[published] for name, published in names.items()}, strict=True)
    return model.eval()
