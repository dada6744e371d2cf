"""Telling whether evidence held in memory has changed."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped


def arrays_digest(kind: str, arrays: Mapping[str, Sequence[Shaped[np.ndarray, "..."]]]) -> str:
    """Return sixteen hexadecimal digits that change with any id or number, not with the order of the ids.

    Example:
        >>> one = arrays_digest("boxes", {"a": [np.array([1, 2])]})
        >>> one == arrays_digest("boxes", {"a": [np.array([1.0, 2.0])]}), one == arrays_digest("boxes", {})
        (True, False)
    """
    digest = hashlib.sha256(kind.encode())
    for name, values in sorted(arrays.items()):
        digest.update(repr((name, [value.shape for value in values])).encode())
        for value in values:
            digest.update(np.asarray(value, dtype="<f8").tobytes())
    return digest.hexdigest()[:16]
