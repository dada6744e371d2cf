import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import CallError
from vlm_finetune.grid import grid, resolve_points, share_of_job


def test_every_combination_with_every_seed():
    points = grid(["method.name=full,flyp", "training.lr=1e-3, 2e-3"], [0, 5])
    assert len(points) == 8
    assert points[1].assignments == ("method.name=full", "training.lr=1e-3") and points[1].seed == 5
    assert [point.name for point in points[:3]] == ["full-lr=1e-3-seed0", "full-lr=1e-3-seed5", "full-lr=2e-3-seed0"]


def test_brackets_keep_their_commas_and_names_are_folders():
    points = grid(["evaluation.alphas=[0.0,1.0],[0.5,1.0]", "data.name=folder:a/b"], [0])
    assert [point.assignments[0] for point in points] == ["evaluation.alphas=[0.0,1.0]", "evaluation.alphas=[0.5,1.0]"]
    assert all("/" not in point.name and ":" not in point.name for point in points)


@given(st.integers(1, 40), st.integers(1, 9))
def test_jobs_share_the_runs_without_overlap(count, jobs):
    points = grid([], range(count))
    shares = [share_of_job(points, f"{number}/{jobs}") for number in range(1, jobs + 1)]
    assert sorted(point.seed for share in shares for point in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("axes", "seeds", "message"),
    [
        (["training.lr"], [0], "--grid training.lr does not vary a setting"),
        (["training.lr="], [0], "does not vary a setting"),
        (["training.lr=1,1"], [0], "no value empty or twice"),
        (["training.lr=1", "training.lr=2"], [0], "training.lr is varied twice"),
        (["data.name=a/b,a:b"], [0], "would have one name"),
        ([], [], "expected at least one and none twice"),
        ([], [1, 1], "none twice"),
    ],
)
def test_what_is_no_grid(axes, seeds, message):
    with pytest.raises(CallError, match=message):
        grid(axes, seeds)


@pytest.mark.parametrize("job", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_what_is_no_job(job):
    with pytest.raises(CallError, match="is no job of an array"):
        share_of_job(grid([], [0, 1]), job)


class TestLists:
    def test_rows_are_run_with_every_combination_and_seed(self):
        listed = [[("method.name", "flyp"), ("training.lr", "1e-3")], [("name", "own one"), ("training.lr", "1")]]
        points = grid(["data.limit=8,16"], [0, 1], listed)
        assert [point.name for point in points[:5:2]] == [
            "flyp-lr=1e-3-limit=8-seed0", "flyp-lr=1e-3-limit=16-seed0", "own_one-limit=8-seed0",
        ]  # fmt: skip
        assert points[-1].assignments == ("training.lr=1", "data.limit=16") and points[-1].group == "own_one-limit=16"
        assert points[-1].setting("data.limit") == "16" and points[-1].setting("method.name") is None

    def test_a_longer_list_leaves_the_names_of_the_shorter_one(self):
        long = [[(f"training.key{number}", f"{value}" * 9) for number in range(9)] for value in (1, 2, 3)]
        shorter, longer = grid([], [0], long[:2]), grid([], [0], long)
        assert [point.name for point in longer[:2]] == [point.name for point in shorter]
        assert len({point.name for point in longer}) == 3 and max(len(point.name) for point in longer) < 100

    @pytest.mark.parametrize(
        ("axes", "listed", "message"),
        [
            (["training.lr=1"], [[("training.lr", "2")]], "training.lr is varied twice"),
            ([], [[("name", "a"), ("training.lr", "2")], [("name", "a"), ("training.lr", "3")]], "one name, a-seed0"),
            ([], [[("training.seed", "2")]], "training.seed is varied as a setting"),
        ],
    )
    def test_what_is_no_sweep(self, axes, listed, message):
        with pytest.raises(CallError, match=message):
            grid(axes, [0], listed)


class TestRecipes:
    def test_a_point_wins_over_settings_of_all_runs(self):
        points = grid([], [3], [[("training.lr", "1e-3"), ("method.name", "flyp")], [("data.limit", "8")]])
        first, second = resolve_points(points, None, ["training.lr=0.5"], {"training": {"epochs": 2}}).values()
        assert (first.method, first.training.lr, first.training.seed, first.training.epochs) == ("flyp", 1e-3, 3, 2)
        assert (second.method, second.training.lr, second.data.limit) == ("full", 0.5, 8)

    def test_an_impossible_recipe_names_its_run(self):
        with pytest.raises(CallError, match=r"lr=-1-seed0 cannot be run: .*expected more than 0"):
            resolve_points(grid(["training.lr=1,-1"], [0]))

    def test_a_flag_does_not_make_all_values_of_an_axis_one(self):
        with pytest.raises(CallError, match=r"method.name is varied, and has a flag"):
            resolve_points(grid(["method.name=full,flyp"], [0]), flags={"method": {"name": "carot"}})
