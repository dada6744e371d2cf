"""One file per algorithm: its `INFO`, and `fit(points, count, *, seed) -> Clustering`.

`points` (see `vlm_explain.discovery.clustering.points.Points`) are unit vectors of which at least `count` differ, and
`count` is at least 1. The same seed gives the same clustering. `INFO.needs_distances` tells whether all pairwise
distances are held in memory.
"""
