"""Where regions come from: every proposer, its boxes and its complaints."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import detection

from vlm_data.dataset import ArrayDataset, FileDataset
from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables.regions import Regions
from vlm_models.errors import CheckpointError
from vlm_models.proposals import REGISTRY, ProposerInfo, propose


@pytest.fixture
def photos(tmp_path) -> FileDataset:
    """Three photos of three sizes."""
    sizes = [(40, 30), (30, 40), (25, 25)]
    for number, (width, height) in enumerate(sizes):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    paths = tuple(tmp_path / f"{number}.png" for number in range(3))
    return FileDataset("photos", "val", ("a", "b", "c"), np.zeros(3, dtype=np.int64), paths)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A random detector of torchvision, saved as torchvision publishes them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None, num_classes=5)
    path = tmp_path_factory.mktemp("rpn") / "detector.pth"
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.parametrize("name", REGISTRY.names())
def test_every_proposer_tells_what_it_is(name):
    info = REGISTRY.load(name).INFO
    assert isinstance(info, ProposerInfo) and info.spec.startswith(name) and info.summary.endswith(".")


class TestGrid:
    def test_the_quadrants_of_a_canvas(self):
        canvases = ArrayDataset("c", "val", ("a",), np.array([0]), np.zeros((1, 56, 56, 3), dtype=np.uint8))
        expected = [[0, 0, 28, 28], [28, 0, 56, 28], [0, 28, 28, 56], [28, 28, 56, 56]]
        for spec in ("grid", "grid:2x2"):
            found = propose(spec, canvases)
            assert found.boxes.tolist() == expected and found.rows.tolist() == [0] * 4 and found.spec == spec

    def test_parts_cover_every_image_once(self, photos):
        found = propose("grid:3x5", photos)
        areas = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)
        np.testing.assert_allclose(np.bincount(found.rows, areas), [1200, 1200, 625])
        assert found.boxes[4].tolist() == [32, 0, 40, 10]  # the last of the first row

    @pytest.mark.parametrize("source", ["2", "0x2", "2x", "ax2", "2x2x2", "65x2", "-1x2"])
    def test_what_is_no_grid(self, photos, source):
        with pytest.raises(CallError, match="expected grid:ROWSxCOLUMNS with numbers from 1 to 64"):
            propose(f"grid:{source}", photos)


class TestSliding:
    def test_windows_of_half_the_side(self, photos):
        found = propose("sliding:0.5", photos)
        assert np.bincount(found.rows).tolist() == [9, 9, 9]
        assert found.boxes[[0, 1, 4, 8]].tolist() == [
            [0, 0, 20, 15],
            [10, 0, 30, 15],
            [10, 7.5, 30, 22.5],
            [20, 15, 40, 30],
        ]

    def test_scales(self, photos):
        found = propose("sliding:0.25,1,0.5", photos)
        assert np.bincount(found.rows).tolist() == [59] * 3
        assert found.boxes[0].tolist() == [0, 0, 40, 30]
        default = propose("sliding", photos)
        np.testing.assert_allclose(default.boxes[:58], found.boxes[1:59])

    @pytest.mark.parametrize("share", [0.3, 0.7, 0.9, 0.02])
    def test_windows_of_any_size_cover_the_image_and_overlap_by_half(self, photos, share):
        boxes = propose(f"sliding:{share}", photos.select([2])).boxes / 25
        starts = np.unique(boxes[:, 0].round(9))
        assert starts[0] == 0 and boxes[:, 2].max() == pytest.approx(1)
        assert np.diff(starts).max() <= share / 2 + 1e-9

    @pytest.mark.parametrize("source", ["0", "1.5", "half", "0.5,,0.2", "0.01", "nan"])
    def test_what_is_no_share(self, photos, source):
        with pytest.raises(CallError, match=r"expected shares of the sides of an image from 0.02 to 1"):
            propose(f"sliding:{source}", photos)


class TestBoxes:
    @pytest.fixture
    def table(self) -> Regions:
        boxes = np.array([[0, 0, 5, 5], [1, 1, 9, 9], [2, 2, 4, 4], [0, 0, 3, 3.5]])
        return Regions(("c", "a", "elsewhere", "c"), boxes)

    def test_of_the_data_set_and_of_a_file(self, photos, table, tmp_path):
        table.save(tmp_path / "r.parquet")
        for found in (propose("boxes", photos, regions=table), propose(f"boxes:{tmp_path}/r.parquet", photos)):
            assert found.rows.tolist() == [0, 2, 2]
            assert found.boxes.tolist() == [[1, 1, 9, 9], [0, 0, 5, 5], [0, 0, 3, 3.5]]

    def test_at_most(self, photos, table):
        assert propose("boxes", photos, regions=table, max_regions=1).boxes.tolist() == [[1, 1, 9, 9], [0, 0, 5, 5]]
        with pytest.raises(CallError, match="at most 0 regions per image were asked for"):
            propose("boxes", photos, regions=table, max_regions=0)

    def test_no_table_or_another_one(self, photos, table, tmp_path):
        with pytest.raises(CallError, match=r"photos \(val\) comes without boxes"):
            propose("boxes", photos)
        with pytest.raises(
            CallError, match=r"none of 1 regions lies in an image of photos .*, the first in 'elsewhere'"
        ):
            propose("boxes", photos, regions=table.select([2]))
        with pytest.raises(VlmDataError):
            propose(f"boxes:{tmp_path}/missing.parquet", photos)


class TestProposalNetwork:
    def test_boxes_lie_in_their_images_best_first(self, photos, weights):
        found = propose(f"rpn:{weights},size=64", photos, max_regions=7)
        assert found.scores is not None and np.bincount(found.rows).tolist() == [7] * 3
        for row in range(3):
            boxes, scores = found.boxes[found.rows == row], found.scores[found.rows == row]
            width, height = photos.image_size(row)
            assert (boxes >= 0).all() and (boxes <= [width, height] * 2).all()
            assert (np.diff(scores) <= 0).all() and (scores > 0).all() and (scores < 1).all()

    def test_they_are_what_torchvision_computes(self, photos, weights):
        """The proposals of torchvision's own network, one image at a time, moved back to the size of the image."""
        model = detection.fasterrcnn_mobilenet_v3_large_fpn(
            weights=None, weights_backbone=None, num_classes=5, min_size=64, max_size=107, rpn_nms_thresh=0.5,
            rpn_post_nms_top_n_test=6, rpn_score_thresh=0.0,
        ).eval()  # fmt: skip
        model.load_state_dict(torch.load(weights, weights_only=True))
        found = propose(f"rpn:{weights},size=64,nms=0.5", photos, max_regions=6, batch_size=1)
        for row in range(3):
            image = torch.from_numpy(np.array(photos.image(row))).permute(2, 0, 1).float() / 255
            with torch.no_grad():
                resized, _ = model.transform([image])
                (boxes,), _ = model.rpn(resized, model.backbone(resized.tensors))
            (height, width), (full_height, full_width) = resized.image_sizes[0], image.shape[1:]
            expected = boxes.numpy() * ([full_width / width, full_height / height] * 2)
            np.testing.assert_allclose(found.boxes[found.rows == row], expected, atol=1e-4)

    def test_the_same_call_gives_the_same_boxes_and_leaves_the_generator(self, photos, weights):
        state = torch.random.get_rng_state()
        first, again = (propose(f"rpn:{weights},size=64", photos, max_regions=3) for _ in range(2))
        np.testing.assert_array_equal(first.boxes, again.boxes)
        assert torch.equal(state, torch.random.get_rng_state())

    def test_wrong_calls(self, photos, weights, tmp_path):
        with pytest.raises(CallError, match="rpn: names no file"):
            propose("rpn", photos)
        with pytest.raises(CallError, match="has the unknown option nsm"):
            propose(f"rpn:{weights},nsm=0.5", photos)
        for value in ("2", "0", "much", "nan"):
            with pytest.raises(CallError, match=f"nms={value} is not a share"):
                propose(f"rpn:{weights},nms={value}", photos)
        with pytest.raises(CheckpointError, match="there is no weight file"):
            propose(f"rpn:{tmp_path}/none.pth", photos)
        torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
        with pytest.raises(CheckpointError, match=r"the backbone in .* does not fit"):
            propose(f"rpn:{tmp_path}/other.pth", photos)


def test_an_unknown_proposer(photos):
    with pytest.raises(CallError, match="Did you mean 'grid'"):
        propose("gird:2x2", photos)


def test_no_images(photos):
    table = Regions(("a",), np.array([[0, 0, 4, 4.0]]))
    for spec in ("grid", "boxes", "sliding"):
        with pytest.raises(CallError, match=r"photos \(val\) has no images; expected at least one"):
            propose(spec, photos.select([]), regions=table)
