"""`vlm spurious build` from every kind of source: what it writes, what it tells beforehand, what it refuses."""

import pytest

from specimens.coco_photos import write_coco
from vlm_data import load_benchmark

SMALL = ("--class", "nine", "--n", "100", "--val", "40", "--test", "40")
COCO = {(17,): 30, (17, 63): 30, (18,): 40, (18, 63): 20}
PHOTOS = ("coco", "--images", "train2017", "--instances", "instances_train2017.json", "--class-names", "cat,dog")


def _files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_canvases_are_written_and_told_as_they_are(vlm, tmp_path):
    answer = vlm("spurious", "build", *SMALL, "--v", "0.5,0.9", "--out", "made", "--json")
    assert answer.code == 0, answer.err
    document = answer.document
    assert document["out"] == "made" and document["written"] is True
    assert [one["data"] for one in document["settings"]] == [
        "spurious:made/digits-nine-v0.5-s0",
        "spurious:made/digits-nine-v0.9-s0",
    ]
    one = document["settings"][1]
    benchmark = load_benchmark(one["data"])
    assert len(benchmark.train) == 100 and one["spurious_class"] == "nine" and one["feature"] == "red rectangle"
    with_feature = benchmark.train.groups["feature"].count("with")
    assert with_feature == sum(present for _, present in one["images"]["train"].values())
    shown = vlm("spurious", "build", *SMALL, "--v", "0.7", "--out", "made")
    assert shown.code == 0 and "spurious:made/digits-nine-v0.7-s0" in shown.out
    assert "note: 1 of 1 settings misses its V by more than 0.005" in shown.err
    assert (tmp_path / "made" / "digits-nine-v0.5-s0").is_dir()  # settings of the same canvases stay


def test_dry_run_tells_the_same_and_writes_nothing(vlm, tmp_path):
    dry = vlm("spurious", "build", *SMALL, "--out", "made", "--dry-run", "--json")
    assert dry.code == 0 and dry.document["written"] is False and list(tmp_path.iterdir()) == []
    assert "dry run: nothing is written to made" in dry.err
    wet = vlm("spurious", "build", *SMALL, "--out", "made", "--json")
    assert wet.document["settings"] == dry.document["settings"]
    again = vlm("spurious", "build", *SMALL, "--out", "made", "--dry-run")
    assert again.code == 2 and "is there already" in again.paragraph


def test_nothing_is_replaced_without_overwrite_and_the_same_bytes_with_it(vlm, tmp_path):
    assert vlm("spurious", "build", *SMALL, "--out", "made").code == 0
    before = _files(tmp_path)
    refused = vlm("spurious", "build", *SMALL, "--out", "made")
    assert refused.code == 2 and "--overwrite" in refused.paragraph and _files(tmp_path) == before
    assert vlm("spurious", "build", *SMALL, "--out", "made", "--overwrite").code == 0
    assert _files(tmp_path) == before
    (tmp_path / "mine" / "images").mkdir(parents=True)
    (tmp_path / "mine" / "images" / "cat.txt").write_text("mine")
    refused = vlm("spurious", "build", *SMALL, "--out", "mine", "--overwrite")
    assert refused.code == 2 and (tmp_path / "mine" / "images" / "cat.txt").read_text() == "mine"


def test_photographs_of_coco(vlm, tmp_path):
    write_coco(tmp_path, COCO, captions=True)
    captions = ("--captions", "captions_train2017.json")
    answer = vlm(
        "spurious", "build", *PHOTOS, *captions, "--feature", "couch", "--class", "cat", "--v", "0.8", "--json"
    )
    assert answer.code == 0, answer.err
    (one,) = answer.document["settings"]
    assert one["data"] == "spurious:settings/coco-cat-v0.8-s0" and one["feature"] == "couch"
    assert "note: 120 of 120 photographs show exactly one of the classes" in answer.err
    benchmark = load_benchmark(one["data"])
    assert benchmark.class_names == ("cat", "dog") and benchmark.train.captions[0][0].startswith("a ")
    shown = vlm("data", "show", one["data"])
    assert shown.code == 0, shown.err


def test_a_feature_in_photographs_of_the_users_own(vlm, photos):
    plant = ("plant:folder:photos", "--feature", "blue cross", "--place", "centre", "--size", "0.5")
    answer = vlm("spurious", "build", *plant, "--class", "one", "--v", "1", "--json")
    assert answer.code == 0, answer.err
    (one,) = answer.document["settings"]
    assert one["feature"] == "blue cross" and one["achieved_v"] == 1.0
    train = load_benchmark(one["data"]).train
    for row, group in enumerate(train.groups["feature"]):
        assert (group == "with") == (train.labels[row] == load_benchmark(one["data"]).class_names.index("one"))
        assert (train.image(row).getpixel((24, 20)) == (0, 0, 255)) == (group == "with")


def test_a_broken_photograph_is_named_or_left_out_on_request(vlm, photos):
    (photos / "one" / "2.jpg").write_bytes(b"no image")
    call = ("plant:folder:photos", "--class", "one", "--v", "0.5", "--json")
    refused = vlm("spurious", "build", *call)
    assert refused.code == 1 and "2.jpg" in refused.paragraph and not (photos.parent / "settings").exists()
    answer = vlm("spurious", "build", *call, "--skip-unreadable")
    assert answer.code == 0 and "note: images left out because they cannot be decoded: 1" in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["digit"], "unknown source of controlled settings 'digit'. Did you mean 'digits'"),
        (["plant:"], "unknown source of controlled settings 'plant:'"),
        (["folder:photos"], "Data of yours is written behind plant:"),
        (["plant:spurious"], "'spurious' names no data"),
        (["--v", "1.5"], "Cramer's V is '1.5'"),
        (["--v", "high"], "'high' is no list of numbers"),
        (["--v", ""], "'--v': an empty value was given"),
        (["--class", ""], "'--class': an empty value was given"),
        (["--feature", ""], "the feature '' is not a colour and a shape"),
        (["--v", "0.95,0.95000001"], "two settings would both be called SOURCE-zero-v0.95-s0"),
        (["--seeds", "0.5"], "'0.5' is no list of numbers"),
        (["--seeds", "-1"], "seeds are [-1]"),
        (["--class", "ninth"], "unknown class 'ninth'. Did you mean 'nine'"),
        (["--class", "nine,nine"], "the class nine is given twice"),
        (["--n", "0"], "0 is not in the range"),
        (["--n", "10000000000"], "10000000000 is not in the range"),
        (["--n", "5"], "train has 5 images; expected at least 20"),
        (["--feature", "rde rectangle"], "unknown colour 'rde'. Did you mean 'red'"),
        (["--feature", "red circle"], "unknown shape 'circle'"),
        (["--canvas", "7"], "the canvas is 7 pixels wide"),
        (["--place", "centre"], "--place with the source 'digits'; expected it with plant:DATA"),
        (["plant:digits", "--canvas", "32"], "--canvas with the source 'plant:digits'"),
        (["plant:digits", "--place", "top"], "unknown place 'top'. Did you mean 'top-left'"),
        (["plant:digits", "--size", "2"], "the size of the feature is 2"),
        (["coco"], "lacks --images, --instances, --class-names, --feature"),
        (["--seed", "1"], "--seed with the source 'digits'; expected it with coco or plant:DATA"),
        (["--skip-unreadable"], "--skip-unreadable with the source 'digits'"),
        (["coco", "--size", "0.2"], "--size with the source 'coco'; expected it with plant:DATA"),
        ([*PHOTOS, "--feature", "couch", "--val-images", "val2017"], "need --val-images and --val-instances"),
    ],
)
def test_a_wrong_call_is_one_paragraph_and_writes_nothing(vlm, tmp_path, arguments, said):
    answer = vlm("spurious", "build", *arguments)
    assert answer.code == 2 and answer.out == ""
    assert said in answer.paragraph
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mnist", "--data-root", "nowhere"], "nowhere"),
        (["plant:folder:nowhere"], "nowhere"),
        ([*PHOTOS, "--feature", "couch"], "there is no folder train2017"),
    ],
)
def test_files_that_are_not_there_are_one_paragraph(vlm, tmp_path, arguments, said):
    answer = vlm("spurious", "build", *arguments)
    assert answer.code in (1, 2) and answer.out == "" and said in answer.paragraph
    assert list(tmp_path.iterdir()) == []
