"""Files of other programs: read, written, read back; and what is wrong in them."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from vlm_data.errors import CallError, VlmDataError
from vlm_data.files import write_text
from vlm_data.tables import Predictions
from vlm_eval.foreign_names import CLIP_BENCHMARK, WISE_FT, ours, theirs
from vlm_eval.foreign_results import FORMATS, export_results, import_results
from vlm_eval.metrics.batch_averaged import batch_averaged_ece
from vlm_eval.results import append, read
from vlm_eval.rows import Row
from vlm_finetune.recipe import parse

GOLDEN = Path(__file__).parents[1] / "golden" / "wise" / "sweep_results.jsonl"


def row(data="imagenet", alpha=1.0, /, **changes) -> Row:
    role = "shift" if "/" in data else "id"
    model = {0.0: "zero-shot", 1.0: "fine-tuned"}.get(alpha, "interpolated")
    return {
        "model": model, "run": "runs/a", "method": "flyp", "alpha": alpha, "data": data, "split": "test", "role": role,
        "group": "natural" if role == "shift" else "", "severity": None, "n": 600,
        "metrics": {"accuracy": 0.7625, "batch_averaged_ece": 0.0512}, "intervals": {}, "hashes": {}, **changes,
    }  # fmt: skip


SWEEP = [
    row(data, alpha, metrics={"accuracy": round(0.6 + 0.1 * alpha, 4), "batch_averaged_ece": 0.05})
    for data in ("imagenet", "imagenet/v2", "imagenet/sketch")
    for alpha in (0.0, 0.5, 1.0)
]


def kept(rows, *keys):
    """What must survive, in any order."""
    return sorted(json.dumps([one[key] for key in keys], sort_keys=True) for one in rows)


@pytest.mark.parametrize("name", FORMATS.names())
class TestEveryFormat:
    def test_scores_come_back(self, tmp_path, name):
        rows = [one for one in SWEEP if one["alpha"] in (0.0, 1.0)]
        assert export_results(rows, name, tmp_path / "out") == []
        target = tmp_path / "out"
        files = sorted(target.iterdir()) if target.is_dir() else [target]
        found = [import_results(file) for file in files]
        assert {one.format for one in found} == {name} and not any(one.notes for one in found)
        back = [one for part in found for one in part.rows]
        assert kept(back, "model", "alpha", "data", "split", "role", "group", "metrics") == kept(
            rows, "model", "alpha", "data", "split", "role", "group", "metrics"
        )
        append(tmp_path / "results.jsonl", back)  # they are rows like all others
        assert len(read(tmp_path / "results.jsonl")[0]) == len(rows)

    def test_the_same_rows_are_the_same_bytes(self, tmp_path, name):
        rows = [one for one in SWEEP if one["alpha"] in (0.0, 1.0)]
        for place in ("one", "two"):
            export_results(rows, name, tmp_path / place)
        one, two = ({p.name: p.read_bytes() for p in _files(tmp_path / place)} for place in ("one", "two"))
        assert list(one.values()) == list(two.values())

    def test_nothing_to_write_is_refused_and_leaves_nothing(self, tmp_path, name):
        with pytest.raises(CallError, match=rf"there is no row to write as {name}"):
            export_results([row(severity=1)], name, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_single_severities_are_left_out_and_told(self, tmp_path, name):
        rows = [row(), row("imagenet/fog-1", severity=1), row("imagenet/fog")]
        notes = export_results(rows, name, tmp_path / "out")
        assert notes[0] == "1 rows of single severities were left out; their means are there"


def _files(target):
    return sorted(target.iterdir()) if target.is_dir() else [target]


@pytest.mark.parametrize("names", [WISE_FT, CLIP_BENCHMARK], ids=["wise-ft", "clip-benchmark"])
def test_names_of_data_sets_go_there_and_back(names):
    assert len(set(names.values())) == len(names)
    assert all(ours(theirs(place, names), names) == place for place in names)


class TestWiseFt:
    def test_the_file_of_the_program_is_read_with_the_names_used_here(self):
        found = import_results(GOLDEN)
        assert (found.format, len(found.rows), found.notes) == ("wise-ft", 22, [])
        assert {one["data"] for one in found.rows} == {"imagenet", "imagenet/sketch"}
        assert {one["role"] for one in found.rows if one["data"] == "imagenet"} == {"id"}
        raw, _ = read(GOLDEN)
        assert [one["metrics"] for one in found.rows] == [one["metrics"] for one in raw]

    def test_its_lines_have_what_the_scripts_of_the_program_look_for(self, tmp_path):
        export_results([*SWEEP, row(split="val")], "wise-ft", tmp_path / "sweep.jsonl")
        lines = [json.loads(line) for line in (tmp_path / "sweep.jsonl").read_text().splitlines()]
        assert [line["alpha"] for line in lines] == [0.0, 0.5, 1.0]
        assert all(isinstance(line["alpha"], float) for line in lines)
        assert lines[1]["ImageNet:top1"] == 0.65 and lines[1]["ImageNetSketch:top1"] == 0.65
        assert lines[1]["train_dataset"] == "ImageNet" and lines[1]["exp_name"] == "runs/a"

    def test_validation_has_no_place_in_it_unless_it_has_a_name(self, tmp_path):
        rows = [row(), row(split="val"), row("fmow", split="val", run="runs/b")]
        notes = export_results(rows, "wise-ft", tmp_path / "sweep.jsonl")
        assert notes == ["1 validation rows were left out; the format has no splits"]
        assert {(one["data"], one["split"]) for one in import_results(tmp_path / "sweep.jsonl").rows} == {
            ("imagenet", "test"),
            ("fmow", "val"),
        }

    def test_metrics_of_wilds_have_their_names_there(self, tmp_path):
        metrics = {"accuracy": 0.7, "worst_region_accuracy": 0.5, "worst_year_accuracy": 0.6}
        camera = {"accuracy": 0.8, "macro_f1": 0.4, "mean_per_class_recall": 0.3}
        rows = [row("fmow/ood", metrics=metrics), row("iwildcam", metrics=camera)]
        export_results(rows, "wise-ft", tmp_path / "sweep.jsonl")
        line = json.loads((tmp_path / "sweep.jsonl").read_text())
        assert line["FMOWOOD:acc_worst_region"] == 0.5 and line["IWildCamID:F1-macro_all"] == 0.4
        assert {one["data"]: one["metrics"] for one in import_results(tmp_path / "sweep.jsonl").rows} == {
            "fmow/ood": metrics,
            "iwildcam": camera,
        }

    def test_without_accuracy_there_is_nothing_to_write(self, tmp_path):
        with pytest.raises(CallError, match="none of the rows has an accuracy on a test set"):
            export_results([row(metrics={"nll": 1.0})], "wise-ft", tmp_path / "sweep.jsonl")
        assert not (tmp_path / "sweep.jsonl").exists()


STATS = """\
\tepoch\tImageNet Accuracy\tImageNet ECE\tImageNetV2 Accuracy\tImageNetV2 ECE\tObjectNet Accuracy\tObjectNet ECE\t\
Avg ID carot Loss\tAvg OOD Acc
0\t9\t0.8200\t0.0600\t0.7300\t0.0900\t0.5600\t0.1100\t1.9506\t0.5160
1\t10\t0.8260\t0.0640\t0.7342\t0.0955\t0.5620\t\t1.9506\t0.6481
"""


class TestCarotStats:
    def test_lines_are_evaluations_and_their_calibration_is_that_of_batches(self, tmp_path):
        (tmp_path / "stats.tsv").write_text(STATS)
        found = import_results(tmp_path / "stats.tsv")
        assert found.format == "carot-stats" and len(found.rows) == 6
        runs = {one["run"] for one in found.rows}
        assert runs == {f"{tmp_path.as_posix()} epoch 9", tmp_path.as_posix()}
        last = {one["data"]: one for one in found.rows if one["run"] == tmp_path.as_posix()}
        assert last["imagenet"]["metrics"] == {"accuracy": 0.826, "batch_averaged_ece": 0.064}
        assert last["imagenet/objectnet"]["metrics"] == {"accuracy": 0.562}
        assert {(one["model"], one["method"], one["alpha"]) for one in found.rows} == {("fine-tuned", "carot", 1.0)}

    def test_the_average_with_the_wrong_denominator_is_told(self, tmp_path):
        (tmp_path / "stats.tsv").write_text(STATS)
        (note,) = import_results(tmp_path / "stats.tsv").notes
        assert note.endswith(
            "line 2: Avg OOD Acc is 0.5160, but the mean of its columns is 0.6450, as the program divides by 2.5."
        )

    @pytest.mark.parametrize(
        ("header", "line", "model"),
        [
            ("\tepoch\tImageNet Accuracy", "0\t0\t0.68", "zero-shot"),
            ("\tepoch\tImageNet Accuracy\tAvg ID FLYP Loss", "0\t0\t0.82\t1.4", "fine-tuned"),  # FLYP counts from 0
            ("epoch\tImageNet Accuracy\tnote", "3\t0.82\tedited", "fine-tuned"),  # no index column, one more at the end
            ("\tImageNet Accuracy", "0\t0.82", "fine-tuned"),
        ],
    )
    def test_which_model_a_line_is_of(self, tmp_path, header, line, model):
        (tmp_path / "stats.tsv").write_text(f"{header}\n{line}\n")
        (one,) = import_results(tmp_path / "stats.tsv").rows
        assert (one["model"], one["data"]) == (model, "imagenet")

    def test_cells_that_are_no_fraction_are_left_out_and_told(self, tmp_path):
        text = (
            "\tepoch\tImageNet Accuracy\tImageNetV2 Accuracy\tImageNetR Accuracy\n0\t10\t82.6\t0.7\tnan\n1\t11\t\t\t\n"
        )
        (tmp_path / "stats.tsv").write_text(text)
        found = import_results(tmp_path / "stats.tsv")
        assert [one["data"] for one in found.rows] == ["imagenet/v2"]
        assert "line 2: ImageNet Accuracy is '82.6'; expected a fraction" in found.notes[0]
        assert "line 3: no score in it" in found.notes[1]

    def test_the_file_has_the_columns_of_the_program_and_true_averages(self, tmp_path):
        export_results(SWEEP, "carot-stats", tmp_path / "stats.tsv")
        with open(tmp_path / "stats.tsv", newline="") as file:
            lines = list(csv.DictReader(file, delimiter="\t"))
        assert list(lines[0])[:4] == ["", "epoch", "ImageNet Accuracy", "ImageNet ECE"]
        assert [(line[""], line["epoch"], line["ImageNet Accuracy"]) for line in lines] == [
            ("0", "0", "0.6000"),
            ("1", "", "0.7000"),  # this run is nowhere, so nobody knows its epoch
        ]
        assert lines[1]["Avg OOD Acc"] == "0.7000" and lines[1]["Avg OOD ECE"] == "0.0500"

    def test_missing_calibration_is_computed_from_the_predictions_of_the_run(self, tmp_path):
        write_text(tmp_path / "run" / "recipe.toml", parse({}).to_toml())
        write_text(tmp_path / "run" / "model.json", json.dumps({"epoch": 7}))
        rng = np.random.default_rng(0)
        table = Predictions(
            tuple(map(str, range(700))),
            rng.integers(4, size=700),
            rng.normal(size=(700, 4)).astype(np.float32),
            {"model": "m", "data": "imagenet", "alpha": "1.0", "split": "test", "role": "id"},
        )
        (tmp_path / "run" / "predictions").mkdir()
        table.save(tmp_path / "run" / "predictions" / "imagenet.parquet")
        rows = [row(run=str(tmp_path / "run"), metrics={"accuracy": table.accuracy})]
        assert export_results(rows, "carot-stats", tmp_path / "stats.tsv") == []
        expected = batch_averaged_ece(table.probabilities, table.labels, 512)
        line = (tmp_path / "stats.tsv").read_text().splitlines()[1].split("\t")
        assert line == ["0", "7", f"{table.accuracy:.4f}", f"{expected:.4f}"]

    def test_without_predictions_cells_stay_empty_and_it_is_said(self, tmp_path):
        notes = export_results([row(metrics={"accuracy": 0.5})], "carot-stats", tmp_path / "stats.tsv")
        assert notes == [
            "cells of ECE are empty: it is that of batches, and runs/a has no predictions to compute it from"
        ]
        assert (tmp_path / "stats.tsv").read_text().splitlines()[1].split("\t") == ["0", "", "0.5000", ""]

    def test_a_file_holds_one_run(self, tmp_path):
        with pytest.raises(CallError, match=r"the rows are of 2 runs \('runs/a', 'runs/b'\); expected one"):
            export_results([row(), row(run="runs/b")], "carot-stats", tmp_path / "stats.tsv")


def clip_result(**changes):
    return {
        "dataset": "wds/imagenet1k", "model": "ViT-B-32-quickgelu", "pretrained": "laion400m_e32",
        "task": "zeroshot_classification", "language": "en",
        "metrics": {"acc1": 0.6292, "acc5": 0.8772, "mean_per_class_recall": 0.629}, **changes,
    }  # fmt: skip


class TestClipBenchmark:
    def test_a_result_of_the_program(self, tmp_path):
        (tmp_path / "result.json").write_text(json.dumps(clip_result()))
        (one,) = import_results(tmp_path / "result.json").rows
        assert (one["model"], one["data"], one["role"]) == (
            "openclip:ViT-B-32-quickgelu/laion400m_e32",
            "imagenet",
            "id",
        )
        assert one["metrics"] == {"accuracy": 0.6292, "acc5": 0.8772, "mean_per_class_recall": 0.629}

    def test_nan_is_left_out_and_told(self, tmp_path):
        metrics = {"acc1": 0.9, "acc5": math.nan, "weight_decay": 0.1, "normalized": True}
        (tmp_path / "result.json").write_text(json.dumps(clip_result(dataset="pcam", metrics=metrics)))
        found = import_results(tmp_path / "result.json")
        assert found.rows[0]["metrics"] == {"accuracy": 0.9} and found.rows[0]["data"] == "patchcamelyon"
        assert "acc5 is nan; expected a fraction" in found.notes[0]

    def test_a_probe_is_one(self, tmp_path):
        probe = clip_result(task="linear_probe", metrics={"lp_acc1": 0.8, "lp_acc5": 0.9, "epochs": 10})
        (tmp_path / "result.json").write_text(json.dumps(probe))
        (one,) = import_results(tmp_path / "result.json").rows
        assert one["method"] == "linear-probe" and one["metrics"] == {"accuracy": 0.8, "lp_acc5": 0.9}

    def test_a_table_with_its_columns_in_any_order_and_cells_that_are_missing(self, tmp_path):
        text = (
            "acc5,language,dataset,pretrained,model,acc1,model_fullname,task,image_retrieval_recall@5\n"
            "nan,en,cifar10,openai,ViT-B-32,0.9,ViT-B-32 openai,zeroshot_classification,\n"
            ",en,flickr30k,openai,ViT-B-32,,ViT-B-32 openai,zeroshot_retrieval,0.83\n"
            "0.9,en\n"
        )
        (tmp_path / "benchmark.csv").write_text(text)
        found = import_results(tmp_path / "benchmark.csv")
        assert [(one["data"], one["metrics"]) for one in found.rows] == [
            ("cifar10", {"accuracy": 0.9}),
            ("flickr30k", {"image_retrieval_recall@5": 0.83}),
        ]
        assert len(found.notes) == 2 and "line 4: not as many cells as columns" in found.notes[1]

    def test_files_are_what_the_program_builds_its_table_from(self, tmp_path):
        rows = [
            row("imagenet/v2", None, model="openclip:ViT-B-32/openai", run=None, method=None),
            *[one for one in SWEEP if one["data"] == "imagenet"],
        ]
        export_results(rows, "clip-benchmark", tmp_path / "json")
        records = [json.loads(file.read_text()) for file in sorted((tmp_path / "json").iterdir())]
        assert len(records) == len(rows)
        assert all({"dataset", "model", "pretrained", "task", "metrics", "language"} <= set(one) for one in records)
        published = next(one for one in records if one["dataset"] == "imagenetv2")
        assert (published["model"], published["pretrained"], published["metrics"]["acc1"]) == (
            "ViT-B-32",
            "openai",
            0.7625,
        )
        back = [one for file in (tmp_path / "json").iterdir() for one in import_results(file).rows]
        keys = ("model", "run", "method", "alpha", "data", "split", "role", "group", "n", "metrics")
        assert kept(back, *keys) == kept(rows, *keys)  # nothing but intervals and hashes is lost

    def test_columns_of_the_table_have_one_order(self, tmp_path):
        export_results(
            [row(), row("imagenet/v2", metrics={"accuracy": 0.1, "nll": 3.0})], "clip-benchmark-csv", tmp_path / "t.csv"
        )
        header, first, second = (tmp_path / "t.csv").read_text().splitlines()
        assert header == (
            "dataset,model,pretrained,task,language,model_fullname,run,method,alpha,split,role,group,n,"
            "acc1,batch_averaged_ece,nll"
        )
        assert first.endswith(",0.7625,0.0512,") and second.endswith(",0.1,,3.0")

    def test_a_folder_is_not_written_over_a_file(self, tmp_path):
        (tmp_path / "out").write_text("mine")
        with pytest.raises(CallError, match="is a file; expected a folder"):
            export_results([row()], "clip-benchmark", tmp_path / "out")
        assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no results that can be read: it begins with ''"),
        (b"\xff\xfe\x00", "it is no text in UTF-8"),
        (b"hello\n", "begins with 'hello"),
        (b'{"alpha": 0.5}\n', "holds no results that can be read"),
        (b"dataset,acc1\ncars,0.5\n", "holds no results that can be read"),
        (b'{"dataset": "cars", "metrics": {"acc1": NaN}}', "there is no score in it. "),
        (b'{"dataset": "cars", "metrics": {"acc1": 0.5}, "n": "many"}', "invalid literal for int"),
        (b"\tepoch\tImageNet Accuracy\n", "looks like carot-stats, but there is no score in it."),
        (b"dataset,model,pretrained\n\x00\x00,a\n", "there is no score in it"),
    ],
    ids=["empty", "binary", "prose", "no score", "no model", "nan", "no number", "header only", "nul"],
)  # fmt: skip
def test_what_holds_no_results_is_told(tmp_path, content, said):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(VlmDataError) as caught:
        import_results(tmp_path / "file")
    assert said in str(caught.value)


def test_a_missing_file_and_an_unknown_format_are_told(tmp_path):
    with pytest.raises(VlmDataError, match=r"cannot read results from .*nowhere\.tsv: No such file"):
        import_results(tmp_path / "nowhere.tsv")
    with pytest.raises(CallError, match=r"unknown format of results 'wiseft'\. Did you mean 'wise-ft'"):
        export_results([row()], "wiseft", tmp_path / "out")
