"""All arrays of `golden/ravl_discovery` that have given clusters, captured from the functions of RaVL's authors."""

from pathlib import Path

import numpy as np
import pytest

from vlm_explain.discovery.gaps import gap_scores
from vlm_explain.discovery.statistics import Answers, cluster_statistics

GOLDEN = Path(__file__).parents[2] / "golden" / "ravl_discovery"
FILES = sorted(path.stem for path in GOLDEN.glob("*.npz") if not path.stem.startswith("kmedoids"))


@pytest.fixture(params=FILES)
def golden(request):
    with np.load(GOLDEN / f"{request.param}.npz") as arrays:
        return dict(arrays)


def statistics_of(golden):
    answers = Answers(golden["img_true_label"], golden["img_pred_label"], golden["img_score"])
    image_of = np.repeat(np.arange(len(answers.labels)), golden["num_regions"])
    return cluster_statistics(answers, image_of, golden["clusters"], golden["reg_score"])


def test_there_are_golden_files():
    assert len(FILES) == 5


def test_counts_gaps_and_influence_are_the_golden_ones(golden):
    found = statistics_of(golden)
    np.testing.assert_array_equal(found.ids, golden["out_cluster_ids"])
    np.testing.assert_array_equal(found.gaps.with_, golden["out_n_in"])
    np.testing.assert_array_equal(found.gaps.without, golden["out_n_out"])
    np.testing.assert_allclose(found.gaps.weighted, golden["out_weighted_gap"], atol=1e-9, rtol=0)
    np.testing.assert_allclose(gap_scores(found.gaps.weighted), golden["out_gap_score"], atol=1e-9, rtol=0)
    np.testing.assert_array_equal(found.gaps.both_signs, golden["out_criterion"])
    np.testing.assert_allclose(found.influence, golden["out_influence"], atol=1e-9, rtol=0)
