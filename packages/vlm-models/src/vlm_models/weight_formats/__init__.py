"""Readers of foreign weight files, one module per format; `vlm_models.weight_files` chooses among them."""
