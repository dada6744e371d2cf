"""Dual encoders of transformers in Hugging Face layout."""
