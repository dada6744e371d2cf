"""ALBEF and BLIP: towers of transformers, weights as their authors publish them."""
