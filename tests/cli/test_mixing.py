"""`vlm interpolate` by other rules than plain interpolation."""

import pytest

RUN = "run:runs/digits-tiny-full-seed0"
CALL = ("interpolate", "tiny", RUN, "--limit", "16", "--alphas", "0,0.5,1")


@pytest.fixture
def elsewhere(tmp_path):
    """Flags that keep what is written out of the shared workplace."""
    return "--out", tmp_path / "evaluations", "--results-db", tmp_path / "results.jsonl"


def accuracies(document, alpha):
    return {
        (row["data"], row["split"]): row["metrics"]["accuracy"] for row in document["rows"] if row["alpha"] == alpha
    }


def middle(document):
    """What rows call the model at alpha 0.5."""
    (name,) = {row["model"] for row in document["rows"] if row["alpha"] == 0.5}
    return name


def test_fisher_information_is_estimated_once_and_the_saved_model_is_what_was_evaluated(
    vlm, workplace, elsewhere, tmp_path
):
    call = (*CALL, "--fisher", "--fisher-samples", "8", "--save", tmp_path / "merged", *elsewhere)
    document = vlm(*call, "--json").document
    assert middle(document) == "fisher-merged"
    plain = vlm(*CALL, *elsewhere, "--json").document
    assert middle(plain) == "interpolated"
    for alpha in (0.0, 1.0):
        assert accuracies(document, alpha) == accuracies(plain, alpha)
    files = sorted((tmp_path / "evaluations").glob("fisher-*.safetensors"))
    written = [path.stat().st_mtime_ns for path in files]
    assert len(files) == 2
    again = vlm(*call, "--json").document
    assert again["rows"] == document["rows"] and [path.stat().st_mtime_ns for path in files] == written
    alone = vlm("evaluate", f"file:{tmp_path / 'merged'}", "--limit", "16", *elsewhere, "--json").document
    found = {(row["data"], row["split"]): row["metrics"]["accuracy"] for row in alone["rows"]}
    assert found.items() <= accuracies(document, 0.5).items()


def test_layers_have_alphas_of_their_own(vlm, workplace, elsewhere):
    call = (*CALL, *elsewhere, "--json")
    all_alike = vlm(*call, "--layers", "encoder=0.5", "--layers", "head=0.5").document
    plain = vlm(*call).document
    assert {row["model"] for row in all_alike["rows"]} == {"layer-interpolated"}
    for alpha in (0.0, 0.5, 1.0):  # the alpha of the rest, of which there is none
        assert accuracies(all_alike, alpha) == accuracies(plain, 0.5)
    other = vlm(*call, "--layers", "encoder.clip.visual=0.1").document
    runs = {row["run"] for document in (all_alike, plain, other) for row in document["rows"]}
    assert len(runs) == 3  # one never passes for another in the results database


@pytest.mark.parametrize("space", ["outputs", "probabilities"])
def test_an_ensemble_says_what_it_is_and_costs(vlm, workplace, elsewhere, space):
    document = vlm(*CALL, *elsewhere, "--ensemble", space, "--json").document
    assert middle(document) == {"outputs": "output-ensemble", "probabilities": "probability-ensemble"}[space]
    shown = vlm(*CALL, *elsewhere, "--ensemble", space)
    assert "two models run for every image: twice the cost" in shown.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--layers", "head=0.5", "--layers", "head=0.2"), "head has two alphas; expected one for every part"),
        (("--fisher", "--fisher-floor", "nan"), "the floor of the Fisher information is nan; expected 0 or more"),
        (("--fisher", "--layers", "head=0.5"), "--fisher and --layers are different rules for one mixture"),
        (("--ensemble", "outputs", "--save", "x"), "an ensemble is two models and cannot be saved as one"),
        (("--layers", "head"), "'head' is no part with an alpha; write PART=ALPHA"),
        (("--layers", "head=auto"), "'head=auto' is no part with an alpha"),
        (("--layers", "head=2"), "'2' is neither a number in [0, 1] nor auto"),
        (("--layers", "encoder.klip=0.5"), "unknown part of the model 'encoder.klip'. Did you mean 'encoder.clip'?"),
        (("--fisher", "--fisher-floor", "-1"), "--fisher-floor"),
        (("--fisher", "--fisher-samples", "0"), "--fisher-samples"),
        (("--fisher-samples", "8"), "--fisher-samples and --fisher-floor belong to --fisher"),
    ],
)
def test_what_makes_no_mixture_is_refused(vlm, workplace, elsewhere, words, said):
    answer = vlm(*CALL, *elsewhere, *words)
    assert answer.code == 2 and said in answer.paragraph
