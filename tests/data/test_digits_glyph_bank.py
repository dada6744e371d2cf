"""The shipped glyphs: pinned, whole, and equal to what the committed command draws."""

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from vlm_data.asset import asset_path
from vlm_data.digits.glyph_bank import FONTS, GLYPH_EXTENT, GLYPH_SIZE, WEIGHTS, glyphs
from vlm_data.digits.glyph_drawing import draw_glyphs, write_sheets
from vlm_data.errors import VlmDataError

DRAWN_WITH = {"matplotlib": "3.11", "pillow": "13."}
PIXEL_HASHES = {"pretraining": "75e3e4de5204ba55", "heldout": "24e1d0d6c45d1ac4"}


@pytest.mark.parametrize("fonts", FONTS)
def test_pixels_are_pinned(fonts: str):
    """Changed glyphs change the `render` shift and what the shipped weights were trained on."""
    assert hashlib.sha256(glyphs(fonts).tobytes()).hexdigest()[:16] == PIXEL_HASHES[fonts]


@pytest.mark.parametrize("fonts", FONTS)
def test_every_glyph_is_whole(fonts: str):
    bank = glyphs(fonts)
    assert bank.shape == (len(FONTS[fonts]) * len(WEIGHTS), 10, GLYPH_SIZE, GLYPH_SIZE)
    ink = bank > 64
    assert ink.sum(axis=(2, 3)).min() > 30
    longest = np.maximum(ink.any(axis=2).sum(axis=2), ink.any(axis=3).sum(axis=2))
    assert np.abs(longest - GLYPH_EXTENT * GLYPH_SIZE).max() <= 4


def test_weights_differ_in_the_expected_direction():
    ink = glyphs("pretraining").astype(float).mean(axis=(1, 2, 3)).reshape(-1, 3)
    regular, bold, thin = ink.T
    assert (bold > regular).all()
    assert (thin < regular).all()


def test_no_font_is_in_both_groups():
    assert not set(FONTS["pretraining"]) & set(FONTS["heldout"])


@pytest.mark.parametrize("fonts", FONTS)
def test_drawing_again_gives_the_shipped_pixels(fonts: str):
    pytest.importorskip("matplotlib", reason="the fonts come with matplotlib")
    for package, drawn_with in DRAWN_WITH.items():
        if not version(package).startswith(drawn_with):
            pytest.skip(f"the shipped glyphs were drawn with {package} {drawn_with}, here is {version(package)}")
    assert np.array_equal(draw_glyphs(fonts), glyphs(fonts))


def test_the_command_writes_both_sheets(tmp_path: Path):
    pytest.importorskip("matplotlib", reason="the fonts come with matplotlib")
    names = [path.name for path in write_sheets(tmp_path)]
    assert names == ["glyphs-pretraining.png", "glyphs-heldout.png"]
    assert all(asset_path(f"digits/{name}").is_file() for name in names)


def test_drawing_without_matplotlib_says_what_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what an environment without it looks like to `import`
    with pytest.raises(VlmDataError, match=r"matplotlib is not installed.*reading the shipped bank needs no fonts"):
        draw_glyphs("pretraining")
