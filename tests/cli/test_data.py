"""`vlm data`: what there is, what a data set consists of, whether it is whole."""

import pytest
from PIL import Image

from vlm_data import benchmark_names, load_benchmark


def test_ls_names_every_benchmark_and_reader(vlm):
    listed = vlm("data", "ls", "--json").document["data"]
    assert [found["spec"].partition(":")[0] for found in listed] == benchmark_names()
    text = vlm("data", "ls").out
    assert "folder:DIR" in text and "CC BY 4.0" in text


def test_show_tells_names_templates_sizes_and_hashes(vlm):
    facts = vlm("data", "show", "digits", "--json").document
    digits = load_benchmark("digits")
    assert facts["class_names"] == list(digits.class_names) and facts["templates"] == list(digits.templates)
    assert facts["class_names_hash"] == digits.class_names_hash
    assert [found["images"] for found in facts["sets"][:3]] == [797, 400, 600]
    text = vlm("data", "show", "digits").out
    for word in ("zero, one, two", "the digit {c}", digits.templates_hash, "digits/noise-5", digits.test.fingerprint):
        assert word in text


def test_show_of_a_reader_tells_how_the_files_have_to_lie(vlm):
    assert "DIR/train/CLASS/*.jpg" in vlm("data", "show", "folder").out
    assert "column caption" in vlm("data", "show", "csv", "--json").document["layout"]


def test_show_writes_a_contact_sheet(vlm, photos):
    answer = vlm("data", "show", f"folder:{photos}", "--out", "sheet.png", "--columns", "3", "--json")
    assert answer.document["contact_sheet"] == "sheet.png"
    with Image.open("sheet.png") as sheet:
        assert sheet.format == "PNG" and sheet.height > 3 * 64


def test_seed_and_limit_reach_the_data(vlm, photos):
    def hashes(*more):
        return [found["hash"] for found in vlm("data", "show", f"folder:{photos}", *more, "--json").document["sets"]]

    assert hashes() == hashes("--seed", "0") != hashes("--seed", "1")
    assert {found["images"] for found in vlm("data", "show", "digits", "--limit", "7", "--json").document["sets"]} == {
        7
    }


def test_check_of_whole_data_exits_with_0(vlm):
    answer = vlm("data", "check", "digits", "--limit", "30", "--json")
    assert answer.code == 0 and answer.document["errors"] == 0
    assert "0 errors" in answer.err
    assert {found["severity"] for found in answer.document["findings"]} >= {"info"}


def test_check_names_what_cannot_be_decoded_and_exits_with_1(vlm, photos):
    broken = sorted(photos.rglob("*.jpg"))[4]
    broken.write_bytes(broken.read_bytes()[:150])
    answer = vlm("data", "check", f"folder:{photos}")
    assert answer.code == 1 and "1 errors" in answer.err
    assert broken.name in answer.out and "cannot be decoded" in answer.out
    document = vlm("data", "check", f"folder:{photos}", "--json")
    assert document.code == 1
    assert [found["severity"] for found in document.document["findings"]].count("error") == 1


@pytest.mark.parametrize(
    ("spec", "code", "said"),
    [
        ("digitz", 2, "unknown data set 'digitz'. Did you mean 'digits'?"),
        ("foldr:photos", 2, "Did you mean 'folder'?"),
        ("photos", 2, "Write folder:photos"),
        ("folder:photoes", 1, "photoes does not exist"),
        ("csv:photos", 1, "is a folder; expected a file"),
    ],
)
def test_a_wrong_name_is_told(vlm, photos, spec, code, said):
    for verb in ("show", "check"):
        answer = vlm("data", verb, spec)
        assert answer.code == code and said in answer.paragraph and answer.out == ""
