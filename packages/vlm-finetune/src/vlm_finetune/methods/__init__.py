"""One file per method: its `Config`, and `build(model, config, total_steps)` or `phases(config, training)`.

`MOVES_TOWERS = False` tells that it leaves the encoder as it is.
"""
