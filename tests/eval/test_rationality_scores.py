import dataclasses
import json
import math

import numpy as np
import pytest

from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Rationales
from vlm_eval.metrics.rationality import RationaleCounts
from vlm_eval.rationality.curve import threshold_curve
from vlm_eval.rationality.documents import class_documents, curve_documents, records_csv, scores_document
from vlm_eval.rationality.samples import judged_samples
from vlm_eval.rationality.scores import mean_over_severities, score_all, score_rationales, scores_per_class
from vlm_eval.run_files import read_rationales

MARGINS = (2.2, 3.6)


@pytest.fixture
def table(made_predictions, made_rationales):
    return made_rationales(made_predictions("made", 0.0, MARGINS))


@pytest.fixture
def severities(made_predictions, made_rationales):
    return [
        made_rationales(
            made_predictions(
                f"made/noise-{level}",
                0.0,
                (2.2 / level, 3.0 / level),
                role="shift",
                shift="noise",
                group="corruption",
                severity=str(level),
            )
        )
        for level in (1, 2, 3)
    ]


def test_counts_are_of_the_labelled_images_with_evidence(table):
    scores = score_rationales(table)
    known = [row for row, word in enumerate(table.status) if word != "no-evidence"]
    right, valid = table.predicted == table.labels, table.rational
    expected = RationaleCounts(
        sum(right[row] and valid[row] for row in known),
        sum(right[row] and not valid[row] for row in known),
        sum(not right[row] and valid[row] for row in known),
        sum(not right[row] and not valid[row] for row in known),
    )
    assert scores.counts == expected
    assert scores.n == 200 and scores.counts.n == 200 - scores.no_evidence < 200
    assert scores.empty == table.status.count("empty-evidence") > 0
    assert scores.flat == table.status.count("flat-map") > 0
    assert scores.shares["pt"].value == pytest.approx(expected.rr / (expected.rr + expected.rw))
    low, high = scores.shares["ir"].low, scores.shares["ir"].high
    assert low < scores.shares["ir"].value < high


def test_empty_evidence_and_flat_maps_count_as_not_valid_and_missing_evidence_not_at_all():
    def one(status):
        return Rationales(
            ("a", "b"), np.array([0, 0]), np.array([0, 0]), {}, ("ok", status), np.array([True, False]), {"data": "d"}
        )

    assert score_rationales(one("empty-evidence")).shares["pt"].value == 0.5
    assert score_rationales(one("flat-map")).shares["pt"].value == 0.5
    assert score_rationales(one("no-evidence")).shares["pt"].value == 1.0


def test_means_leave_undefined_values_out(table):
    scores = score_rationales(table)
    mass = judged_samples(table).measures["mass"]
    assert scores.means["mass"] == pytest.approx(mass[~np.isnan(mass)].mean())
    assert scores.means["normalised_mass"] > 1
    assert 0.1 < scores.means["area"] < 0.5


def test_without_evidence_there_is_no_score(table):
    nothing = dataclasses.replace(
        table, status=("no-evidence",) * len(table), rational=np.zeros(len(table), dtype=bool), measures={}
    )
    with pytest.raises(VlmDataError, match=r"no labelled sample of made has evidence \(200 samples\)"):
        score_rationales(nothing)
    assert score_all([nothing]) == []


def test_images_without_label_are_left_out(table):
    half = table.labels.copy()
    half[::2] = -1
    scores = score_rationales(dataclasses.replace(table, labels=half))
    assert scores.n == 100 and scores.counts.n <= 100


def test_a_corruption_is_the_mean_over_its_severities(severities):
    mean = mean_over_severities(severities)
    parts = [score_rationales(one) for one in severities]
    assert (mean.data, mean.severity, mean.n) == ("made/noise", None, 600)
    for share in ("pt", "ir", "validity", "accuracy"):
        score = mean.shares[share]
        assert score.value == pytest.approx(np.mean([part.shares[share].value for part in parts]))
        assert score.low < score.value < score.high
    assert mean.counts.n == sum(part.counts.n for part in parts)
    assert mean.means["mass"] == pytest.approx(np.mean([part.means["mass"] for part in parts]))


def test_a_share_that_is_undefined_at_one_severity_is_undefined_as_a_mean(severities):
    wrong = dataclasses.replace(severities[0], predicted=(severities[0].labels + 1) % 10)
    mean = mean_over_severities([wrong, *severities[1:]])
    assert mean.shares["pt"] is None and mean.shares["ir"] is not None


def test_severities_of_different_models_are_not_averaged(severities):
    other = dataclasses.replace(severities[1], meta={**severities[1].meta, "model": "tiny"})
    for tables in ([severities[0], other], [severities[0], severities[0]], []):
        with pytest.raises(CallError, match="averaged over severities"):
            mean_over_severities(tables)


def test_all_scores_hold_the_mean_after_the_last_severity(table, severities):
    other_layers = [dataclasses.replace(one, meta={**one.meta, "layers": "all"}) for one in severities]
    found = score_all([table, *severities, *other_layers])
    assert [(one.data, one.severity) for one in found] == [
        ("made", None),
        *[(f"made/noise-{level}", level) for level in (1, 2, 3)],
        ("made/noise", None),
        *[(f"made/noise-{level}", level) for level in (1, 2, 3)],
        ("made/noise", None),
    ]
    assert [one.settings["layers"] for one in found] == ["last"] * 5 + ["all"] * 4


def test_classes_have_names_and_equal_names_are_told_apart(table):
    names = ["crane", "crane", *map(str, range(2, 10))]
    found = scores_per_class(table, names)
    assert list(found)[:3] == ["crane (0)", "crane (1)", "2"]
    assert sum(found.values(), RationaleCounts(0, 0, 0, 0)) == score_rationales(table).counts
    assert list(scores_per_class(table)) == [str(label) for label in range(10)]
    with pytest.raises(CallError, match="labels up to 9, but there are 2 class names"):
        scores_per_class(table, ["a", "b"])


def test_the_curve_at_the_threshold_of_the_rule_is_the_table_itself(table):
    curve = threshold_curve(table, "mass", [0.3, 0.5, 0.8])
    assert RationaleCounts(*curve.counts[1].tolist()) == score_rationales(table).counts
    validity = curve.share("validity")
    assert validity[0] > validity[1] > validity[2]
    assert (curve.counts.sum(axis=1) == score_rationales(table).counts.n).all()


def test_every_point_of_the_curve_is_a_rule_of_its_own(table):
    samples = judged_samples(table)
    curve = threshold_curve(table)
    for row, threshold in enumerate(curve.thresholds):
        valid = samples.defined & (samples.measures["mass"] >= threshold)
        expected = [valid & samples.correct, ~valid & samples.correct, valid & ~samples.correct]
        assert curve.counts[row, :3].tolist() == [int(cell.sum()) for cell in expected]


def test_a_tie_is_valid_and_nothing_is_valid_without_map_or_evidence():
    table = Rationales(
        ("a", "b", "c"),
        np.array([0, 0, 0]),
        np.array([0, 0, 0]),
        {"mass": np.array([0.5, 0.0, np.nan])},
        ("ok", "empty-evidence", "flat-map"),
        np.array([True, False, False]),
    )
    curve = threshold_curve(table, thresholds=[0.0, 0.5, math.nextafter(0.5, 1)])
    assert curve.counts[:, 0].tolist() == [1, 1, 0]


def test_a_curve_needs_a_measure_and_numbers(table):
    with pytest.raises(CallError, match=r"'mas'.*mass"):
        threshold_curve(table, "mas")
    with pytest.raises(CallError, match="finite numbers"):
        threshold_curve(table, thresholds=[0.5, math.nan])


def test_documents_are_plain_and_undefined_is_null(table, tmp_path):
    wrong = dataclasses.replace(table, predicted=(table.labels + 1) % 10)
    document = json.loads(json.dumps(scores_document(score_rationales(wrong)), allow_nan=False))
    assert document["pt"] is None and document["pt_low"] is None
    assert document["ir"] == 0 and document["RR"] == 0 and document["no_evidence"] > 0
    assert document["alpha"] == 0.0 and document["layers"] == "last" and document["mean_area"] > 0
    records = curve_documents(threshold_curve(wrong, thresholds=[0.2, 1.1]))
    json.dumps(records, allow_nan=False)
    assert records[1]["ir"] is None and records[0]["WR"] > 0
    lines = records_csv([scores_document(score_rationales(one)) for one in (table, wrong)]).splitlines()
    assert len(lines) == 3 and lines[0].startswith("model,alpha,data,split")
    assert class_documents(scores_per_class(table))[0]["class"] == "0"


def test_tables_are_read_back_in_the_order_of_their_names(table, severities, tmp_path):
    for name, one in (("b", table), ("a", severities[0])):
        one.save(tmp_path / f"{name}.parquet")
    assert [one.meta["data"] for one in read_rationales(tmp_path)] == ["made/noise-1", "made"]
    assert list(read_rationales(tmp_path / "nowhere")) == []
    (tmp_path / "c.parquet").write_bytes(b"no parquet")
    with pytest.raises(VlmDataError, match=r"c\.parquet"):
        list(read_rationales(tmp_path))
