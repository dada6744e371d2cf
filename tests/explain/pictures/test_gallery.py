import dataclasses

import numpy as np
import pytest
from PIL import Image

from vlm_data import load_benchmark
from vlm_data.errors import CallError
from vlm_explain.pictures import Shown, gallery, png_bytes, side_by_side, stacked, write_picture
from vlm_explain.pictures.gallery import KINDS, _clearest, _of_kind
from vlm_explain.pictures.sheet import Panel, Row, sheet
from vlm_explain.rationale import Rule, decide, rationales_of
from vlm_explain.relevance import RelevanceOptions
from vlm_models import load_encoder
from vlm_models.zero_shot import zero_shot_classifier


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=60)


@pytest.fixture(scope="module")
def shown(digits):
    model = zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)
    return Shown("zero-shot", model, rationales_of(model, next(digits.evaluation_sets())))


class TestGallery:
    def test_every_image_is_of_one_kind(self, shown):
        kinds = np.stack([_of_kind(shown.table, kind) for kind in KINDS])
        assert (kinds.sum(axis=0) == 1).all() and (kinds.sum(axis=1) > 0).all()

    def test_images_without_a_defined_map_or_label_are_of_none(self, shown):
        table = dataclasses.replace(
            shown.table,
            status=("no-evidence", "flat-map", "empty-evidence", *["ok"] * 57),
            rational=np.zeros(60, dtype=bool),
            labels=np.array([*shown.table.labels[:59], -1]),
        )
        kinds = np.stack([_of_kind(table, kind) for kind in KINDS])
        assert kinds.sum(axis=0).tolist() == [0, 0, 0, *[1] * 56, 0]

    def test_the_clearest_come_first_and_of_different_classes(self, shown):
        table = dataclasses.replace(
            decide(shown.table, Rule()),
            labels=np.array([3] * 30 + [4] * 30),
            measures={"mass": np.linspace(0.5, 1.0, 60)},
        )
        rows = np.arange(10, 50)
        assert _clearest(table, rows, 5) == [49, 29, 48, 28, 47]

    def test_equal_galleries_are_equal_bytes_and_models_share_a_row(self, shown, digits):
        two = [shown, dataclasses.replace(shown, name="again")]
        first, second = (gallery(digits.test, two, per_kind=2, side=64) for _ in range(2))
        assert png_bytes(first) == png_bytes(second)
        one = gallery(digits.test, [shown], per_kind=2, side=64)
        assert one.height == first.height and one.width < first.width

    def test_a_kind_without_images_is_told(self, shown, digits):
        never = dataclasses.replace(shown, table=decide(shown.table, Rule("mass", 1.0)))
        assert not never.table.rational.any()
        picture = gallery(digits.test, [never], side=64)
        fewer = gallery(digits.test, [never], kinds=["right for the wrong reason"], side=64)
        assert picture.height > fewer.height
        with pytest.raises(CallError, match="is right for the right reason; expected at least one"):
            gallery(digits.test, [never], kinds=["right for the right reason"])

    def test_tables_of_other_images_are_refused(self, shown, digits):
        with pytest.raises(CallError, match=r"of zero-shot are about other images than digits .* 60 and 59 images"):
            gallery(digits.test.select(range(59)), [shown])
        with pytest.raises(CallError, match=r"60 and 60 images, 'digits/\d+ / digits/\d+'"):
            gallery(digits.test.select([1, 0, *range(2, 60)]), [shown])

    def test_maps_are_those_that_were_judged(self, shown, digits):
        with pytest.raises(CallError, match=r"of zero-shot were made with other relevance than .*layers='all'"):
            gallery(digits.test, [dataclasses.replace(shown, options=RelevanceOptions(layers="all"))])

    def test_what_shows_nothing_is_refused(self, shown, digits):
        with pytest.raises(CallError, match="unknown kind of rationale 'right'"):
            gallery(digits.test, [shown], kinds=["right"])
        for models, count in (([], 2), ([shown], 0)):
            with pytest.raises(CallError, match="shows nothing"):
                gallery(digits.test, models, per_kind=count)
        own = dataclasses.replace(shown.table, meta={**shown.table.meta, "classes_hash": "x"})
        with pytest.raises(CallError, match="has classes of its own"):
            gallery(digits.test, [dataclasses.replace(shown, table=own)])


class TestSheet:
    def test_no_word_leaves_its_column(self):
        panel = Panel(Image.new("RGB", (60, 20), "#123456"), (("a name of a class that is much too long", "#000000"),))
        page = np.asarray(sheet([Row([panel, panel])]))
        left, right = (np.flatnonzero((page == (0x12, 0x34, 0x56)).all(axis=2).any(axis=0))[[0, -1]]).tolist()
        assert right - left + 1 == 60 + 8 + 60
        between = page[12 + 20 + 4 : 12 + 20 + 4 + 14, left + 60 : left + 68]
        assert (between == 255).all()

    def test_a_long_title_is_whole(self):
        panel = Panel(Image.new("RGB", (20, 20)))
        short, long = (sheet([Row([panel])], heading="w" * count).width for count in (1, 60))
        assert long > 60 * 8 > short

    def test_empty_places_and_rows_are_left_empty(self):
        panel = Panel(Image.new("RGB", (20, 20), "#ff0000"))
        page = np.asarray(sheet([Row([None, panel]), Row([], "nothing of this kind")]))
        assert (page == (255, 0, 0)).all(axis=2).sum() == 400
        with pytest.raises(CallError, match="no picture to draw"):
            sheet([Row([None])])

    def test_many_maps_go_below(self):
        image, heatmap = np.zeros((4, 4, 3), dtype=np.uint8), np.ones((4, 4))
        few, many = (
            side_by_side(image, {f"class {number}": heatmap for number in range(count)}, side=32, columns=3)
            for count in (2, 7)
        )
        assert many.width == few.width and many.height > 2 * few.height - 60
        assert stacked([few, many]).size == (few.width, few.height + many.height)


def test_a_picture_is_written_whole_or_not_at_all(tmp_path):
    picture = Image.new("RGB", (4, 4))
    assert write_picture(picture, tmp_path / "a" / "b.png") == tmp_path / "a" / "b.png"
    with Image.open(tmp_path / "a" / "b.png") as found:
        assert found.size == (4, 4)
    with pytest.raises(CallError, match=r"does not end in \.png; a picture is a PNG file\. Write .*b\.jpg\.png"):
        write_picture(picture, tmp_path / "b.jpg")
