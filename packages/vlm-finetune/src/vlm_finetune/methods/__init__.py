"""One file per method: its `Config`, and `build(model, config, total_steps)` or `phases(config, training)`."""
