import dataclasses

import numpy as np
import pytest

from vlm_data import load_benchmark
from vlm_data.benchmark import EvaluationSet
from vlm_data.table_facts import file_stem, load_matching, set_facts
from vlm_data.tables import Predictions


def test_every_change_of_a_data_set_changes_its_facts():
    test = load_benchmark("digits", limit=50).test
    variants = [
        EvaluationSet("digits", "id", test),
        EvaluationSet("digits/x", "shift", test, "x", "natural"),
        EvaluationSet("digits/x-2", "shift", test, "x", "corruption", 2),
        EvaluationSet("digits", "id", test.select(range(49))),
        EvaluationSet("digits", "id", test.select([1, 0, *range(2, 50)])),
        EvaluationSet("digits", "id", dataclasses.replace(test, labels=test.labels[::-1])),
        EvaluationSet("digits", "id", dataclasses.replace(test, images=test.images ^ 1)),
        EvaluationSet("digits", "id", dataclasses.replace(test, split="val")),
    ]
    facts = [set_facts(variant) for variant in variants]
    assert len({tuple(sorted(fact.items())) for fact in facts}) == len(variants)
    assert all(isinstance(value, str) for fact in facts for value in fact.values())


FACTS = {"model": "tiny", "data": "digits"}


class TestLoadMatching:
    @pytest.fixture
    def path(self, tmp_path):
        table = Predictions(("a", "b"), np.array([0, 1]), np.eye(2, dtype=np.float32), FACTS)
        table.save(tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    def test_the_same_facts(self, path):
        found = load_matching(Predictions, path, dict(reversed(FACTS.items())))
        assert found.ids == ("a", "b") and np.array_equal(found.logits, np.eye(2))

    @pytest.mark.parametrize(
        "facts", [{"model": "tiny"}, {"model": "tiny", "data": "other"}, {"model": "tiny", "data": "digits", "x": ""}]
    )
    def test_other_facts(self, path, facts):
        assert load_matching(Predictions, path, facts) is None

    def test_nothing_there(self, path):
        assert load_matching(Predictions, None, FACTS) is None
        assert load_matching(Predictions, path.with_name("none"), FACTS) is None

    @pytest.mark.parametrize("keep", [0, 4, 100, -1])
    def test_a_damaged_file(self, path, keep):
        path.write_bytes(path.read_bytes()[:keep])
        assert load_matching(Predictions, path, FACTS) is None

    def test_every_single_damaged_byte_is_noticed_or_harmless(self, path):
        """A flipped byte may not make a table that claims to be the right one and has other values."""
        whole, expected = path.read_bytes(), Predictions.load(path)
        for position in range(0, len(whole), 7):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 255]) + whole[position + 1 :])
            found = load_matching(Predictions, path, FACTS)
            assert found is None or np.array_equal(found.logits, expected.logits)


@pytest.mark.parametrize(
    ("data", "stem"),
    [
        ("digits", "digits"),
        ("digits/noise-3", "digits-noise-3"),
        ("folder:../my pets", "folder-..-my-pets"),
        ("csv:/abs/path.csv", "csv--abs-path.csv"),
        ("/leading/", "leading"),
        ("ünï", "ünï"),
    ],
)
def test_names_of_files_have_no_separators(data, stem):
    assert file_stem(data) == stem
