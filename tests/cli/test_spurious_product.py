"""Planted, learnt, found, judged and fine-tuned away: the commands of `vlm spurious` one after the other."""

import json
import shutil

import pytest

from vlm_data.tables import Predictions, Regions

pytestmark = pytest.mark.slow
CHEAP = ("--epochs", "2", "--set", "evaluation.alphas=[0.0,1.0]", "--set", "evaluation.rationales=none")


@pytest.fixture(scope="module")
def searched(planted_run, tmp_path_factory):
    """A copy of the planted run with its setting, searched; and what the search said."""
    from .conftest import call

    folder = tmp_path_factory.mktemp("searched") / "run"
    shutil.copytree(planted_run, folder)
    answer = call("spurious", "discover", f"run:{folder}", "--json")
    assert answer.code == 0, answer.err
    return folder, answer.document


@pytest.fixture
def setting(planted_run):
    """The folder of the setting."""
    return planted_run.parent / "settings/digits-nine-v0.97-s0"


def test_the_planted_feature_is_found_and_nothing_is_told_about_it(searched, setting):
    folder, document = searched
    assert document["found"] and document["clusters"][0]["class"] == "nine", document["reason"]
    assert document["clusters"][0]["direction"]["nine"] == "helps"
    truth = Regions.load(setting / "regions.parquet")
    holds = dict(zip(zip(truth.image_ids, map(tuple, truth.boxes), strict=True), truth.spurious, strict=True))
    regions = Regions.load(folder / "spurious/regions.parquet")
    first = document["clusters"][0]["ranked"][:10]
    assert sum(bool(holds[regions.image_ids[row], tuple(regions.boxes[row])]) for row in first) >= 8
    assert (folder / "spurious/sheets" / f"cluster-{document['clusters'][0]['id']}.png").is_file()


def test_training_regions_are_those_of_the_training_images(searched, setting):
    table = Regions.load(searched[1]["train_regions"])
    assert table.embeddings is None and table.spurious is not None and table.clusters is not None
    assert len(table) == 4 * 2000 and {image.split("/")[0] for image in table.image_ids} == {"train"}
    truth = Regions.load(setting / "regions.parquet")
    planted = truth.select(truth.spurious)
    share = table.select(table.spurious).rows_of(planted.image_ids)
    assert (share >= 0).mean() > 0.8, "regions that are called spurious lie in images that hold the feature"


def test_validate_tells_what_was_learnt_and_found(vlm, searched):
    folder, _ = searched
    answer = vlm("spurious", "validate", folder, "--json")
    assert answer.code == 0, answer.err
    (judged,) = answer.document["settings"]
    assert judged["spurious_class"] == "nine" and judged["v"] == 0.97 and judged["valid"][0]["valid"]
    assert judged["retrievals"][0]["precision"]["10"] >= 0.8 and judged["retrievals"][0]["class_found"]
    assert judged["retrievals"][0]["random"]["10"] == pytest.approx(0.125, abs=0.03)
    kept = json.loads((folder / "spurious/validity.json").read_text())
    assert kept["retrieval"] == judged["retrievals"][0] and kept["strength"] == judged["strength"]
    text = vlm("spurious", "validate", folder)
    assert text.code == 0 and "digits, red rectangle with nine" in text.out and "10, 20" in text.out


def test_a_search_of_saved_answers_needs_no_answers_of_the_model(vlm, searched, setting, tmp_path):
    folder, document = searched
    answers = folder / "spurious/predictions.parquet"
    assert len(Predictions.load(answers)) == 1000
    words = ("--data", f"spurious:{setting}", "--predictions", answers, "--out", "again", "--json")
    answer = vlm("spurious", "discover", f"run:{folder}", *words)
    assert answer.code == 0, answer.err
    assert answer.document["clusters"] == document["clusters"]


def test_fine_tuning_without_it_takes_the_table_as_it_is(vlm, searched, setting):
    folder, document = searched
    words = ("--data", f"spurious:{setting}", "--regions", document["train_regions"], *CHEAP, "--json")
    answer = vlm("finetune", "--method", "region-aware", *words, "--out", "repaired")
    assert answer.code == 0, answer.err
    after = next(row for row in answer.document["rows"] if row["model"] == "fine-tuned" and row["split"] == "test")
    assert "worst_group_accuracy" in after["metrics"]
    report = vlm("report", "repaired", "--against", folder)
    assert report.code == 0, report.err
    judged = vlm("spurious", "validate", folder, "repaired", "--json").document["settings"]
    assert {one["method"] for one in judged} == {"contrastive-frozen-text", "region-aware"}


class TestRunsThatCannotBeJudged:
    def test_no_controlled_setting(self, vlm, workplace):
        answer = vlm("spurious", "validate", "runs/digits-tiny-full-seed0")
        assert answer.code == 2 and "the data 'digits' is no controlled setting" in answer.paragraph

    def test_no_run(self, vlm, tmp_path):
        answer = vlm("spurious", "validate", "nowhere")
        assert answer.code == 2 and "nowhere is not a run directory" in answer.paragraph

    def test_one_run_twice(self, vlm, searched):
        answer = vlm("spurious", "validate", searched[0], searched[0])
        assert answer.code == 2 and "a run is named twice" in answer.paragraph

    def test_a_damaged_discovery(self, vlm, searched, tmp_path):
        shutil.copytree(searched[0], tmp_path / "run")
        (tmp_path / "run/spurious/discovery.json").write_text("{")
        answer = vlm("spurious", "validate", "run")
        assert answer.code == 1 and "discovery.json" in answer.paragraph
