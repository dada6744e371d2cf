"""Objects marked in the images of a data set, all in one file: which of them are evidence."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64

from vlm_data.errors import DataLayoutError, listing
from vlm_data.evidence.matching import match_names
from vlm_data.evidence.shapes import Shape
from vlm_data.files import text_hash


@dataclasses.dataclass(frozen=True, eq=False)
class MarkedObject:
    """One object in one image.

    Attributes:
        shape: where it is.
        category: what it is called; may be empty.
    """

    shape: Shape
    category: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class AnnotationFile:
    """What a file says about images.

    Attributes:
        path: of the file.
        digest: hexadecimal digits that change with its content.
        objects: for each image, by the name that the file gives it, the objects in it; at least one.
        sizes: width and height that the file says an image has, where it does.
    """

    path: Path
    digest: str
    objects: Mapping[str, Sequence[MarkedObject]]
    sizes: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class MarkedObjects:
    """An `vlm_data.evidence.source.EvidenceSource` of shapes held in memory and drawn when asked for.

    Attributes:
        path: the file they come from, for messages.
        digest: of its content.
        shapes: for each sample id what is evidence; the mask is the union.
        sizes: width and height of images, where the file tells them.
    """

    path: Path
    digest: str
    shapes: Mapping[str, tuple[Shape, ...]]
    sizes: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def knows(self, sample_id: str) -> bool:
        """Return whether there is evidence for an image, without opening any file."""
        return sample_id in self.shapes

    def mask(self, sample_id: str, size: tuple[int, int]) -> Bool[np.ndarray, "h w"] | None:
        """Return the union of the shapes of one image, or None where the file marks nothing in it.

        Raises:
            DataLayoutError: if a shape leaves the image, or was made for another image size.
        """
        if not self.knows(sample_id):
            return None
        told = self.sizes.get(sample_id, size)
        try:
            if told != size:
                raise ValueError(f"it is said to have {told[0]} x {told[1]} pixels, but it has {size[0]} x {size[1]}")
            return np.logical_or.reduce([shape.mask(size) for shape in self.shapes[sample_id]])
        except ValueError as error:
            raise DataLayoutError(
                f"{self.path} does not fit the image {sample_id!r}: {error}. Expected pixels of the image as it is "
                "on disk. Correct the file, or take the images that were annotated."
            ) from error

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of the file and of which objects are evidence."""
        return self._fingerprint

    @cached_property  # every split of a data set asks for it
    def _fingerprint(self) -> str:
        counts = [(name, len(shapes)) for name, shapes in sorted(self.shapes.items())]
        return text_hash(self.digest, repr(counts))


def marked_objects(
    found: AnnotationFile, ids: Sequence[str], labels: Int64[np.ndarray, " n"], class_words: Mapping[str, int]
) -> MarkedObjects:
    """Match what a file says with the images of a data set.

    If any category is called like a class, only objects of the class of their image are evidence, else all are.

    Args:
        found: what the file says.
        ids: n sample ids; the file may leave out folders at their beginning.
        labels: (n,) class of each image; all objects of an image without a label (negative) are evidence.
        class_words: what classes are called, and which they are.

    Raises:
        DataLayoutError: for names of images that are not there or could be several, and if nothing is evidence.
    """
    name_of = {sample_id: name for name, sample_id in match_names(list(found.objects), ids, found.path).items()}
    label_of = dict(zip(ids, labels.tolist(), strict=True))
    words = {plain(word): label for word, label in class_words.items()}
    used = {plain(each.category) for objects in found.objects.values() for each in objects}
    shapes: dict[str, tuple[Shape, ...]] = {}
    for sample_id, name in name_of.items():
        every = not used & words.keys() or label_of[sample_id] < 0
        kept = (each for each in found.objects[name] if every or words.get(plain(each.category)) == label_of[sample_id])
        shapes[sample_id] = tuple(each.shape for each in kept)
    shapes = {sample_id: kept for sample_id, kept in shapes.items() if kept}
    if not shapes:
        raise DataLayoutError(
            f"{found.path} marks no object that is evidence: its categories are {listing(sorted(used))}, and no image "
            "shows one of its own class. Expected categories called like the classes, or none of them that is. "
            "Correct the file."
        )
    sizes = {sample_id: found.sizes[name_of[sample_id]] for sample_id in shapes if name_of[sample_id] in found.sizes}
    return MarkedObjects(found.path, found.digest, shapes, sizes)


def plain(word: str) -> str:
    """Return a class name as it is compared: without capitals, "_" for " ".

    Example:
        >>> plain("Great_Dane") == plain("great dane")
        True
    """
    return " ".join(word.lower().replace("_", " ").split())
