"""What a family offers to choose from, before anything is loaded or downloaded."""

import dataclasses

from vlm_models.catalog import REGISTRY


@dataclasses.dataclass(frozen=True)
class Variant:
    """One architecture of a family.

    Attributes:
        architecture: its name.
        tags: names of pre-trained weights for it; without a tag its weights are random.
        cached: those of the tags whose weights are on this machine.
    """

    architecture: str
    tags: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()


def family_variants(name: str) -> list[Variant]:
    """Return the architectures and tags of a family; empty for a family that comes in one version or reads files.

    A family tells them by a function `variants()` in its file. No network is used.

    Raises:
        CallError: for an unknown family; the nearest is offered.

    Example:
        >>> [found.tags[0] for found in family_variants("openclip") if found.architecture == "RN50"]
        ['openai']
        >>> family_variants("tiny")
        []
    """
    module = REGISTRY.load(name)
    return module.variants() if hasattr(module, "variants") else []
