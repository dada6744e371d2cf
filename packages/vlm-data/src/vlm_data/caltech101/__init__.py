"""Caltech101: outlines of its objects, and the split that a published comparison of rationales used."""
