from collections import Counter

import numpy as np
import pytest

from vlm_data.captions import Captioner
from vlm_data.dataset import UNLABELLED, ArrayDataset
from vlm_data.errors import CallError

CAPTIONER = Captioner(("cat", "dog"), ("a {c}", "the {c}", "{c}!"))


def dataset(labels: list[int], captions: tuple[tuple[str, ...], ...] = ()) -> ArrayDataset:
    n = len(labels)
    ids = tuple(f"image-{i}" for i in range(n))
    return ArrayDataset("pets", "train", ids, np.array(labels), np.zeros((n, 2, 2, 3), np.uint8), captions=captions)


def draws(data: ArrayDataset, index: int, n: int = 300) -> Counter[str]:
    return Counter(CAPTIONER.draw(data, index, np.random.default_rng(i)) for i in range(n))


def test_without_captions_every_template_of_the_class_is_drawn_as_often():
    counts = draws(dataset([1, 0]), 0)
    assert counts.keys() == {"a dog", "the dog", "dog!"}
    assert min(counts.values()) > 70


def test_own_captions_come_first_and_each_is_drawn():
    counts = draws(dataset([0, 1], (("one", "two"), ("three",))), 0)
    assert counts.keys() == {"one", "two"}
    assert min(counts.values()) > 110


def test_an_image_without_own_caption_among_captioned_ones_uses_its_class():
    assert draws(dataset([0, 1], (("one",), ())), 1).keys() == {"a dog", "the dog", "dog!"}


def test_the_draw_depends_on_the_generator_alone():
    data = dataset([1])
    assert CAPTIONER.draw(data, 0, np.random.default_rng(3)) == CAPTIONER.draw(data, 0, np.random.default_rng(3))


def test_neither_caption_nor_label_is_an_error_that_names_the_sample():
    with pytest.raises(CallError, match=r"sample 'image-0' of pets has neither a caption nor a label.*`title`"):
        CAPTIONER.draw(dataset([UNLABELLED]), 0, np.random.default_rng(0))
