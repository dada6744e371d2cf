"""Pre-train the embedded model from nothing: `python -m vlm_models.pretrain_tiny --out DIR`.

Writes `weights.safetensors` (half precision), `merges.txt.gz` and `config.json`, the files that ship with the package.
Takes about three minutes on one core. Zero-shot accuracy on validation digits and on fonts that are not trained on
is printed after the last two stages; only these two may be used to choose between seeds.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save

from vlm_data.datasets import digits
from vlm_data.digits.shifts import white_on_black
from vlm_data.files import write_bytes, write_text
from vlm_models.pretraining.caption_grammar import grammar_words
from vlm_models.pretraining.checks import ink_naming_accuracy, zero_shot_accuracy
from vlm_models.pretraining.images import CURRICULUM, Chunk, draw_chunk
from vlm_models.pretraining.merges import learn_merges, write_merges
from vlm_models.pretraining.stages import Report, align_both_towers, describe_frozen_images, supervise_image_tower
from vlm_models.tiny import CONFIG_FILE, MERGES_FILE, WEIGHTS_FILE, architecture, build_clip, build_tokenizer

IMAGES = 60_000
TEXT_STEPS = 1000
SEED = 2
"""The seed of the shipped weights."""


def pretrain(
    out: Path, *, seed: int = SEED, images: int = IMAGES, text_steps: int = TEXT_STEPS, report: Report
) -> dict[str, float]:
    """Pre-train a model and write its three files into `out`.

    Args:
        out: directory, made if missing.
        seed: of weights, images, captions and order; each has its own generator.
        images: number of rendered images.
        text_steps: steps of the second stage.
        report: receives progress lines.

    Returns:
        Accuracies in [0, 1]: zero-shot on validation digits and held-out fonts, and naming the ink colour.
    """
    rngs = [np.random.default_rng((seed, part)) for part in range(5)]
    write_merges(learn_merges(grammar_words()), out / MERGES_FILE)
    tokenizer = build_tokenizer(out / MERGES_FILE)
    config = architecture(tokenizer.vocab_size)
    write_text(out / CONFIG_FILE, json.dumps(config, indent=2) + "\n")
    chunks = [draw_chunk(round(images * level.share), level, rngs[0]) for level in CURRICULUM]
    report(f"drew {images} images")
    clip = build_clip(config, seed)
    supervise_image_tower(clip, chunks, rngs[1], 2e-3, report)
    describe_frozen_images(clip, tokenizer, chunks[-1], rngs[2], steps=text_steps, lr=2e-3, report=report)
    check(clip, tokenizer, report)
    align_both_towers(clip, tokenizer, chunks[-1], rngs[3], lr=1e-3, report=report)
    write_bytes(out / WEIGHTS_FILE, save({name: tensor.half() for name, tensor in clip.state_dict().items()}))
    return check(clip, tokenizer, report)


def check(clip: open_clip.CLIP, tokenizer: SimpleTokenizer, report: Report) -> dict[str, float]:
    """Measure a model on validation digits, held-out fonts and colours, with generators of its own."""
    validation = digits.handwriting(digits.SPLITS["val"])
    pixels = torch.from_numpy(white_on_black(validation.ink).stored().transpose(0, 3, 1, 2).copy())
    fonts: Chunk = draw_chunk(1000, CURRICULUM[-1], np.random.default_rng(0), fonts="heldout")
    scores = {
        "validation digits": zero_shot_accuracy(clip, tokenizer, pixels, torch.from_numpy(validation.labels)),
        "held-out fonts": zero_shot_accuracy(clip, tokenizer, fonts.images, fonts.digits),
        "ink colours": ink_naming_accuracy(clip, tokenizer, 500, np.random.default_rng(0)),
    }
    named = ", ".join(f"{name} {100 * score:.1f} %" for name, score in scores.items())
    report(f"zero-shot: {named}; logit scale {clip.logit_scale.exp().item():.1f}")
    return scores


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and pre-train."""
    parser = argparse.ArgumentParser(prog="python -m vlm_models.pretrain_tiny", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory for the three files")
    parser.add_argument(
        "--seed", type=int, default=SEED, help="seed of everything (default: that of the shipped weights)"
    )
    parser.add_argument("--images", type=int, default=IMAGES, help="rendered images (default: %(default)s)")
    parser.add_argument("--text-steps", type=int, default=TEXT_STEPS, help="steps of stage 2 (default: %(default)s)")
    given = parser.parse_args(arguments)

    def line(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    torch.set_num_threads(1)  # sums in one order, whatever the machine; tensors this small gain little from more
    pretrain(given.out, seed=given.seed, images=given.images, text_steps=given.text_steps, report=line)


if __name__ == "__main__":
    main()
