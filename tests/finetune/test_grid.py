import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_data.errors import CallError
from vlm_finetune.grid import grid, share_of_job


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
