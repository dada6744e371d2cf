import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import VlmError
from vlm_data.files import replacing, text_hash, write_bytes, write_text


def test_a_file_appears_whole_and_its_folder_with_it(tmp_path: Path):
    target = tmp_path / "new" / "deep" / "note.txt"
    write_text(target, "größe")
    assert target.read_bytes() == "größe".encode()
    assert os.listdir(target.parent) == ["note.txt"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failing_block_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]):
    target = tmp_path / "note.txt"
    write_text(target, "old")
    with pytest.raises(failure), replacing(target) as temporary:
        temporary.write_text("ne")
        raise failure
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["note.txt"]


def test_the_final_name_does_not_exist_while_the_block_runs(tmp_path: Path):
    with replacing(tmp_path / "note.txt") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "note.txt").exists()
    assert (tmp_path / "note.txt").read_text() == "half"


def test_a_full_disk_is_one_clear_error_and_keeps_the_old_file(tmp_path: Path):
    target = tmp_path / "weights.bin"
    write_bytes(target, b"old")
    program = f"""
import resource
from vlm_data.errors import VlmError
from vlm_data.files import write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes({str(target)!r}, bytes(100_000))
except VlmError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.startswith(f"cannot write {target}: File too large.")
    assert "Free some space" in done.stdout
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["weights.bin"]


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(VlmError, match=r"cannot write .*file/below\.txt: File exists \(.*/file\)\. .* writable folder"):
        write_text(tmp_path / "file" / "below.txt", "x")


def test_a_folder_under_the_final_name_is_not_replaced(tmp_path: Path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(VlmError, match="cannot write"):
        write_text(tmp_path / "taken", "x")
    assert os.listdir(tmp_path) == ["taken"]


@given(st.lists(st.text()), st.lists(st.text()))
def test_the_hash_tells_lists_of_texts_apart(first: list[str], second: list[str]):
    assert (text_hash(*first) == text_hash(*second)) == (first == second)


def test_a_path_below_a_file_is_one_clear_error(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(VlmError, match=r"cannot write .*: Not a directory \(.*file/deep\)"):
        write_text(tmp_path / "file" / "deep" / "below.txt", "x")
