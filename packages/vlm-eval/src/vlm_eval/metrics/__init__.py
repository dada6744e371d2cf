"""Numbers from arrays: one file per family of metrics, needing neither a model nor torch."""
