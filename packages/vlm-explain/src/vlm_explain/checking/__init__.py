"""Sanity checks of relevance maps: do they depend on what the model learnt, and does the answer depend on them."""

from .checks import MapChecks as MapChecks
from .checks import check_maps as check_maps
from .deletion import DeletionCheck as DeletionCheck
from .deletion import check_deletion as check_deletion
from .randomisation import RandomisationCheck as RandomisationCheck
from .randomisation import check_randomisation as check_randomisation
