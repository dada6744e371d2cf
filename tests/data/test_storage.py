import shutil

from vlm_data.storage import inspect_storage


def test_a_folder_is_left_as_it_was(tmp_path):
    assert inspect_storage(tmp_path).problem == ""
    assert list(tmp_path.iterdir()) == []


def test_free_space_is_that_of_the_disk(tmp_path):
    assert abs(inspect_storage(tmp_path).free_bytes - shutil.disk_usage(tmp_path).free) < 1e9


def test_a_missing_folder_is_judged_by_the_one_above(tmp_path):
    assert inspect_storage(tmp_path / "a" / "b").path == tmp_path


def test_a_place_that_cannot_hold_files_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert inspect_storage(tmp_path / "file").problem == "Not a directory"
