import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from specimens.wise import published
from vlm_data import load_benchmark
from vlm_data.benchmark import EvaluationSet
from vlm_data.dataset import ArrayDataset
from vlm_data.errors import CallError
from vlm_data.table_facts import table_name
from vlm_data.tables import Predictions
from vlm_eval import predict
from vlm_eval.sweep import Interpolation, evaluate_interpolations
from vlm_models import load_encoder
from vlm_models.checkpoint import weights_hash
from vlm_models.classifier import LINEAR, ZERO_SHOT
from vlm_models.errors import CheckpointError
from vlm_models.zero_shot import zero_shot_classifier, zero_shot_head

GOLDEN = Path(__file__).parents[1] / "golden" / "wise"
ALPHAS = (0.0, 0.3, 0.5, 1.0)


@pytest.mark.parametrize("name", ["ref", "shift"])
def test_published_sweep(name):
    golden = np.load(GOLDEN / "sweep.npz")
    alphas = golden["alphas"].tolist()
    images = torch.from_numpy(golden[f"x_{name}"].astype(np.float32))
    logits = Interpolation(published("theta0"), published("theta1"), alphas).logits(images).numpy()
    assert logits.shape == (200, 11, 10)
    accuracies = (logits.argmax(2) == golden[f"y_{name}"][:, None]).mean(0)
    assert accuracies.tolist() == golden[f"acc_{name}"].tolist()
    np.testing.assert_allclose(logits[:8].transpose(1, 0, 2), golden[f"logits_{name}_first8"], rtol=0, atol=5e-5)


@pytest.fixture(scope="module")
def digits():
    return load_benchmark("digits", limit=40)


@pytest.fixture(scope="module")
def zero_shot(digits):
    return zero_shot_classifier(load_encoder("tiny"), digits.class_names, digits.templates)


def moved(model, *, towers=True, head=LINEAR, seed=0):
    """A copy of a model as fine-tuning might leave it: its weights moved at random."""
    generator = torch.Generator().manual_seed(seed)
    found = copy.deepcopy(model)
    tower = found.encoder.image_tower() if head == LINEAR else found.encoder
    with torch.no_grad():
        for parameter in tower.parameters() if towers else ():
            parameter += 0.3 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator)
        found.head.weight += torch.randn(found.head.weight.shape, generator=generator)
        found.head.bias += torch.randn(found.head.bias.shape, generator=generator)
    found.head_kind = head
    if head == ZERO_SHOT:
        found.head = zero_shot_head(found.encoder, found.class_names, found.templates)
    return found


KINDS = {"full": {}, "probe": {"towers": False}, "contrastive": {"head": ZERO_SHOT}}


@pytest.fixture(params=KINDS, scope="module")
def fine_tuned(request, zero_shot):
    return moved(zero_shot, **KINDS[request.param])


def sets_of(benchmark):
    return list(benchmark.evaluation_sets())[:3]


def sweep(zero_shot, fine_tuned, benchmark, **options):
    return list(evaluate_interpolations(zero_shot, fine_tuned, sets_of(benchmark), ALPHAS, **options))


def test_it_equals_the_merged_models_one_after_another(zero_shot, fine_tuned, digits):
    tables = sweep(zero_shot, fine_tuned, digits)
    interpolation = Interpolation(zero_shot, fine_tuned, ALPHAS)
    for index, table in enumerate(tables):
        evaluation, alpha = sets_of(digits)[index // len(ALPHAS)], ALPHAS[index % len(ALPHAS)]
        expected = predict(interpolation.model(alpha), evaluation.dataset)
        assert (table.meta["data"], float(table.meta["alpha"])) == (evaluation.data, alpha)
        assert table.ids == evaluation.dataset.ids
        assert np.array_equal(table.labels, evaluation.dataset.labels)
        np.testing.assert_allclose(table.logits, expected.logits, rtol=0, atol=1e-4)


def test_the_ends_are_the_models_themselves_bit_for_bit(zero_shot, fine_tuned, digits):
    tables = {table.meta["alpha"]: table for table in sweep(zero_shot, fine_tuned, digits)[: len(ALPHAS)]}
    for alpha, model in (("0.0", zero_shot), ("1.0", fine_tuned)):
        assert np.array_equal(tables[alpha].logits, predict(model, digits.test).logits)
        assert tables[alpha].meta["weights_hash"] == weights_hash(model.state_dict())
    assert len({table.meta["weights_hash"] for table in tables.values()}) == len(ALPHAS)


def test_merging_is_that_of_the_definition(zero_shot, fine_tuned):
    merged = Interpolation(zero_shot, fine_tuned, ALPHAS).model(0.3)
    ends = zero_shot.encoder.state_dict(), fine_tuned.encoder.state_dict()
    for name, tensor in merged.encoder.state_dict().items():
        torch.testing.assert_close(tensor, 0.7 * ends[0][name] + 0.3 * ends[1][name], rtol=0, atol=1e-5)
    if fine_tuned.head_kind == ZERO_SHOT:
        expected = zero_shot_head(merged.encoder, merged.class_names, merged.templates).weight
        plain = 0.7 * zero_shot.head.weight + 0.3 * fine_tuned.head.weight
        assert not torch.allclose(plain, expected, atol=1e-2)  # the two are not the same thing
    else:
        expected = 0.7 * zero_shot.head.weight + 0.3 * fine_tuned.head.weight
    torch.testing.assert_close(merged.head.weight, expected, rtol=0, atol=1e-4)
    assert merged.head_kind == fine_tuned.head_kind


def test_where_only_heads_differ_outputs_are_interpolated(zero_shot):
    probe = moved(zero_shot, towers=False)
    images = torch.randint(0, 256, (9, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    logits = Interpolation(zero_shot, probe, ALPHAS).logits(images)
    with torch.inference_mode():
        ends = zero_shot(images), probe(images)
        for index, alpha in enumerate(ALPHAS):
            torch.testing.assert_close(logits[:, index], (1 - alpha) * ends[0] + alpha * ends[1], rtol=0, atol=1e-3)


def test_encoding_once_where_only_heads_differ_changes_nothing(zero_shot):
    probe = moved(zero_shot, towers=False)
    nearly = copy.deepcopy(probe)
    with torch.no_grad():
        nearly.encoder.clip.visual.proj[0, 0] += 1e-7  # the towers differ now, and go the long way
    images = torch.randint(0, 256, (9, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    quick, general = (Interpolation(zero_shot, model, ALPHAS).logits(images) for model in (probe, nearly))
    torch.testing.assert_close(quick, general, rtol=0, atol=1e-4)


def test_the_models_stay_as_they_were(zero_shot, fine_tuned, digits):
    before = [weights_hash(model.state_dict()) for model in (zero_shot, fine_tuned)]
    fine_tuned.train()
    interpolation = Interpolation(zero_shot, fine_tuned, ALPHAS)
    interpolation.logits(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    with torch.no_grad():
        for parameter in interpolation.model(1.0).parameters():
            parameter.add_(1)
    assert [weights_hash(model.state_dict()) for model in (zero_shot, fine_tuned)] == before
    assert fine_tuned.training and not zero_shot.training
    fine_tuned.eval()


@pytest.mark.parametrize("batch_size", [1, 7])
def test_batches_do_not_matter(zero_shot, fine_tuned, digits, batch_size):
    for one, other in zip(
        sweep(zero_shot, fine_tuned, digits), sweep(zero_shot, fine_tuned, digits, batch_size=batch_size), strict=True
    ):
        np.testing.assert_allclose(one.logits, other.logits, rtol=0, atol=1e-4)


@dataclasses.dataclass(frozen=True, eq=False)
class Counted(ArrayDataset):
    """Counts how often each image is decoded; the images are larger than the model wants them."""

    decoded: list = dataclasses.field(default_factory=list)

    def image(self, index):
        self.decoded.append(index)
        return super().image(index)


def test_every_image_is_decoded_once_for_all_alphas(zero_shot, fine_tuned):
    pixels = np.random.default_rng(0).integers(0, 256, (11, 48, 40, 3), dtype=np.uint8)
    data = Counted("counted", "test", tuple("abcdefghijk"), np.arange(11) % 10, pixels)
    tables = list(
        evaluate_interpolations(zero_shot, fine_tuned, [EvaluationSet("c", "id", data)], ALPHAS, batch_size=4)
    )
    assert len(tables) == len(ALPHAS)
    assert sorted(data.decoded) == list(range(11))


@pytest.fixture(scope="module")
def models(zero_shot):
    return zero_shot, moved(zero_shot)


class TestTablesOnDisk:
    @pytest.fixture
    def computed(self):
        """Names of the data sets that were read, in order; filled by the progress callback."""
        names = []

        def progress(what, done, total):
            if done == total:
                names.append(what.split()[1])

        progress.names = names
        return progress

    def contents(self, folder):
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    def test_they_are_the_tables_that_were_yielded(self, models, digits, tmp_path):
        for table in sweep(*models, digits, out=tmp_path):
            found = Predictions.load(tmp_path / table_name(table.meta))
            assert np.array_equal(found.logits, table.logits) and found.meta == table.meta
        assert len(self.contents(tmp_path)) == 3 * len(ALPHAS)

    def test_what_is_there_is_not_computed_again(self, models, digits, tmp_path, computed):
        first = sweep(*models, digits, out=tmp_path)
        before = self.contents(tmp_path)
        again = sweep(*models, digits, out=tmp_path, progress=computed)
        assert computed.names == []
        assert self.contents(tmp_path) == before
        for one, other in zip(first, again, strict=True):
            assert one.meta == other.meta and np.array_equal(one.logits, other.logits)

    @pytest.mark.parametrize("damage", ["cut", "empty", "gone", "other", "folder table"])
    def test_a_damaged_one_is_computed_again_and_the_others_are_not(self, models, digits, tmp_path, computed, damage):
        sweep(*models, digits, out=tmp_path)
        before = self.contents(tmp_path)
        victim = tmp_path / "digits-invert.test.alpha-0.50.parquet"
        whole = victim.read_bytes()
        victim.unlink()
        if damage == "folder table":
            table = Predictions(("a",), np.array([0]), np.zeros((1, 10), dtype=np.float32), {"model": "other"})
            table.save(victim)
        elif damage != "gone":
            victim.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "other": b"PAR1 no table"}[damage])
        sweep(*models, digits, out=tmp_path, progress=computed)
        assert computed.names == ["digits/invert"]
        assert self.contents(tmp_path) == before

    def test_those_of_other_weights_are_replaced(self, models, digits, tmp_path, computed):
        sweep(*models, digits, out=tmp_path)
        before = self.contents(tmp_path)
        other = moved(models[0], seed=1)
        found = sweep(models[0], other, digits, out=tmp_path, progress=computed)
        assert len(computed.names) == 3
        after = self.contents(tmp_path)
        assert after.keys() == before.keys()
        assert all((after[name] == before[name]) is False for name in after if "alpha-0.00" not in name)
        assert {table.meta["weights_hash"] for table in found if table.meta["alpha"] == "1.0"} == {
            weights_hash(other.state_dict())
        }

    @pytest.mark.parametrize("changed", ["pixels", "labels", "ids"])
    def test_those_of_other_data_are_replaced(self, models, digits, tmp_path, computed, changed):
        sweep(*models, digits, out=tmp_path)
        test = digits.test
        other = {
            "pixels": lambda: dataclasses.replace(test, images=255 - test.images),
            "labels": lambda: dataclasses.replace(test, labels=(test.labels + 1) % 10),
            "ids": lambda: dataclasses.replace(test, ids=tuple(f"{name}'" for name in test.ids)),
        }[changed]()
        sweep(*models, dataclasses.replace(digits, test=other), out=tmp_path, progress=computed)
        assert computed.names == ["digits"]

    def test_further_alphas_are_added(self, models, digits, tmp_path, computed):
        sweep(*models, digits, out=tmp_path)
        before = self.contents(tmp_path)
        list(evaluate_interpolations(*models, sets_of(digits)[:1], (0.3, 0.9), out=tmp_path, progress=computed))
        after = self.contents(tmp_path)
        assert set(after) - set(before) == {"digits.test.alpha-0.90.parquet"}
        assert all(after[name] == before[name] for name in before)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True))
@example([0.1234567, 0.12345678])
def test_two_alphas_never_share_a_file(alphas):
    names = {table_name({"data": "d", "split": "test", "alpha": repr(alpha)}) for alpha in alphas}
    assert len(names) == 2


@pytest.mark.parametrize(
    ("alpha", "name"), [("0.0", "0.00"), ("0.5", "0.50"), ("1.0", "1.00"), ("0.25", "0.25"), ("0.125", "0.125")]
)
def test_names_of_files(alpha, name):
    meta = {"data": "digits/noise-3", "split": "test", "alpha": alpha}
    assert table_name(meta) == f"digits-noise-3.test.alpha-{name}.parquet"


class TestModelsThatDoNotFit:
    def test_other_architectures_are_listed(self, zero_shot):
        with pytest.raises(CheckpointError, match=r"cannot be combined: .* missing: .* unexpected: "):
            Interpolation(zero_shot, published("theta1"), ALPHAS)

    @pytest.mark.parametrize("kind", [LINEAR, ZERO_SHOT])
    def test_other_class_names(self, zero_shot, kind):
        other = moved(zero_shot, head=kind)
        other.class_names = other.class_names[::-1]
        with pytest.raises(CallError, match="made for different class names"):
            Interpolation(zero_shot, other, ALPHAS)

    def test_other_prompts_of_two_zero_shot_heads(self, zero_shot):
        other = moved(zero_shot, head=ZERO_SHOT)
        other.templates = ("something else {c}",)
        with pytest.raises(CallError, match="different prompt templates"):
            Interpolation(zero_shot, other, ALPHAS)

    def test_towers_without_a_head(self, zero_shot):
        for ends in ((zero_shot.encoder, zero_shot), (zero_shot, zero_shot.encoder)):
            with pytest.raises(CallError, match="has no head"):
                next(evaluate_interpolations(*ends, [], ALPHAS))

    def test_other_preprocessing(self, zero_shot):
        other = moved(zero_shot)
        other.encoder.preprocess = dataclasses.replace(other.encoder.preprocess, mean=(0.1, 0.2, 0.3))
        with pytest.raises(CallError, match="want their images differently"):
            Interpolation(zero_shot, other, ALPHAS)

    def test_a_trained_head_at_either_end_is_kept(self, zero_shot):
        trained, contrastive = moved(zero_shot), moved(zero_shot, head=ZERO_SHOT)
        for ends in ((trained, contrastive), (contrastive, trained)):
            interpolation = Interpolation(*ends, ALPHAS)
            for alpha, model in zip((0.0, 1.0), ends, strict=True):
                assert torch.equal(interpolation.model(alpha).head.weight, model.head.weight)
            assert interpolation.model(0.5).head_kind == LINEAR
