"""Robust fine-tuning methods, their losses, one training loop and recipes."""
