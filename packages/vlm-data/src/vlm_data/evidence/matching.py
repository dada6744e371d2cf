"""Which image of a data set a file means when it names one."""

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from vlm_data.errors import DataLayoutError, listing


def match_names(names: Sequence[str], ids: Sequence[str], path: Path) -> dict[str, str]:
    """Return the sample id that each name of an image means: the same, or the only one that ends in it.

    Args:
        names: as a file has them, with the slashes of any system.
        ids: of all images.
        path: of the file, for messages.

    Raises:
        DataLayoutError: for names that fit none or several, and two names for one image.

    Example:
        >>> match_names(["0.jpg", "b/1.jpg"], ["a/0.jpg", "a/1.jpg", "b/1.jpg"], Path("evidence.csv"))
        {'0.jpg': 'a/0.jpg', 'b/1.jpg': 'b/1.jpg'}
    """
    wanted = {name: name.replace("\\", "/").removeprefix("./") for name in names}
    exact = set(ids)
    fitting: dict[str, set[str]] = {ending: {ending} & exact for ending in wanted.values()}
    for sample_id in ids if not exact.issuperset(fitting) else ():
        parts = sample_id.split("/")
        for start in range(1, len(parts)):
            ending = "/".join(parts[start:])
            if ending in fitting and ending not in exact:
                fitting[ending].add(sample_id)
    found = {name: fitting[ending] for name, ending in wanted.items()}
    _check(found, ids, path)
    return {name: next(iter(fits)) for name, fits in found.items()}


def _check(found: Mapping[str, Set[str]], ids: Sequence[str], path: Path) -> None:
    unknown = [name for name, fits in found.items() if not fits]
    if unknown:
        raise DataLayoutError(
            f"{path} names {len(unknown)} images that are not in the data set: {listing(unknown)}. "
            f"Expected names such as {listing(ids[:2])}, or their ends. Correct the names, or remove them."
        )
    several = [name for name, fits in found.items() if len(fits) > 1]
    if several:
        raise DataLayoutError(
            f"{path} has names that fit several images: {listing(several)}; {several[0]!r} fits "
            f"{listing(sorted(found[several[0]]))}. Expected one each. Write the folders before these names."
        )
    meant: dict[str, list[str]] = {}
    for name, fits in found.items():
        meant.setdefault(next(iter(fits)), []).append(name)
    twice = [names for names in meant.values() if len(names) > 1]
    if twice:
        raise DataLayoutError(
            f"{path} has two names for one image: {listing(twice[0])}; {len(twice)} images are affected. "
            "Expected one name each. Correct the file."
        )
