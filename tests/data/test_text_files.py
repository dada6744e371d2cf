from pathlib import Path

import pytest

from vlm_data.errors import DataLayoutError
from vlm_data.text_files import class_names_in, default_templates, templates_in

AS_THEY_ARE = {"n01": "n01", "n02": "n02"}


def test_without_files_the_defaults_hold(tmp_path: Path):
    assert templates_in(tmp_path) == default_templates() == ("a photo of a {c}.",)
    assert class_names_in(tmp_path, ["n01", "n02"], AS_THEY_ARE) == ("n01", "n02")


def test_templates_are_the_lines_of_a_file_without_blanks_and_byte_order_mark(tmp_path: Path):
    (tmp_path / "templates.txt").write_bytes("\ufeffa drawing of a {c}.\r\n\r\n{c}\n".encode())
    assert templates_in(tmp_path) == ("a drawing of a {c}.", "{c}")


def test_a_template_without_a_place_for_the_name_is_refused(tmp_path: Path):
    (tmp_path / "templates.txt").write_text("a {c}\na photo of a {}\n")
    with pytest.raises(DataLayoutError, match=r"has the line 'a photo of a \{\}' without \{c\}"):
        templates_in(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_template_file_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "templates.txt").write_bytes(content)
    with pytest.raises(DataLayoutError, match=r"is empty\. Expected one template per line"):
        templates_in(tmp_path)


def test_names_come_by_key_or_by_line_number_and_other_lines_are_ignored(tmp_path: Path):
    (tmp_path / "classnames.txt").write_text("n02\tgrey crane\nn09\tunused\nn01\tconstruction crane\n")
    assert class_names_in(tmp_path, ["n01", "n02"], AS_THEY_ARE) == ("construction crane", "grey crane")
    (tmp_path / "classnames.txt").write_text("zero\n\ntwo\n")
    assert class_names_in(tmp_path, ["0", "2"], {}) == ("zero", "two")


def test_a_class_without_a_line_is_named(tmp_path: Path):
    (tmp_path / "classnames.txt").write_text("n1\tcrane\nn02\t\n")
    with pytest.raises(DataLayoutError, match="no name for 2 of 2 classes: 'n01', 'n02'"):
        class_names_in(tmp_path, ["n01", "n02"], AS_THEY_ARE)


def test_two_classes_with_one_display_name_are_refused(tmp_path: Path):
    (tmp_path / "classnames.txt").write_text("n01\tcrane\nn02\tcrane\n")
    with pytest.raises(DataLayoutError, match="'n01' and 'n02' have the same display name 'crane'"):
        class_names_in(tmp_path, ["n01", "n02"], AS_THEY_ARE)


def test_a_file_in_another_encoding_is_named(tmp_path: Path):
    (tmp_path / "classnames.txt").write_bytes("n01\tgröße".encode("utf-16"))
    with pytest.raises(DataLayoutError, match=r"cannot read .*classnames\.txt: .* Save it as UTF-8"):
        class_names_in(tmp_path, ["n01"], {})
