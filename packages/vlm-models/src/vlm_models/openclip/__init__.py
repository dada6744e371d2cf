"""Towers of the open_clip library, and the weights it knows."""
