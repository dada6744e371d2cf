"""Models made of several others: soups of weights, and ensembles of outputs."""
