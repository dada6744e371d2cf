"""Rationales: whether relevance falls on the evidence."""

from .judgement import decide as decide
from .judgement import judge as judge
from .rule import Rule as Rule
