"""Pictures of what answers rest on: images under relevance maps, galleries of rationales, sheets of clusters."""

from .cluster_sheets import cluster_sheet as cluster_sheet
from .cluster_sheets import write_cluster_sheets as write_cluster_sheets
from .gallery import Shown as Shown
from .gallery import gallery as gallery
from .overlay import overlay as overlay
from .sheet import png_bytes as png_bytes
from .sheet import side_by_side as side_by_side
from .sheet import stacked as stacked
from .sheet import write_picture as write_picture
