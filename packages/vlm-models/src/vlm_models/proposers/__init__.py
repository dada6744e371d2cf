"""Ways to propose regions, one file each: `INFO` and `propose(dataset, call) -> Proposals`."""
