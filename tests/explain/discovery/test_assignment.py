"""`golden/ravl_mitigation/assign_*`: the nearest of all medoids, not clipped."""

from pathlib import Path

import numpy as np
import pytest

from vlm_data.tables import Regions
from vlm_explain.discovery import Discovery, DiscoveryOptions, assign
from vlm_explain.discovery.assignment import nearest
from vlm_explain.discovery.finding import Finding

GOLDEN = Path(__file__).parents[2] / "golden" / "ravl_mitigation"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "assign_n60.npz") as arrays:
        return dict(arrays)


def regions_of(embeddings, **columns):
    n = len(embeddings)
    boxes = np.tile([[0.0, 0.0, 1.0, 1.0]], (n, 1))
    return Regions(tuple(f"i{row}" for row in range(n)), boxes, np.asarray(embeddings, dtype=np.float32), **columns)


def test_the_golden_regions_are_assigned_as_they_should(golden):
    np.testing.assert_array_equal(nearest(golden["reg_emb"], golden["medoid_emb"]), golden["out_cluster"])


def test_ids_with_holes_stay_ids(golden):
    ids = 3 + 5 * np.arange(len(golden["medoid_emb"]))
    medoids = regions_of(golden["medoid_emb"], clusters=ids)
    top = Finding(
        cluster=int(ids[golden["spurious_cluster"]]), rank=1, regions=1, images=1, score=1.0, gap_score=1.0,
        influence=None, p_value=None, class_tie=0.0, attribute=None, pull=0.0, is_absence=False, complement=None,
        same=(), failed=(), medoid=0, ranked=(0,), gaps=(),
    )  # fmt: skip
    discovery = Discovery((top,), "", (), ("a", "b"), 1, medoids, medoids, DiscoveryOptions(), {})
    assigned = assign(discovery, regions_of(golden["reg_emb"]))
    np.testing.assert_array_equal(assigned.clusters, ids[golden["out_cluster"]])
    np.testing.assert_array_equal(assigned.spurious, golden["out_spurious"])


def test_blocks_do_not_change_the_nearest(golden, monkeypatch):
    monkeypatch.setattr("vlm_explain.discovery.assignment._BLOCK", 7)
    np.testing.assert_array_equal(nearest(golden["reg_emb"], golden["medoid_emb"]), golden["out_cluster"])
    assert nearest(golden["reg_emb"][:0], golden["medoid_emb"]).shape == (0,)
