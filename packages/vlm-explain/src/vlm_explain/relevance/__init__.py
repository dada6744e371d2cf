"""Relevance maps: which part of an image a score rests on."""

from .explain import Explained as Explained
from .explain import explain_batch as explain_batch
from .explain import relevance_maps as relevance_maps
from .options import RelevanceOptions as RelevanceOptions
from .options import reference_options as reference_options
