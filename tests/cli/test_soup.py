"""`vlm soup`: what is told, kept and saved, and what is refused by name."""

import pytest

RUN = "run:runs/digits-tiny-full-seed0"
LIMIT = ("--limit", "16")


@pytest.fixture
def elsewhere(tmp_path):
    """Flags that keep what is written out of the shared workplace."""
    return "--out", tmp_path / "evaluations", "--results-db", tmp_path / "results.jsonl"


def _scores(rows, model, split="test"):
    return {row["data"]: row["metrics"] for row in rows if (row["model"], row["split"]) == (model, split)}


def test_soups_and_the_best_model_get_rows_and_the_saved_soup_is_what_was_evaluated(
    vlm, workplace, elsewhere, tmp_path
):
    call = ("soup", "tiny", RUN, *LIMIT, "--save", tmp_path / "soup", *elsewhere)
    answer = vlm(*call, "--json").document
    assert answer["method"] == "greedy" and answer["saved"] == str(tmp_path / "soup")
    assert set(answer["held_out"]) == {"tiny", RUN}
    assert answer["best"] == answer["ingredients"][0] == max(answer["held_out"], key=answer["held_out"].__getitem__)
    (tried,) = answer["tried"]
    taken = tried["accuracy"] > answer["held_out"][answer["best"]]
    assert answer["ingredients"] == [answer["best"], *([tried["model"]] if taken else [])]
    assert {row["model"] for row in answer["rows"]} == {"soup-uniform", "soup-greedy", answer["best"]}
    kept = vlm("results", elsewhere[3], "--json").document["rows"]
    assert len(kept) == len(answer["rows"])
    alone = vlm("evaluate", f"file:{tmp_path / 'soup'}", *LIMIT, *elsewhere, "--json").document["rows"]
    assert _scores(alone, f"file:{tmp_path / 'soup'}") == _scores(answer["rows"], "soup-greedy")
    single = vlm("evaluate", answer["best"], *LIMIT, *elsewhere, "--json").document["rows"]
    assert _scores(single, answer["best"]) == _scores(answer["rows"], answer["best"])


def test_the_table_tells_the_ingredients(vlm, workplace, elsewhere):
    answer = vlm("soup", "tiny", RUN, *LIMIT, "--method", "uniform", *elsewhere)
    assert answer.code == 0, answer.err
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["model", "alone", "added", "in", "uniform"] in lines
    assert [line[-1] for line in lines if line[:1] in (["tiny"], [RUN])][:2] == ["yes", "yes"]
    assert "soup-uniform" in answer.out and "soup-greedy" not in answer.out


def test_one_model_is_no_soup(vlm, workplace, elsewhere, tmp_path):
    answer = vlm("soup", RUN, RUN, *LIMIT, *elsewhere)
    assert answer.code == 2 and "at least two different model specs" in answer.paragraph
    assert not any(tmp_path.rglob("*.parquet"))


def test_models_that_do_not_fit_are_named(vlm, workplace, elsewhere):
    answer = vlm("soup", RUN, "openclip:ViT-S-32-alt", *LIMIT, *elsewhere)
    assert answer.code == 1
    assert f"{RUN} and openclip:ViT-S-32-alt do not fit together" in answer.paragraph


def test_a_soup_is_never_saved_over_an_ingredient(vlm, workplace, elsewhere, tmp_path):
    answer = vlm("soup", "tiny", RUN, *LIMIT, "--save", RUN.removeprefix("run:"), *elsewhere)
    assert answer.code == 2 and "holds a run, whose weights would be lost" in answer.paragraph


def test_a_learned_soup_tells_its_shares_and_is_saved_as_one_model(vlm, workplace, elsewhere, tmp_path):
    call = ("soup", "tiny", RUN, *LIMIT, "--method", "learned", "--save", tmp_path / "soup", *elsewhere)
    answer = vlm(*call, "--json").document
    assert set(answer["shares"]) == {"tiny", RUN} and sum(answer["shares"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["scale"] != 1 and {row["model"] for row in answer["rows"]} >= {"soup-uniform", "soup-learned"}
    alone = vlm("evaluate", f"file:{tmp_path / 'soup'}", *LIMIT, *elsewhere, "--json").document["rows"]
    own = _scores(answer["rows"], "soup-learned")
    for data, metrics in _scores(alone, f"file:{tmp_path / 'soup'}").items():
        assert metrics["accuracy"] == own[data]["accuracy"]


def test_shares_per_tensor_are_those_of_a_learned_soup(vlm, workplace, elsewhere):
    answer = vlm("soup", "tiny", RUN, *LIMIT, "--per-tensor", *elsewhere)
    assert answer.code == 2 and "--per-tensor is about learned shares; expected --method learned" in answer.paragraph
