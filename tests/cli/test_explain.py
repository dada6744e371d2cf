"""`vlm explain`: pictures of maps, the lines beside them, and whether the maps can be trusted."""

import pytest
from PIL import Image

RUN = "run:runs/digits-tiny-full-seed0"


def _pictures(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def test_without_an_image_it_explains_some_of_the_test_set_with_evidence(vlm, tmp_path):
    answer = vlm("explain", "tiny", "--count", "3", "--json")
    assert answer.code == 0, answer.err
    lines = answer.document["images"]
    assert [line["file"] for line in lines] == [f"explanations/digits-{number}.png" for number in (1197, 1198, 1199)]
    for line in lines:
        assert line["target"] == line["label"] and line["status"] == "ok"
        assert 0 < line["measures"]["mass"] <= 1 and line["target_probability"] <= line["probability"] <= 1
    drawn = _pictures(tmp_path / "explanations")
    assert len(drawn) == 3
    with Image.open(tmp_path / "explanations/digits-1197.png") as picture:
        assert picture.width > 2 * 192, "the image and one map"
    assert vlm("explain", "tiny", "--count", "3").code == 0
    assert _pictures(tmp_path / "explanations") == drawn


def test_files_and_folders_are_explained_by_their_prediction(vlm, photos, tmp_path):
    answer = vlm("explain", "tiny", photos / "one", photos / "two" / "0.jpg", "--json")
    assert answer.code == 0, answer.err
    lines = answer.document["images"]
    assert len(lines) == 7 == len(_pictures(tmp_path / "explanations"))
    for line in lines:
        assert line["label"] is None and line["target"] == line["prediction"] and line["status"] == "no-evidence"
        assert set(line["measures"].values()) == {None}


def test_files_that_cannot_be_decoded_are_left_out_on_request_only(vlm, photos, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    call = ("explain", "tiny", tmp_path / "broken.png", photos / "one" / "0.jpg", "--json")
    refused = vlm(*call)
    assert refused.code == 1 and "--skip-unreadable" in refused.paragraph
    answer = vlm(*call, "--skip-unreadable")
    assert answer.code == 0 and "1 unreadable image was left out" in answer.err
    assert [line["image"] for line in answer.document["images"]] == [str(photos / "one" / "0.jpg")]


def test_files_that_are_called_alike_are_numbered(vlm, photos, tmp_path):
    assert vlm("explain", "tiny", photos / "one" / "0.jpg", photos / "two" / "0.jpg").code == 0
    assert [*_pictures(tmp_path / "explanations")] == ["0-2.png", "0.png"]


def test_models_and_classes_side_by_side(vlm, workplace, tmp_path):
    one = ("explain", "tiny", "--set", "invert", "--id", "digits/1200")
    flags = ("--out", tmp_path / "maps")
    answer = vlm(*one, "--beside", RUN, "--class", "one", "--class", "eight", *flags, "--json")
    assert answer.code == 0, answer.err
    shown = [(line["model"], line["target"]) for line in answer.document["images"]]
    run = RUN.rpartition("/")[2]
    assert shown == [("tiny", "one"), ("tiny", "eight"), (run, "one"), (run, "eight")]
    assert len(_pictures(tmp_path / "maps")) == 1
    every = vlm(*one, "--all-classes", *flags, "--json").document["images"]
    assert len({line["target"] for line in every}) == 10
    assert sum(line["target_probability"] for line in every) == pytest.approx(1, abs=1e-5)


def test_classes_in_own_words_need_no_data(vlm, photos):
    texts = ("--text", "a photo of a two", "--text", "a photo of a dog")
    answer = vlm("explain", "tiny", photos / "two" / "0.jpg", *texts, "--data", "nothing", "--json")
    assert answer.code == 0, answer.err
    (line,) = answer.document["images"]
    assert line["prediction"] in ("a photo of a two", "a photo of a dog")


def test_the_text_is_a_table(vlm):
    answer = vlm("explain", "tiny", "--count", "1")
    for word in ("digits/1197", "tiny", "eight", "mass", "explanations/digits-1197.png"):
        assert word in answer.out


def test_the_checks_tell_whether_maps_can_be_trusted(vlm, tmp_path):
    answer = vlm("explain", "tiny", "--check", "--count", "16", "--json")
    assert answer.code == 0, answer.err
    (found,) = answer.document["checks"].values()
    assert found["randomisation"]["n"] == 16 and found["randomisation"]["passed"] in (True, False)
    assert found["deletion"]["verdict"]
    assert list(tmp_path.iterdir()) == []
    text = vlm("explain", "tiny", "--check", "--count", "16").out
    assert found["randomisation"]["verdict"] in text and "in random order" in text


def test_two_images_of_one_name_do_not_replace_each_other(vlm, photos, tmp_path):
    assert vlm("explain", "tiny", photos / "one" / "0.jpg", photos / "two" / "0.jpg").code == 0
    assert len(_pictures(tmp_path / "explanations")) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("missing.jpg",), "missing.jpg does not exist"),
        (("empty",), "empty holds no image"),
        (("photos/one", "--id", "digits/1200"), "images are files, or --id and --set"),
        (("--id", "digits/12000"), "Did you mean 'digits/1200'?"),
        (("--set", "nois-3"), "Did you mean 'noise-3'?"),
        (("--set", "noise"), "'noise' stands for 5 test sets; expected one of them: noise-1"),
        (("--class", "thre"), "unknown class 'thre'. Did you mean 'three'?"),
        (("--class", "three", "--all-classes"), "give one of them"),
        (("photos/one", "--target", "label"), "choose target=prediction"),
        (("--layers", "9"), "the tower has 4 layers"),
        (("--text", " "), "is no class of its own"),
        (("--text", "a dog", "--text", "a dog"), "is no class of its own"),
    ],
)
def test_wrong_calls(vlm, photos, tmp_path, words, said):
    (tmp_path / "empty").mkdir()
    answer = vlm("explain", "tiny", *words)
    assert answer.code == 2 and answer.out == "" and said in answer.paragraph
    assert not list(tmp_path.rglob("*.png"))


def test_a_file_that_is_no_image(vlm, tmp_path):
    (tmp_path / "page.jpg").write_text("<html>")
    answer = vlm("explain", "tiny", "page.jpg")
    assert answer.code == 1 and "cannot decode page.jpg" in answer.paragraph


def test_a_method_that_the_tower_cannot_do_is_named_with_another(vlm, tmp_path):
    answer = vlm("explain", "openclip:RN50", "--count", "1", "--method", "attention")
    assert answer.code in (1, 2) and answer.out == "" and "RN50" in answer.paragraph
