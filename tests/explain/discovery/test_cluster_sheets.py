import numpy as np
import pytest

from vlm_data.dataset import ArrayDataset
from vlm_data.errors import CallError
from vlm_explain.discovery import DiscoveryOptions, discover
from vlm_explain.pictures.cluster_sheets import cluster_sheet, write_cluster_sheets
from vlm_explain.pictures.colours import EVIDENCE, RIGHT, WRONG, rgb


@pytest.fixture(scope="module")
def drawn(tied):
    options = DiscoveryOptions(candidates=(8,), permutations=100)
    discovery = discover(tied.regions, tied.predictions, options, class_names=tied.class_names)
    table = tied.predictions
    images = np.zeros((len(table), 16, 16, 3), dtype=np.uint8)
    return discovery, ArrayDataset("quadrants", "val", table.ids, table.labels, images), table


def colours_of(picture):
    return {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}


def test_a_sheet_outlines_regions_and_tells_right_from_wrong(drawn):
    discovery, dataset, table = drawn
    picture = cluster_sheet(discovery, discovery.top, dataset, table, per_cluster=4, side=64)
    assert {rgb(colour) for colour in (EVIDENCE, RIGHT, WRONG)} <= colours_of(picture)
    smaller = cluster_sheet(discovery, discovery.top, dataset, table, per_cluster=2, side=64)
    assert smaller.height == picture.height


def test_the_outline_lies_on_the_region(drawn):
    discovery, dataset, table = drawn
    first = discovery.top.ranked[0]
    x1, y1, x2, y2 = (discovery.regions.boxes[first] * 4).astype(int)
    pixels = np.asarray(cluster_sheet(discovery, discovery.top, dataset, table, per_cluster=1, side=64))
    rows, columns = np.nonzero((pixels == rgb(EVIDENCE)).all(axis=2) & (np.arange(len(pixels)) < 130)[:, None])
    assert columns.max() - columns.min() + 1 == x2 - x1
    assert rows.max() - rows.min() + 1 == y2 - y1
    assert columns.min() == 12 + x1  # right of the margin


def test_sheets_are_written_for_the_best_clusters_with_equal_bytes(drawn, tmp_path):
    discovery, dataset, table = drawn
    paths = write_cluster_sheets(discovery, dataset, table, tmp_path / "a", count=2, per_cluster=3)
    assert [path.name for path in paths] == [f"cluster-{one.cluster}.png" for one in discovery.clusters[:2]]
    again = write_cluster_sheets(discovery, dataset, table, tmp_path / "b", count=2, per_cluster=3)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


def test_images_of_another_data_set_are_refused(drawn):
    discovery, dataset, table = drawn
    with pytest.raises(CallError, match=r"the data set quadrants \(val\) lacks 599 images of the discovery"):
        cluster_sheet(discovery, discovery.top, dataset.select([0]), table)
    with pytest.raises(CallError, match="rows of 0 images show nothing"):
        cluster_sheet(discovery, discovery.top, dataset, table, per_cluster=0)
