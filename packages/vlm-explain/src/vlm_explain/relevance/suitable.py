"""The relevance method that fits an image tower, where the user has named none."""

from vlm_models.interface import DualEncoder


def suitable_method(encoder: DualEncoder) -> str:
    """Return the method that follows how the tower makes its image feature, see `vlm_explain.relevance.methods`.

    Attention of the head that pools patches where there is one, else that of the class token, else Grad-CAM. Models of
    different kinds thus get different methods; name one for all where their maps are compared.

    Example:
        >>> from vlm_models import load_encoder
        >>> suitable_method(load_encoder("tiny"))
        'attention'
    """
    if "pooling attention" in encoder.capabilities:
        return "pooling-attention"
    if {"vision attention", "tokens"} <= set(encoder.capabilities):
        return "attention"
    return "grad-cam"
