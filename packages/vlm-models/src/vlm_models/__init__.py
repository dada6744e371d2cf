"""Vision-language models behind one protocol: families, heads, checkpoints, weight arithmetic."""
