"""Rules that mix the weights of two models, and what lets a sweep over alpha run fast."""
