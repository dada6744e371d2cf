"""Files in the JSON format of COCO: images, annotations and categories, checked before anything is made of them."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm_data.errors import DataLayoutError


@dataclasses.dataclass(frozen=True)
class CocoFile:
    """What such a file holds.

    Attributes:
        path: of the file.
        content_hash: SHA-256 of its bytes.
        images: the entry of every image by its id; each has a `file_name` of its own.
        categories: the entry of every category by its id, each with a `name`; empty where the file has none.
        annotations: the entries as they are; what they need depends on what is made of them.
    """

    path: Path
    content_hash: str
    images: Mapping[Any, Mapping[str, Any]]
    categories: Mapping[Any, Mapping[str, Any]]
    annotations: Sequence[Any]

    def wrong(self, what: str) -> DataLayoutError:
        """Return the error for something in this file that is not in the format."""
        return _wrong(self.path, what)


def read_coco_file(path: Path) -> CocoFile:
    """Read a file of instances or captions.

    Raises:
        DataLayoutError: if it cannot be read, is no JSON of this format, or a file name occurs twice; entries are
            named.
    """
    try:
        data = path.read_bytes()
        document = json.loads(data)
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"is no JSON: {error}") from error
    lists = document if isinstance(document, dict) else {}
    lacking = [key for key in ("images", "annotations") if not isinstance(lists.get(key), list)]
    lacking += ["categories"] * (not isinstance(lists.get("categories", []), list))
    if lacking:
        raise _wrong(path, f"has no list of {' or '.join(lacking)}")
    images = _by_id(path, document, "images", "file_name")
    categories = _by_id(path, document, "categories", "name") if document.get("categories") else {}
    _check_file_names(path, images)
    return CocoFile(path, hashlib.sha256(data).hexdigest(), images, categories, document["annotations"])


def _by_id(path: Path, document: Mapping[str, Any], key: str, field: str) -> dict[Any, Mapping[str, Any]]:
    """Return the entries of a list by their id, after checking that each has one of its own, and a text in a field."""
    found: dict[Any, Mapping[str, Any]] = {}
    for number, entry in enumerate(document[key]):
        if not isinstance(entry, dict) or type(entry.get("id")) not in (int, str) or type(entry.get(field)) is not str:
            raise _wrong(path, f"has no id or no {field} in entry {number} of {key}")
        if entry["id"] in found:
            raise _wrong(path, f"has the id {entry['id']} twice in {key}")
        found[entry["id"]] = entry
    return found


def _check_file_names(path: Path, images: Mapping[Any, Mapping[str, Any]]) -> None:
    seen: set[str] = set()
    for image in images.values():
        if image["file_name"] in seen:
            raise _wrong(path, f"has the file name {image['file_name']!r} twice in images")
        seen.add(image["file_name"])


def _wrong(path: Path, what: str) -> DataLayoutError:
    return DataLayoutError(
        f"{path} {what}. Expected the format of COCO: images with id and file_name, annotations with image_id and "
        "segmentation or bbox, and categories with id and name. Correct the file or export it again."
    )
