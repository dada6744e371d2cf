"""Image files of random pixels."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}


def write_image(path: Path, size: tuple[int, int] = (20, 16), mode: str = "RGB") -> None:
    """Write one image of random pixels that depend on the path below the tree.

    Four channels are written as PNG whatever the file is called: such an image is in Stanford Dogs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32("/".join(path.parts[-4:]).encode()))
    pixels = rng.integers(0, 256, (size[1], size[0], CHANNELS[mode]), dtype=np.uint8)
    picture = Image.fromarray(pixels[..., 0] if mode == "L" else pixels)
    picture.save(path, format="PNG" if path.suffix == ".png" or mode == "RGBA" else "JPEG")
