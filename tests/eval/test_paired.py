import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from vlm_data.errors import CallError
from vlm_data.tables import Predictions
from vlm_eval.comparing.paired import compare_groups, group_runs, mcnemar
from vlm_eval.metrics.calibration import expected_calibration_error

SETS = {
    "toy": ("", "0"),
    "toy/dark": ("natural", "0"),
    "toy/far": ("natural", "0"),
    "toy/blur-1": ("corruption", "1"),
    "toy/blur-2": ("corruption", "2"),
}


def logits_with(accuracy, n, rng):
    """Logits of a model of two classes that is right with this probability; labels are all 0."""
    right = rng.random(n) < accuracy
    return np.where(right[:, None], [2.0, 0.0], [0.0, 1.5]).astype(np.float32)


def write_run(folder, method="full", seed=0, accuracy=0.7, n=200, settings=(), first=0):
    rng = np.random.default_rng((seed, int(1000 * accuracy)))
    tables = {"method": {"name": method}, "training": {"seed": seed, "lr": 1e-3, **dict(settings)}, "data": {"seed": 0}}
    folder.mkdir(parents=True)
    lines = [
        f"[{table}]\n" + "".join(f"{key} = {value!r}\n" for key, value in keys.items())
        for table, keys in tables.items()
    ]
    (folder / "recipe.toml").write_text("".join(lines))
    ids = tuple(f"image-{number}" for number in range(first, first + n))
    for data, (group, severity) in SETS.items():
        name = data.replace("/", "-")
        meta = {"data": data, "split": "test", "alpha": "1.0", "group": group, "severity": severity}
        table = Predictions(ids, np.zeros(n, dtype=np.int64), logits_with(accuracy, n, rng), meta)
        table.save(folder / "predictions" / f"{name}.test.alpha-1.00.parquet")
    return folder


class TestMcNemar:
    @given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 5))
    def test_it_is_the_sum_of_binomial_tails(self, first, second, both):
        a = np.array([True] * first + [False] * second + [True] * both, dtype=bool)
        b = np.array([False] * first + [True] * second + [True] * both, dtype=bool)
        n = first + second
        expected = min(1.0, 2 * binom.cdf(min(first, second), n, 0.5)) if n else 1.0
        assert mcnemar(a, b) == (first, second, pytest.approx(expected))

    def test_answers_to_different_questions(self):
        with pytest.raises(CallError, match="cannot be paired"):
            mcnemar(np.ones(3, dtype=bool), np.ones(4, dtype=bool))


class TestGroups:
    def test_runs_that_differ_in_their_seed_are_one_group(self, tmp_path):
        runs = [write_run(tmp_path / f"full{seed}", seed=seed) for seed in (0, 1)]
        runs.append(write_run(tmp_path / "flyp", "flyp"))
        runs.append(write_run(tmp_path / "other", settings={"lr": 0.1}))
        groups = group_runs(runs)
        assert [(group.name, len(group.runs)) for group in groups] == [
            ("full training.lr=0.001", 2), ("flyp", 1), ("full training.lr=0.1", 1),
        ]  # fmt: skip

    def test_trackers_make_no_other_kind_of_run(self, tmp_path):
        runs = [write_run(tmp_path / f"full{seed}", seed=seed) for seed in (0, 1)]
        with open(runs[1] / "recipe.toml", "a") as file:
            file.write('[tracking]\ntrackers = ["tensorboard"]\n')
        assert [(group.name, len(group.runs)) for group in group_runs(runs)] == [("full", 2)]

    def test_a_run_named_twice(self, tmp_path):
        run = write_run(tmp_path / "run")
        with pytest.raises(CallError, match="is named twice"):
            group_runs([run, run])


class TestComparison:
    def compared(self, tmp_path, seeds=(0,), accuracies=(0.6, 0.9)):
        folders = [
            write_run(tmp_path / f"{method}{seed}", method, seed, accuracy)
            for method, accuracy in zip(("full", "flyp"), accuracies, strict=True)
            for seed in seeds
        ]
        first, second = group_runs(folders)
        return first, {test.data: test for test in compare_groups(first, second, resamples=500)}

    def test_lines_and_their_order(self, tmp_path):
        _, tests = self.compared(tmp_path)
        assert list(tests) == [
            "toy", "toy/dark", "toy/far", "mean of natural shifts", "toy/blur", "mean of all shifts",
        ]  # fmt: skip
        assert [test.p_value is None for test in tests.values()] == [False, False, False, True, True, True]

    def test_scores_are_those_of_the_tables(self, tmp_path):
        first, tests = self.compared(tmp_path)
        tables = first.tables()
        blur = [tables[f"toy/blur-{severity}"][0] for severity in (1, 2)]
        assert tests["toy/blur"].accuracy.before == pytest.approx(np.mean([table.accuracy for table in blur]))
        eces = [expected_calibration_error(t.probabilities, t.labels) for t in blur]
        assert tests["toy/blur"].ece.before == pytest.approx(np.mean(eces), abs=1e-6)
        natural = [tables[f"toy/{name}"][0].accuracy for name in ("dark", "far")]
        assert tests["mean of natural shifts"].accuracy.before == pytest.approx(np.mean(natural))

    def test_a_large_difference_is_found_and_equal_models_do_not_differ(self, tmp_path):
        _, tests = self.compared(tmp_path)
        assert tests["toy"].accuracy.direction == "higher" and tests["toy"].p_value < 1e-6
        _, same = self.compared(tmp_path / "same", accuracies=(0.7, 0.7))
        assert all(test.accuracy.difference == 0 for test in same.values())
        assert same["toy"].p_value == 1 and same["toy"].accuracy.direction == "unclear"

    def test_seeds_widen_the_interval_of_one(self, tmp_path):
        _, tests = self.compared(tmp_path, seeds=(0, 1, 2))
        assert tests["toy"].seeds == (3, 3) and tests["toy"].p_value is None
        assert tests["toy"].accuracy.low < tests["toy"].accuracy.difference < tests["toy"].accuracy.high

    def test_different_images_are_refused(self, tmp_path):
        runs = [write_run(tmp_path / "full"), write_run(tmp_path / "flyp", "flyp", first=1)]
        with pytest.raises(CallError, match=r"evaluated on different images of toy.*data\.seed"):
            compare_groups(*group_runs(runs))

    def test_an_alpha_without_predictions(self, tmp_path):
        runs = [write_run(tmp_path / "full"), write_run(tmp_path / "flyp", "flyp")]
        with pytest.raises(CallError, match=r"no predictions at alpha 0\.5"):
            compare_groups(*group_runs(runs, alpha=0.5))
