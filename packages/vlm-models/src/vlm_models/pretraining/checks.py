"""What a pre-trained model can do: zero-shot digits and the names of ink colours."""

import numpy as np
import open_clip
import torch
from jaxtyping import Float, Int64, UInt8
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor
from torch.nn import functional

from vlm_data.digits.colours import COLOUR_NAMES, PALETTE, paint
from vlm_data.digits.glyph_bank import GLYPH_EXTENT, glyphs
from vlm_data.digits.rendering import draw_placement, place
from vlm_data.digits.shifts import Pictures
from vlm_models.pretraining.caption_grammar import DIGIT_WORDS, PLAIN
from vlm_models.tiny import PREPROCESS


@torch.no_grad()
def zero_shot_accuracy(
    clip: open_clip.CLIP, tokenizer: SimpleTokenizer, images: UInt8[Tensor, "n 3 32 32"], digits: Int64[Tensor, " n"]
) -> float:
    """Return the share of digits that the ten class prompts find, averaged over the templates, in [0, 1]."""
    prompts = [template.format(c=word) for word in DIGIT_WORDS for template in PLAIN]
    texts = clip.encode_text(tokenizer(prompts), normalize=True).view(len(DIGIT_WORDS), len(PLAIN), -1).mean(dim=1)
    return _accuracy(clip, images, functional.normalize(texts, dim=1), digits)


@torch.no_grad()
def ink_naming_accuracy(clip: open_clip.CLIP, tokenizer: SimpleTokenizer, n: int, rng: np.random.Generator) -> float:
    """Return how often the colour of a printed digit on black is named rightly among the ten colours, in [0, 1].

    The prompts "a COLOUR N on black" are averaged over the ten digits, so the answer does not depend on reading it.
    """
    bank = glyphs("pretraining")
    digits = rng.integers(0, 10, n)
    frames = bank[rng.integers(0, len(bank), n), digits].astype(np.float32) / 255
    ink = place(frames, GLYPH_EXTENT, draw_placement(n, rng, size=(0.6, 0.95), rotation_degrees=8.0))
    colours = rng.choice([i for i, name in enumerate(COLOUR_NAMES) if name != "black"], n)
    images = Pictures(paint(ink, PALETTE[colours][:, None, None], np.zeros((n, 1, 1, 3), np.float32)), ink).stored()
    prompts = [f"a {colour} {word} on black" for colour in COLOUR_NAMES for word in DIGIT_WORDS]
    texts = clip.encode_text(tokenizer(prompts), normalize=True).view(len(COLOUR_NAMES), len(DIGIT_WORDS), -1).mean(1)
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    return _accuracy(clip, pixels, functional.normalize(texts, dim=1), torch.from_numpy(colours))


def _accuracy(
    clip: open_clip.CLIP, images: UInt8[Tensor, "n 3 32 32"], classes: Float[Tensor, "c d"], labels: Int64[Tensor, " n"]
) -> float:
    features = torch.cat([clip.encode_image(part) for part in PREPROCESS.normalise(images).split(1000)])
    return float(((features @ classes.T).argmax(dim=1) == labels).float().mean())
