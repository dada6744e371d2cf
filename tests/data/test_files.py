import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import VlmError
from vlm_data.files import replacing, replacing_folder, text_hash, write_bytes, write_text


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


def fill(folder: Path, names: str, content: str):
    """Write a file of this content for each name; `a/b` lies in a folder."""
    for name in names.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


class TestFolder:
    def test_it_appears_whole_and_the_folders_above_it_too(self, tmp_path: Path):
        target = tmp_path / "new" / "deep"
        with replacing_folder(target) as place:
            fill(place, "one sub/two", "x")
            assert not target.exists()
        assert content(tmp_path) == {"new/deep/one": "x", "new/deep/sub/two": "x"}
        assert os.listdir(tmp_path / "new") == ["deep"]

    @pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
    def test_a_failing_block_leaves_nothing(self, tmp_path: Path, failure: type[BaseException]):
        fill(tmp_path / "there", "one", "old")
        for target in (tmp_path / "there", tmp_path / "new" / "deep"):
            with pytest.raises(failure), replacing_folder(target) as place:
                fill(place, "one two", "new")
                raise failure
        assert content(tmp_path) == {"there/one": "old"}
        assert os.listdir(tmp_path) == ["there"]

    def test_all_that_was_there_is_replaced(self, tmp_path: Path):
        fill(tmp_path / "out", "one sub/two three", "old")
        with replacing_folder(tmp_path / "out") as place:
            fill(place, "one sub/four", "new")
        assert content(tmp_path) == {"out/one": "new", "out/sub/four": "new"}
        assert os.listdir(tmp_path) == ["out"]

    def test_others_can_be_kept(self, tmp_path: Path):
        fill(tmp_path / "out", "one sub/two three/four", "old")
        with replacing_folder(tmp_path / "out", keep_others=True) as place:
            fill(place, "one/five three/six", "new")  # a file becomes a folder, a folder another one
        assert content(tmp_path) == {"out/sub/two": "old", "out/one/five": "new", "out/three/six": "new"}

    def test_the_current_folder_and_a_link_stay_what_they_are(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        fill(tmp_path / "real", "one", "old")
        (tmp_path / "link").symlink_to("real")
        with replacing_folder(tmp_path / "link") as place:
            fill(place, "two", "new")
        assert (tmp_path / "link").is_symlink()
        monkeypatch.chdir(tmp_path / "real")
        with replacing_folder(".") as place:
            fill(place, "three", "new")
        assert os.listdir(".") == ["three"]

    def test_what_is_in_the_way_is_one_clear_error(self, tmp_path: Path):
        fill(tmp_path, "file", "mine")
        for path in ("file", "file/below"):
            with (
                pytest.raises(VlmError, match=rf"cannot write .*{path}: Not a directory.*the new folder was left"),
                replacing_folder(tmp_path / path) as place,
            ):
                fill(place, "one", "new")
        assert content(tmp_path) == {"file": "mine"}

    @pytest.mark.parametrize("step", range(1, 6))
    def test_a_step_that_fails_undoes_the_others(self, tmp_path: Path, step: int):
        """The operating system's events are listened to, so that any of the renames can fail."""
        fill(tmp_path / "out", "one sub/two", "old")
        program = f"""
import sys
from pathlib import Path
from vlm_data.errors import VlmError
from vlm_data.files import replacing_folder
renames = 0
def listen(event, arguments):
    global renames
    if event == "os.rename":
        renames += 1
        if renames == {step}:
            raise OSError(5, "Input/output error")
try:
    with replacing_folder("out") as place:
        for name in ("one", "three"):
            (place / name).write_text("new")
        sys.addaudithook(listen)
    print(renames)
except VlmError as error:
    print(error)
"""
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path
        )  # fmt: skip
        assert done.stderr == ""
        assert os.listdir(tmp_path) == ["out"]
        if step <= 4:
            assert done.stdout.startswith("cannot write out: Input/output error. What was there before is unchanged")
            assert content(tmp_path) == {"out/one": "old", "out/sub/two": "old"}
        else:
            assert done.stdout == "4\n" and content(tmp_path) == {"out/one": "new", "out/three": "new"}
