import pytest
import torch

from vlm_data import load_benchmark
from vlm_models.fisher import Fisher, fisher_information
from vlm_models.fisher_files import kept_fisher, load_fisher, save_fisher
from vlm_models.zero_shot import load_classifier


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=30)


@pytest.fixture(scope="module")
def model(digits):
    return load_classifier("tiny", digits.class_names, digits.templates)


class Reports(list):
    """A progress callback that remembers how often it was called."""

    def __call__(self, what, done, total):
        self.append(what)


def test_it_is_estimated_once_for_the_same_model_images_and_seed(model, digits, tmp_path):
    first, again = Reports(), Reports()
    one = kept_fisher(model, digits.train, tmp_path, samples=5, progress=first)
    other = kept_fisher(model, digits.train, tmp_path, samples=5, progress=again)
    assert first and not again
    assert (one.examples, one.slow_because) == (other.examples, other.slow_because) == (5, "")
    assert all(torch.equal(one.information[name], tensor) for name, tensor in other.information.items())
    assert one.information.keys() == other.information.keys()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("changed", ["weights", "images", "seed"])
def test_another_model_other_images_or_another_seed_is_estimated_anew(digits, tmp_path, changed):
    model = load_classifier("tiny", digits.class_names, digits.templates)
    kept_fisher(model, digits.train, tmp_path, samples=4)
    if changed == "weights":
        with torch.no_grad():
            model.head.weight += 1
    reports = Reports()
    images = digits.val if changed == "images" else digits.train
    kept_fisher(model, images, tmp_path, samples=4, seed=int(changed == "seed"), progress=reports)
    assert reports and len(list(tmp_path.iterdir())) == 2


def test_a_damaged_file_is_estimated_again(model, digits, tmp_path):
    before = kept_fisher(model, digits.train, tmp_path, samples=4)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert load_fisher(path) is None and load_fisher(tmp_path / "none") is None
    after = kept_fisher(model, digits.train, tmp_path, samples=4)
    assert path.read_bytes() == whole
    assert torch.equal(before.information["head.weight"], after.information["head.weight"])


def test_images_are_drawn_and_not_the_first_ones(model, digits, tmp_path):
    drawn = kept_fisher(model, digits.train, tmp_path, samples=6).information["head.bias"]
    first = fisher_information(model, digits.train.select(range(6))).information["head.bias"]
    assert not torch.equal(drawn, first)
    assert kept_fisher(model, digits.train, tmp_path, samples=10**6).examples == 30


def test_a_file_keeps_everything(tmp_path):
    fisher = Fisher({"w": torch.rand(3, 2)}, 7, "no rule for vmap")
    save_fisher(fisher, tmp_path / "f.safetensors")
    found = load_fisher(tmp_path / "f.safetensors")
    assert (found.examples, found.slow_because) == (7, "no rule for vmap")
    assert torch.equal(found.information["w"], fisher.information["w"])
