"""The classes of ImageNet-1k and of the test sets that have only some of them, or classes made of several."""

import dataclasses
from functools import cache
from pathlib import Path

from vlm_data.asset import asset_lines
from vlm_data.errors import DataLayoutError


@dataclasses.dataclass(frozen=True)
class ObjectNetClass:
    """One of the 113 classes of ObjectNet that ImageNet has too.

    Attributes:
        folder: where its images lie.
        name: as ObjectNet writes it.
        ids: the ImageNet classes it is made of, 1 to 3.
    """

    folder: str
    name: str
    ids: tuple[int, ...]


@cache
def wnids() -> tuple[str, ...]:
    """Return the 1000 WordNet ids in ascending order: the position of one is its class number, from 0.

    Example:
        >>> wnids()[0], wnids()[657]
        ('n01440764', 'n03773504')
    """
    return asset_lines("imagenet/wnids.txt")


@cache
def official_names() -> tuple[str, ...]:
    """Return the 1000 class names that OpenAI published with CLIP; two of them occur twice.

    Example:
        >>> official_names()[0], official_names()[657] == official_names()[744] == "missile"
        ('tench', True)
    """
    return asset_lines("imagenet/class_names.txt")


def first_synonyms(path: Path) -> tuple[str, ...]:
    """Return the first of the synonyms on each of the 1000 lines of a file of somebody's own.

    Published numbers of rationales use these names. Two occur twice, `crane` (bird and machine) and `maillot`.

    Raises:
        DataLayoutError: if the file is missing, or has not 1000 lines with a name.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "imagenet-classes.txt")
        >>> _ = path.write_text(chr(10).join(["tench, Tinca tinca"] * 1000))
        >>> first_synonyms(path)[0]
        'tench'
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataLayoutError(f"cannot read {path}: {error}. Expected 1000 lines of synonyms. Put it there.") from error
    names = tuple(line.split(",")[0].strip() for line in lines)
    if len(names) != len(wnids()) or not all(names):
        raise DataLayoutError(
            f"{path} has {len(names)} lines, {names.count('')} of them without a name. Expected {len(wnids())}, "
            "synonyms separated by commas, in the order of the WordNet ids. Copy the file again."
        )
    return names


@cache
def subset_ids(name: str) -> tuple[int, ...]:
    """Return the class numbers of ImageNet-R (`r`) or ImageNet-A (`a`), 200 each, ascending.

    Example:
        >>> subset_ids("a")[:3], len(subset_ids("r"))
        ((6, 11, 13), 200)
    """
    return tuple(int(line) for line in asset_lines(f"imagenet/{name}.txt"))


@cache
def objectnet_classes() -> tuple[ObjectNetClass, ...]:
    """Return the 113 classes in the order of their folders, which is the order of their labels.

    Example:
        >>> objectnet_classes()[0]
        ObjectNetClass(folder='alarm_clock', name='Alarm clock', ids=(409, 530))
    """
    cells = [line.split("\t") for line in asset_lines("imagenet/objectnet.tsv")]
    return tuple(ObjectNetClass(folder, name, tuple(map(int, ids.split()))) for folder, name, ids in cells)
