import dataclasses
import json
import shutil

import numpy as np
import pytest

from vlm_data import load_benchmark
from vlm_data.errors import VlmError
from vlm_data.tables import Predictions
from vlm_eval import predict
from vlm_eval.evaluation import (
    Verdict,
    choose_alpha,
    evaluate,
    evaluation_sets,
    interpolate_models,
    predict_run,
    predictions_folder,
    read_verdict,
)
from vlm_finetune.errors import VlmFinetuneError
from vlm_finetune.finetuning import finetune, zero_shot_model
from vlm_finetune.recipe import parse
from vlm_finetune.run import start_run
from vlm_models import load_model

RECIPE = {
    "data": {"limit": 60},
    "training": {"epochs": 2, "batch_size": 30, "lr": 1e-3, "warmup": 1},
    "evaluation": {"alpha": 0.25, "alphas": [0.5, 1.0], "track": 0},
}


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=60)


@pytest.fixture(scope="module", params=["full", "flyp"])
def finished(request, digits, tmp_path_factory):
    """A trained run with its predictions."""
    recipe = parse({**RECIPE, "method": {"name": request.param}})
    run = finetune(recipe, tmp_path_factory.mktemp("runs") / "run", benchmark=digits)
    predict_run(run, digits, zero_shot_model(recipe, digits))
    return run


def row(alpha, accuracy, nll, role="id", split="val", **facts):
    return {"alpha": alpha, "role": role, "split": split, "metrics": {"accuracy": accuracy, "nll": nll}, **facts}


class TestChoiceOfAlpha:
    def test_the_best_accuracy_on_id_validation(self):
        assert choose_alpha([row(0.0, 0.5, 1.0), row(0.5, 0.9, 2.0), row(1.0, 0.8, 0.1)]) == 0.5

    def test_ties_go_to_the_lower_nll_then_to_the_smaller_alpha(self):
        assert choose_alpha([row(0.5, 0.9, 0.4), row(0.7, 0.9, 0.3), row(1.0, 0.9, 0.5)]) == 0.7
        assert choose_alpha([row(1.0, 0.9, 0.3), row(0.3, 0.9, 0.3), row(0.7, 0.9, 0.3)]) == 0.3
        assert choose_alpha([row(0.3, 0.9, 0.3), row(0.0, 0.9, 0.3)]) == 0.0

    def test_test_sets_and_shifts_have_no_say(self):
        rows = [row(0.2, 0.5, 1.0), row(0.8, 0.4, 1.0)]
        rows += [row(0.8, 1.0, 0.0, split="test"), row(0.8, 1.0, 0.0, role="shift"), row(None, 1.0, 0.0)]
        assert choose_alpha(rows) == 0.2

    def test_without_labelled_validation_images_it_is_told_what_to_do(self):
        with pytest.raises(VlmError, match=r"no labelled validation images.*--alpha 0\.5"):
            choose_alpha([row(0.2, 0.5, 1.0, split="test")])


class TestPredictions:
    def test_every_alpha_of_the_recipe_and_both_ends_on_every_set(self, finished, digits):
        sets = evaluation_sets(digits)
        assert len(sets) == 2 + 6 + 3 * 5 and sets[-1].dataset is digits.val
        names = {path.name for path in (finished.path / "predictions").iterdir()}
        alphas = ("0.00", "0.25", "0.50", "1.00")
        splits = {(one.data.replace("/", "-"), one.dataset.split) for one in sets}
        assert names == {f"{data}.{split}.alpha-{alpha}.parquet" for data, split in splits for alpha in alphas}

    def test_tables_are_those_of_the_saved_model(self, finished, digits):
        table = Predictions.load(finished.path / "predictions" / "digits.test.alpha-1.00.parquet")
        np.testing.assert_array_equal(table.logits, predict(load_model(finished.spec), digits.test).logits)
        base = zero_shot_model(finished.recipe, digits)
        table = Predictions.load(finished.path / "predictions" / "digits-invert.test.alpha-0.00.parquet")
        np.testing.assert_array_equal(table.logits, predict(base, digits.shifts[0].datasets[0]).logits)

    def test_no_path_is_in_them(self, finished):
        table = Predictions.load(finished.path / "predictions" / "digits.test.alpha-1.00.parquet")
        assert str(finished.path) not in json.dumps(dict(table.meta))
        assert table.meta["weights_hash"] == json.loads((finished.path / "model.json").read_text())["weights_hash"]

    def test_a_second_time_nothing_is_computed(self, finished, digits):
        def never(*_):
            raise AssertionError("computed again")

        before = {path: path.read_bytes() for path in (finished.path / "predictions").iterdir()}
        predict_run(finished, digits, zero_shot_model(finished.recipe, digits), progress=never)
        assert {path: path.read_bytes() for path in (finished.path / "predictions").iterdir()} == before

    def test_an_untrained_run_has_none(self, digits, tmp_path):
        recipe = parse(RECIPE)
        run = start_run(recipe, tmp_path / "run")
        with pytest.raises(VlmFinetuneError, match="is unfinished"):
            predict_run(run, digits, zero_shot_model(recipe, digits))
        with pytest.raises(VlmFinetuneError, match="has no predictions"):
            read_verdict(run)


class TestVerdict:
    def test_rows_are_read_from_tables_alone(self, finished, digits):
        verdict = read_verdict(finished)
        assert verdict.alpha == 0.25
        found = {(r["data"], r["split"], r["alpha"]): r["metrics"]["accuracy"] for r in verdict.rows}
        for path in (finished.path / "predictions").iterdir():
            table = Predictions.load(path)
            key = (table.meta["data"], table.meta["split"], float(table.meta["alpha"]))
            assert found[key] == pytest.approx(table.accuracy)
        assert {r["run"] for r in verdict.rows} == {str(finished.path)}
        assert {r["method"] for r in verdict.rows} == {finished.recipe.method}

    def test_corruptions_get_a_row_of_their_mean(self, finished):
        rows = read_verdict(finished).rows
        severities = [r for r in rows if r["data"].startswith("digits/noise-") and r["alpha"] == 0.5]
        (mean,) = [r for r in rows if r["data"] == "digits/noise" and r["alpha"] == 0.5]
        assert sorted(r["severity"] for r in severities) == [1, 2, 3, 4, 5] and mean["severity"] is None
        assert mean["metrics"]["accuracy"] == pytest.approx(np.mean([r["metrics"]["accuracy"] for r in severities]))

    def test_rationales_of_the_same_models_bring_pt_and_ir(self, finished, made_rationales, tmp_path):
        run = dataclasses.replace(finished, path=tmp_path)
        shutil.copytree(finished.path / "predictions", tmp_path / "predictions")
        for alpha in ("0.00", "1.00"):
            table = Predictions.load(tmp_path / "predictions" / f"digits.test.alpha-{alpha}.parquet")
            made_rationales(table).save(tmp_path / "rationales" / f"digits.test.alpha-{alpha}.parquet")
        rows = [row for row in read_verdict(run).compared() if row["data"] == "digits"]
        assert [("pt" in row["metrics"], row["model"]) for row in rows] == [
            (True, "zero-shot"),
            (True, "fine-tuned"),
            (False, "interpolated"),
        ]
        known = rows[0]["metrics"]
        assert known["evidence_known"] < 1 and set(rows[0]["intervals"]) >= {"pt", "ir", "validity"}

    def test_the_three_models_are_compared_on_the_same_test_sets(self, finished):
        rows = read_verdict(finished).compared()
        names = {}
        for found in rows:
            names.setdefault(found["model"], []).append(found["data"])
        assert list(names) == ["zero-shot", "fine-tuned", "interpolated"]
        assert len({tuple(data) for data in names.values()}) == 1
        assert names["zero-shot"][0] == "digits" and len(names["zero-shot"]) == 1 + 6 + 3
        assert {found["alpha"] for found in rows} == {0.0, 0.25, 1.0}

    @pytest.mark.parametrize("alpha", [0.0, 1.0])
    def test_an_end_can_be_the_chosen_one(self, finished, alpha):
        rows = Verdict(read_verdict(finished).rows, alpha).compared()
        end = {0.0: "zero-shot", 1.0: "fine-tuned"}[alpha]
        chosen = [{**found, "model": ""} for found in rows if found["model"] == "interpolated"]
        assert chosen == [{**found, "model": ""} for found in rows if found["model"] == end]

    def test_alpha_can_be_chosen_on_validation_images(self, finished):
        recipe = dataclasses.replace(
            finished.recipe, evaluation=dataclasses.replace(finished.recipe.evaluation, choose_alpha=True)
        )
        verdict = read_verdict(dataclasses.replace(finished, recipe=recipe))
        validation = [r for r in verdict.rows if r["split"] == "val"]
        assert {r["alpha"] for r in validation} == {0.0, 0.25, 0.5, 1.0}
        best = max(r["metrics"]["accuracy"] for r in validation)
        assert next(r for r in validation if r["alpha"] == verdict.alpha)["metrics"]["accuracy"] == best

    def test_order_of_rows_is_id_natural_corruption(self, finished):
        groups = [r["group"] for r in read_verdict(finished).rows]
        order = {"": 0, "natural": 1, "corruption": 2}
        assert [order[group] for group in groups] == sorted(order[group] for group in groups)


class TestEvaluate:
    def test_one_model_on_all_test_sets(self, digits, tmp_path):
        model = zero_shot_model(parse(RECIPE), digits)
        rows = evaluate(model, digits, tmp_path)
        assert rows[0]["data"] == "digits"
        assert {r["split"] for r in rows} == {"test"} and {r["model"] for r in rows} == {"tiny"}
        assert rows[0]["metrics"]["accuracy"] == pytest.approx(predict(model, digits.test).accuracy)
        assert all(np.isfinite(value) for r in rows for value in r["metrics"].values())
        assert len({r["metrics"]["temperature"] for r in rows}) == 1, "one temperature, used everywhere"

        def never(*_):
            raise AssertionError("computed again")

        assert evaluate(model, digits, tmp_path, progress=never) == rows
        assert evaluate(model, digits) == rows

    def test_sets_without_labels_are_left_out(self, digits, tmp_path):
        first, *rest = digits.shifts
        unknown = dataclasses.replace(first.datasets[0], labels=np.full(60, -1))
        shifts = (dataclasses.replace(first, datasets=(unknown,)), *rest[:1])
        benchmark = dataclasses.replace(digits, shifts=shifts)
        rows = evaluate(zero_shot_model(parse(RECIPE), digits), benchmark)
        assert [r["data"] for r in rows] == ["digits", f"digits/{rest[0].name}"]

    def test_mixtures_of_any_two_models(self, finished, digits, tmp_path):
        base, fine = zero_shot_model(finished.recipe, digits), load_model(finished.spec)
        rows = interpolate_models(base, fine, digits, [0.0, 0.5, 1.0], tmp_path / "out")
        expected = {(r["data"], r["split"], r["alpha"]): r["metrics"] for r in read_verdict(finished).rows}
        assert len(rows) == 3 * (2 + 6 + 3 * 5 + 3)
        for found in rows:
            assert found["metrics"] == expected[found["data"], found["split"], found["alpha"]]

    def test_folders_of_different_models_data_and_precisions_differ(self, digits, tmp_path):
        folders = {
            predictions_folder(tmp_path, spec, digits, precision)
            for spec in ("tiny", "openclip:ViT-B-32/openai", "run:runs/a")
            for precision in ("fp32", "bf16")
        }
        assert len(folders) == 6 and all(folder.parent == tmp_path for folder in folders)
