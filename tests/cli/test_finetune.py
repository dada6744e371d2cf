"""`vlm finetune`: what it prints, what it leaves, and that the same call again does nothing."""

import json

import pytest

SMALL = ("--limit", "64", "--epochs", "1")
RUN = "runs/digits-tiny-full-seed0"


def test_json_is_the_run_the_alpha_and_one_row_per_model_and_data_set(finetune_answer):
    document = finetune_answer.document
    assert (document["run"], document["alpha"]) == (RUN, 0.5)
    rows = document["rows"]
    assert {row["model"] for row in rows} == {"zero-shot", "fine-tuned", "interpolated"}
    assert {row["alpha"] for row in rows} == {0.0, 0.5, 1.0}
    of_one = [row for row in rows if row["model"] == "fine-tuned"]
    assert [row["role"] for row in of_one].count("id") == 1
    assert {row["group"] for row in of_one if row["role"] == "shift"} == {"natural", "corruption"}
    assert len({row["data"] for row in of_one}) == len(of_one) == 10
    assert all(0 <= row["metrics"][name] <= 1 for row in rows for name in ("accuracy", "ece"))
    assert all(row["method"] == "full" and row["run"] == RUN for row in rows)


def test_the_run_directory_holds_what_a_run_promises(workplace):
    names = {path.name for path in (workplace / RUN).iterdir()}
    promised = {
        "recipe.toml",
        "environment.json",
        "log.jsonl",
        "model.safetensors",
        "model.json",
        "report.html",
        "DONE",
    }
    assert promised | {"predictions", "rationales"} <= names
    assert "resume" not in names
    assert not list((workplace / RUN).rglob(".*"))
    events = [json.loads(line) for line in (workplace / RUN / "log.jsonl").read_text().splitlines()]
    assert {event["event"] for event in events} >= {"start", "step", "epoch"}


def test_a_finished_run_is_shown_and_not_repeated(vlm, workplace, finetune_answer):
    before = {path: path.stat().st_mtime_ns for path in (workplace / "runs").rglob("*")}
    answer = vlm("finetune", *SMALL, "--json")
    assert answer.code == 0 and f"{RUN} is finished" in answer.err
    assert answer.document == finetune_answer.document
    assert {path: path.stat().st_mtime_ns for path in (workplace / "runs").rglob("*")} == before


def test_the_table_shows_three_models_and_where_the_files_are(vlm, workplace):
    answer = vlm("finetune", *SMALL)
    for word in ("zero-shot", "fine-tuned", "interpolated", "alpha 0.5", "acc", "ECE", "PT", "IR", "mean of", "invert"):
        assert word in answer.out
    assert answer.out.rstrip().splitlines()[-5:] == [
        f"report       {RUN}/report.html",
        f"model        run:{RUN}",
        f"predictions  {RUN}/predictions",
        f"rationales   {RUN}/rationales",
        "results      runs/results.jsonl",
    ]


def test_with_adapters_it_trains_few_parameters_and_leaves_a_model_like_any_other(vlm, tmp_path):
    answer = vlm("finetune", "--lora-rank", "4", *SMALL, "--json")
    assert answer.code == 0, answer.err
    run = "runs/digits-tiny-full-lora4-seed0"
    assert answer.document["run"] == run and {row["method"] for row in answer.document["rows"]} == {"full"}
    assert "lora]\nrank = 4\nalpha = 32.0" in (tmp_path / run / "recipe.toml").read_text()
    report = (tmp_path / run / "report.html").read_text()
    assert "full, LoRA of rank 4" in report and "17,034 trained parameters (adapters in 12 modules)" in report
    shown = vlm("models", "show", f"run:{run}", "--json").document
    assert shown["saved"]["lora_rank"] == 4
    assert shown["architecture"] == vlm("models", "show", "tiny", "--json").document["architecture"]

    def accuracies(rows):
        return {(row["alpha"], row["data"], row["split"]): row["metrics"]["accuracy"] for row in rows}

    mixed = vlm("interpolate", "tiny", f"run:{run}", "--alphas", "0,0.5,1", "--limit", "64", "--json")
    assert mixed.code == 0, mixed.err
    again, told = accuracies(mixed.document["rows"]), accuracies(answer.document["rows"])
    assert told.items() <= again.items()
    full = vlm("finetune", *SMALL, "--dry-run", "--json").document  # its directory is free
    assert full["run"] == RUN and full["recipe"]["lora"]["rank"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "linear-probe"), "lora.rank is 4, but linear-probe trains no tower that adapters could stand in"),
        (("--set", "lora.alpha=0"), "lora.alpha is 0.0; expected more than 0"),
        (("--set", "lora.rang=2"), "table [lora] has no key 'rang'. Did you mean 'rank'?"),
    ],
)
def test_adapters_that_cannot_be_are_refused_before_anything_is_written(vlm, tmp_path, words, said):
    answer = vlm("finetune", "--lora-rank", "4", "--limit", "8", *words)
    assert answer.code == 2 and said in answer.paragraph
    assert list(tmp_path.iterdir()) == []


def test_a_rank_that_no_map_has_leaves_the_directory_to_another_recipe(vlm):
    answer = vlm("finetune", "--lora-rank", "100", "--limit", "8", "--out", "run")
    assert answer.code == 2 and "Expected a rank from 1 to 64; change --lora-rank" in answer.paragraph
    assert vlm("finetune", "--lora-rank", "64", "--limit", "8", "--out", "run", "--dry-run").code == 0


def test_a_dry_run_tells_the_plan_and_writes_nothing(vlm, tmp_path):
    answer = vlm("finetune", "--method", "flyp", "--limit", "20", "--dry-run", "--json")
    plan = answer.document
    assert answer.code == 0 and list(tmp_path.iterdir()) == []
    assert plan["recipe"]["method"]["name"] == "flyp" and plan["recipe"]["data"]["limit"] == 20
    assert plan["images"] == {"train": 20, "val": 20, "test": 20}
    assert plan["run"] == "runs/digits-tiny-flyp-seed0"
    assert plan["parameters"] > 300_000 and len(plan["shifts"]) == 9


def test_the_text_of_a_dry_run_is_itself_a_recipe(vlm, tmp_path):
    text = vlm("finetune", "--method", "flyp", "--lr", "0.001", "--dry-run").out
    (tmp_path / "own.toml").write_text(text)
    again = vlm("finetune", "--recipe", "own.toml", "--dry-run")
    assert again.out == text and "lr = 0.001" in text


def test_a_dry_run_refuses_what_the_run_would_refuse(vlm, workplace):
    answer = vlm("finetune", "--limit", "32", "--epochs", "1", "--dry-run")
    assert answer.code == 2 and "holds another run" in answer.paragraph


def test_a_flag_wins_over_an_assignment_and_that_over_the_recipe(vlm, tmp_path):
    (tmp_path / "own.toml").write_text("[training]\nlr = 0.5\nepochs = 7\nwarmup = 3\n")
    settings = ("--set", "training.lr=0.25", "--set", "training.epochs=6", "--epochs", "5")
    plan = vlm("finetune", "--recipe", "own.toml", *settings, "--dry-run", "--json").document
    training = plan["recipe"]["training"]
    assert (training["warmup"], training["lr"], training["epochs"]) == (3.0, 0.25, 5)


@pytest.mark.parametrize("method", ["linear-probe", "flcp"])
def test_the_recipe_follows_the_method_and_its_alias(vlm, method):
    plan = vlm("finetune", "--method", method, "--limit", "8", "--dry-run", "--json").document
    assert plan["recipe"]["method"]["name"] == {"flcp": "flyp"}.get(method, method)
    assert plan["recipe"]["training"]["lr"] == {"linear-probe": 0.03, "flcp": 0.002}[method]


def test_a_tracker_that_is_not_there_is_told_before_anything_is_written(vlm, tmp_path):
    answer = vlm("finetune", *SMALL, "--track", "tensorbord", "--dry-run", "--out", tmp_path / "run")
    assert answer.code == 2 and "Did you mean 'tensorboard'?" in answer.paragraph
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_stands_still_unasked_is_told(vlm):
    short = ("--limit", "32", "--epochs", "1", "--set", "evaluation.alphas=[0.0,1.0]", "--set", "evaluation.track=0")
    batches = ("--set", "training.batch_size=8", "--set", "method.teacher_every=100")
    answer = vlm("finetune", "--method", "carot", *short, *batches, "--out", "run")
    assert answer.code == 0 and "warning: the teacher was never moved after the first step" in answer.err
