"""A CLIP whose text layers were deleted when it was made a classifier: it encodes images, and nothing else."""

from collections.abc import Iterator
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor, nn

from vlm_models.capabilities import require
from vlm_models.openclip.encoder import OpenClipEncoder

_LEFT_OVER = ("positional_embedding", "text_projection", "token_embedding.", "ln_final.")


class ImageOnlyClipEncoder(OpenClipEncoder):
    """What the programs of the WiSE-FT family leave of a CLIP once the head is built.

    Token embeddings, their positions, the last norm and the projection stay in their files, without the layers between.
    """

    def __init__(self, *parts: Any, **settings: Any) -> None:
        super().__init__(*parts, **settings)
        self.capabilities = self.capabilities - {"text"}

    def encode_text(self, tokens: Int64[Tensor, "n length"]) -> Float[Tensor, "n d"]:
        """Refuse: without its layers the text tower gives numbers that mean nothing.

        Raises:
            CapabilityError: always.
        """
        raise require(self, "text")

    def idle_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what is left of the text tower."""
        yield from (one for name, one in self.clip.named_parameters() if name.startswith(_LEFT_OVER))
