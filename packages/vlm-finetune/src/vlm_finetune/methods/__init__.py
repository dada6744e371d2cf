"""One file per method: its `Config`, and `build(model, config, total_steps)` or `phases(config, training)`.

`MOVES_TOWERS = False` tells that it leaves the encoder as it is, `NEEDS_REGIONS = True` that it has to know which
regions of the training images are spurious, `NEEDS_WHOLE_BATCH = True` that its loss means something only for the whole
batch of an optimiser step.
"""
