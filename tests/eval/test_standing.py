import csv
import io

import numpy as np
import pytest

from vlm_eval.comparing.baselines import read_baselines
from vlm_eval.comparing.disagreement import disagreement, disagreements
from vlm_eval.comparing.judgement import judge
from vlm_eval.comparing.paired import group_runs
from vlm_eval.comparing.scored_groups import score_group_of_runs
from vlm_eval.comparing.standing import baseline_fits, standings
from vlm_eval.intervals import clopper_pearson
from vlm_eval.metrics.robustness import fit_baseline
from vlm_eval.run_files import read_run

SHIFTS = ("invert", "colour", "canvas", "noise", "blur")


@pytest.fixture(scope="module")
def runs(made_run, made_tables, tmp_path_factory):
    """Two seeds of one method and one run of another."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        recipe = {"method": {"name": "full"}, "training": {"seed": seed}}
        made_run(
            folder / f"full{seed}",
            made_tables(natural={"invert": (1.6, 0.7 + seed), "colour": (1.9, 2.1)}),
            recipe=recipe,
        )
    made_run(
        folder / "flyp",
        made_tables(natural={"invert": (1.6, 1.7), "colour": (1.9, 2.2)}),
        recipe={"method": {"name": "flyp"}},
    )
    return folder


@pytest.fixture
def baselines(tmp_path):
    reference = np.linspace(0.3, 0.9, 7)
    columns = ["made", "made/invert", "made/colour", "made/noise", "made/blur"]
    lines = [f"b{row},{x},{x * 0.7},{x * 0.8},{x * 0.9},{x * 0.85}" for row, x in enumerate(reference)]
    path = tmp_path / "baselines.csv"
    path.write_text("\n".join([",".join(["model", *columns]), *lines]) + "\n")
    return read_baselines(path)


def group_of(runs, *names, alpha=0.5):
    (group,) = group_runs([runs / name for name in names], alpha)
    return score_group_of_runs(group)


class TestScores:
    def test_one_run_on_one_set_has_the_exact_interval(self, runs):
        group = group_of(runs, "full0")
        (table,) = [t for t in read_run(runs / "full0").tables(1.0) if t.meta["data"] == "made/invert"]
        score = group.score(1.0, "made/invert", "accuracy")
        assert score.value == pytest.approx(table.accuracy)
        assert (score.low, score.high) == clopper_pearson(int(table.correct.sum()), len(table))

    def test_means_are_those_of_the_sets_and_of_the_seeds(self, runs):
        group = group_of(runs, "full0", "full1")
        parts = [group.values(0.5, f"made/{name}", "accuracy") for name in ("invert", "colour")]
        assert group.values(0.5, "mean/natural", "accuracy") == pytest.approx(np.mean(parts, axis=0))
        score = group.score(0.5, "mean/natural", "accuracy")
        assert score.value == pytest.approx(np.mean(parts)) and score.low < score.value < score.high

    def test_alphas_between_have_values_and_no_interval(self, runs):
        group = group_of(runs, "full0")
        assert group.alphas == (0.0, 0.25, 0.5, 0.75, 1.0) and group.marked == (0.0, 0.5, 1.0)
        assert group.score(0.25, "mean/all", "accuracy").low is None
        assert group.score(0.5, "mean/all", "ece").low is not None
        assert group.score(0.5, "made/invert", "nll").low is None


class TestRobustness:
    def test_effective_robustness_is_that_of_the_fit(self, runs, baselines):
        group = group_of(runs, "full0", "full1")
        fits = baseline_fits(group, baselines)
        assert set(fits) == {
            "made/invert",
            "made/colour",
            "made/noise",
            "made/blur",
            *(f"mean/{g}" for g in ("natural", "corruption", "all")),
        }
        found = {(one.alpha, one.data): one for one in standings(group, fits)}
        one = found[1.0, "mean/natural"]
        x = np.array(group.values(1.0, "id", "accuracy"))
        y = np.array(group.values(1.0, "mean/natural", "accuracy"))
        fit = fit_baseline(baselines.accuracy["made"], baselines.mean(["made/invert", "made/colour"]))
        assert one.effective.value == pytest.approx(fit.effective_robustness(x, y).mean())
        assert one.residual == pytest.approx(fit.residual(x, y).mean())
        assert one.effective.low < one.effective.value < one.effective.high
        start = found[0.0, "mean/natural"]
        assert one.relative.value == pytest.approx(one.shifted.value - start.shifted.value)
        assert start.relative.value == 0 and one.relative.low < one.relative.value < one.relative.high

    def test_a_model_on_the_line_has_an_interval_around_zero(self, runs, baselines):
        group = group_of(runs, "full0")
        x, y = (group.values(1.0, key, "accuracy")[0] for key in ("id", "made/invert"))
        columns = {"made": np.array([x, x - 0.1, x - 0.2]), "made/invert": np.array([y, y - 0.05, y - 0.1])}
        noisy = type(baselines)("here", ("a", "b", "c"), columns)
        one = next(s for s in standings(group, baseline_fits(group, noisy)) if s.alpha == 1 and s.data == "made/invert")
        assert one.effective.low < 0 < one.effective.high and abs(one.effective.value) < 0.02
        assert one.effective.high - one.effective.low > one.shifted.high - one.shifted.low - 0.02

    def test_perfect_id_accuracy_promises_nothing(self, made_run, made_tables, tmp_path, baselines):
        tables = [t for t in made_tables(alphas=(0.0, 0.5, 1.0), natural={"invert": (1.6, 0.7), "colour": (1.9, 2.1)})]
        for table in tables:
            if table.meta["data"] == "made" and table.meta["alpha"] == "1.0":
                table.logits[np.arange(len(table)), table.labels] += 100
        made_run(tmp_path / "perfect", tables)
        group = group_of(tmp_path, "perfect")
        found = [s for s in standings(group, baseline_fits(group, baselines)) if s.alpha == 1]
        assert all(s.reference.value == 1 and s.effective is None and s.residual is None for s in found)

    def test_without_baselines_only_relative_robustness(self, runs):
        found = standings(group_of(runs, "full0"), {})
        assert all(one.effective is None and one.residual is None and one.relative is not None for one in found)


class TestJudgement:
    def test_the_table_has_every_alpha_and_every_shift(self, runs, baselines):
        groups = group_runs([runs / name for name in ("full0", "full1", "flyp")], 0.5)
        found = judge(groups, baselines, every_alpha=True)
        lines = list(csv.DictReader(io.StringIO(found.table())))
        assert len(lines) == 2 * 5 * 7 and {line["name"] for line in lines} == {"full", "flyp"}
        line = next(x for x in lines if x["name"] == "flyp" and x["alpha"] == "0.5" and x["data"] == "made/blur")
        assert float(line["gap"]) == pytest.approx(
            float(line["ece"]) - group_of(runs, "flyp").score(0.5, "id", "ece").value
        )
        assert float(line["temperature"]) > 0 and line["effective_low"] and line["brier_remainder"]
        assert len({one["alpha"] for one in found.document()["robustness"]}) == 5

    def test_same_files_same_document(self, runs):
        names = [runs / name for name in ("full0", "flyp")]
        assert judge(group_runs(names)).document() == judge(group_runs(names)).document()

    def test_short_tables_show_zero_shot_once(self, runs):
        found = judge(group_runs([runs / name for name in ("full0", "flyp")]))
        assert [(s.name, s.alpha) for s in found.short_standings() if s.data == "mean/all"] == [
            ("full", 0.0), ("full", 0.5), ("full", 1.0), ("flyp", 0.5), ("flyp", 1.0),
        ]  # fmt: skip


class TestDisagreement:
    def test_corrected_minus_broken_is_the_change_of_accuracy(self, runs):
        run = read_run(runs / "full0")
        tables = {a: {t.meta["data"]: t for t in run.tables(a)} for a in (0.0, 0.5, 1.0)}
        start, mixed, end = (tables[a]["made/invert"] for a in (0.0, 0.5, 1.0))
        found = disagreement(start, end, mixed)
        assert found.corrected - found.broken == pytest.approx(mixed.accuracy - end.accuracy)
        assert found.diversity == pytest.approx(np.mean(start.correct != end.correct))
        assert found.follows_zero_shot + found.follows_fine_tuned <= 1

    def test_a_corruption_is_the_mean_over_its_severities(self, runs):
        run = read_run(runs / "full0")
        found = {one.data: one for one in disagreements(*map(run.tables, (0.0, 1.0, 0.5)))}
        assert next(iter(found)) == "made" and list(found)[-1] in ("made/noise", "made/blur")
        tables = [{t.meta["data"]: t for t in run.tables(a)} for a in (0.0, 1.0, 0.5)]
        parts = [disagreement(*(side[f"made/noise-{level}"] for side in tables)) for level in (1, 2)]
        assert found["made/noise"].divergence == pytest.approx(np.mean([part.divergence for part in parts]))

    def test_a_data_set_that_one_model_lacks_is_passed_over(self, runs):
        run = read_run(runs / "full0")
        tables = list(run.tables(0.5))
        whole = disagreements(run.tables(0.0), run.tables(1.0), tables)
        fewer = disagreements(run.tables(0.0), run.tables(1.0), [t for t in tables if t.meta["data"] != "made/invert"])
        assert fewer == [one for one in whole if one.data != "made/invert"]

    def test_models_that_never_disagree(self, runs):
        (table,) = [t for t in read_run(runs / "full0").tables(1.0) if t.meta["data"] == "made"]
        found = disagreement(table, table, table)
        assert found.follows_zero_shot is None and found.follows_fine_tuned is None
        assert found.diversity == found.kappa_complement == found.divergence == 0
