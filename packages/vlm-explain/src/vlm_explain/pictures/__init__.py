"""Pictures of what answers rest on: images under their relevance maps, side by side, and a gallery of rationales."""

from .gallery import Shown as Shown
from .gallery import gallery as gallery
from .overlay import overlay as overlay
from .sheet import png_bytes as png_bytes
from .sheet import side_by_side as side_by_side
from .sheet import stacked as stacked
from .sheet import write_picture as write_picture
