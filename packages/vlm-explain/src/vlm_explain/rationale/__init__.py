"""Rationales: whether relevance falls on the evidence."""

from .judgement import decide as decide
from .judgement import judge as judge
from .one_pass import Subject as Subject
from .over_data import rationales_of as rationales_of
from .over_data import rationales_of_all as rationales_of_all
from .perturbation import Perturbation as Perturbation
from .rule import Rule as Rule
