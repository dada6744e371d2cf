"""Figures of a run, drawn onto axes they are given; nothing here reads a file, and nothing uses pyplot."""
