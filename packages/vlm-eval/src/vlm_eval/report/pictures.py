"""Pictures that other commands drew into a run, taken into the page."""

import base64
from pathlib import Path

from vlm_data.errors import VlmDataError

_FIRST_LETTERS = b"\x89PNG"


def png_source(path: Path, maker: str) -> str:
    """Return a PNG file as the source of an image in a page; empty if it is not there.

    Args:
        path: of the file.
        maker: the command that draws it.

    Raises:
        VlmDataError: if the file is no PNG.
    """
    if not path.is_file():
        return ""
    data = path.read_bytes()
    if not data.startswith(_FIRST_LETTERS):
        raise VlmDataError(
            f"{path} is no PNG; expected the picture that `{maker}` draws. Remove it to get a report without it, "
            "or give that command again."
        )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
