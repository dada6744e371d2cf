"""Where the objects of quadrant canvases come from: one file per source, found by its name."""
