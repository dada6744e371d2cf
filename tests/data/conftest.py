"""Small trees of real image files, each with its own pixels."""

import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vlm_data.controlled import build_settings

torch.set_num_threads(1)


def _write_image(path: Path, size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(str(path).encode()))
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def write_image() -> Callable[..., Path]:
    """Write one image of random pixels that depend on its path."""
    return _write_image


@pytest.fixture
def image_tree(tmp_path: Path) -> Callable[[Iterable[str]], Path]:
    """Write images at the given paths below a new folder `photos` and return the folder."""

    def make(names: Iterable[str]) -> Path:
        folder = tmp_path / "photos"
        folder.mkdir(exist_ok=True)
        for name in names:
            _write_image(folder / name)
        return folder

    return make


@pytest.fixture(scope="session")
def digit_setting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small controlled setting of digits: nine goes with the red rectangle."""
    return build_settings("digits", tmp_path_factory.mktemp("grid"), classes=["nine"], n=200, val=40, test=60)[0]
