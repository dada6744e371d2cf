"""Judging spurious correlations: was the planted one learnt and found, and what did mitigation change."""
