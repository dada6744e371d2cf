"""Classes read from captions, against `tests/golden/ravl_mitigation/captions.json` and against the rule itself."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.caption_labels import caption_classes, caption_label
from vlm_data.errors import CallError

ROWS = json.loads((Path(__file__).parents[1] / "golden" / "ravl_mitigation" / "captions.json").read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["caption"])
def test_classes_and_label_are_the_golden_ones(row):
    caption, names = row["caption"], row["class_names"]
    assert list(caption_classes(caption, names)) == row["found"]
    assert caption_label(caption, names) == row["label"]
    assert list(caption_classes(caption, names, plural=True)) == row["found_plural"]
    assert caption_label(caption, names, plural=True) == row["label_plural"]


def _is_word(character):
    return character.isalnum() or character == "-"


def _scanned(caption, names):
    """Read the rule again, character by character."""
    text, found = list(caption.lower()), set()
    for name in sorted({name.lower() for name in names}, key=lambda name: (-len(name), name)):
        start = 0
        while start + len(name) <= len(text):
            end = start + len(name)
            before, after = text[start - 1] if start else " ", text[end] if end < len(text) else " "
            if text[start:end] == list(name) and not _is_word(before) and not _is_word(after):
                found |= {label for label, other in enumerate(names) if other.lower() == name}
                text[start:end] = "\0" * len(name)
                start = end
            else:
                start += 1
    return tuple(sorted(found))


@given(
    st.lists(st.text("ab -", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=4),
    st.text("ab -.,A", max_size=16),
)
def test_classes_are_those_of_a_reader_of_characters(names, caption):
    assert caption_classes(caption, names) == _scanned(caption, names)


def test_names_with_signs_are_words_and_not_patterns():
    assert caption_label("a c++ (old) book", ["c++", "b.*k", "(old)"]) == -1
    assert caption_classes("a c++ (old) book", ["c++", "b.*k", "(old)"]) == (0, 2)


def test_classes_called_alike_are_no_label():
    assert caption_classes("a Crane", ["crane", "bird", "Crane"]) == (0, 2)
    assert caption_label("a crane", ["crane", "bird", "Crane"]) == -1


def test_letters_of_other_alphabets_are_letters():
    assert caption_label("Überzug", ["zug"]) == -1 and caption_label("zugéx", ["zug"]) == -1
    assert caption_label("ein Zug.", ["zug"]) == 0


def test_a_class_without_a_name_is_refused():
    with pytest.raises(CallError, match=r"class 1 has the name ' '.*Name the class"):
        caption_label("a cat", ["cat", " "])
