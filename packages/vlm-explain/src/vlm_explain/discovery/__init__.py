"""What a model learned instead: features of regions that its errors go with (RaVL, Varma et al. 2024)."""

from .assignment import assign as assign
from .discover import discover as discover
from .discovery import Discovery as Discovery
from .finding import Finding as Finding
from .finding import Gap as Gap
from .options import STRATEGIES as STRATEGIES
from .options import DiscoveryOptions as DiscoveryOptions
from .options import reference_options as reference_options
