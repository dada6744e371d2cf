"""The runs of a grid: groups that differ in their seed, scores over seeds, and figures."""
