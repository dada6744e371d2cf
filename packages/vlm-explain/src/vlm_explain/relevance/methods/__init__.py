"""One file per method: its `INFO`, and `relevance(model, images, score_of, options) -> raw maps, logits`.

`model` is a `Classifier` in evaluation mode whose parameters ask for no gradients, `images` (n, 3, h, w) are on its
device, `score_of` (see `vlm_explain.relevance.score.Score`) turns its logits (n, c) into one number per image.
Returned are the relevance of patches (n, rows, columns), any scale, and the logits (n, c) of the same forward pass,
both without a graph. Samples must not influence each other.
"""
