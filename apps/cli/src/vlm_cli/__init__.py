"""The command line: vlm finetune, evaluate, interpolate, report."""
