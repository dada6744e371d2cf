"""The section of a report about shortcuts, from the files in `spurious/` and from the run before."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from vlm_data.errors import CallError, VlmDataError
from vlm_data.tables import Predictions, Regions
from vlm_eval.report import write_figures, write_report
from vlm_eval.report.findings import Findings
from vlm_eval.run_files import read_run
from vlm_eval.spurious.mitigation import compare_mitigation
from vlm_eval.spurious.validity import judge_setting

NAMES = ("seven", "eight", "nine")
SECTION = "What did it learn instead?"
N = 300


def answers(without_feature, split="test", alpha=1.0, seed=0):
    """A model that is right in 95 % of images, but of nines without the feature only as often as told."""
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % 3
    values = np.where(np.arange(N) // 3 % 2 == 0, "with", "without")
    chance = np.where((labels == 2) & (values == "without"), without_feature, 0.95)
    predicted = np.where(rng.random(N) < chance, labels, (labels + 1) % 3)
    logits = 3 * np.eye(3)[predicted] + 0.3 * rng.standard_normal((N, 3))
    names = {0.0: "zero-shot", 1.0: "fine-tuned"}
    meta = {"data": "digits-nine", "split": split, "alpha": repr(alpha), "role": "id", "model": names[alpha]}
    ids = tuple(f"{split}/{i:03d}" for i in range(N))
    return Predictions(ids, labels, logits.astype(np.float32), meta, {"feature": tuple(map(str, values))})


def write_run(folder, without_feature, method="full", regions=None):
    folder.mkdir(parents=True)
    data = f'[data]\nregions = "{regions}"\n' if regions else ""
    (folder / "recipe.toml").write_text(f'[method]\nname = "{method}"\n{data}')
    (folder / "model.json").write_text(json.dumps({"class_names": NAMES}))
    for alpha, share in ((0.0, 0.9), (1.0, without_feature)):
        table = answers(share, alpha=alpha)
        table.save(folder / "predictions" / f"digits-nine.test.alpha-{alpha:.2f}.parquet")
    return folder


def write_discovery(run, found=True, sheets=True, region_share=0.9):
    folder = run / "spurious"
    table = answers(0.4, split="val").save(folder / "predictions.parquet")
    right = np.random.default_rng(1).random(N) < region_share
    logits = 4 * np.eye(3, dtype=np.float32)[np.where(right, table.labels, (table.labels + 1) % 3)]
    boxes = np.tile([[0.0, 0, 16, 16]], (N, 1))
    Regions(table.ids, boxes, logits=logits, labels=table.labels).save(folder / "regions.parquet")
    gaps = [
        {"class": "nine", "n_with": 50, "n_without": 50, "accuracy_with": 0.96, "accuracy_without": 0.4, "gap": 0.56}
        | {"low": 0.4, "high": 0.7},
        {"class": "seven", "n_with": 50, "n_without": 50, "accuracy_with": 0.7, "accuracy_without": 0.94, "gap": -0.24}
        | {"low": -0.4, "high": -0.1},
        {"class": "eight", "n_with": 1, "n_without": 0, "accuracy_with": 1.0, "accuracy_without": None, "gap": None},
    ]
    cluster = {"id": 7, "rank": 1, "size": 150, "images": 150, "gap_score": 0.8, "influence": 0.42, "p_value": 0.0005}
    cluster |= {"class": "nine", "direction": {"nine": "helps", "seven": "hurts"}, "complement": None, "gaps": gaps}
    cluster |= {"ranked": [0, 1], "is_absence": False, "same": [12], "failed": []}
    other = cluster | {"id": 3, "rank": None, "failed": ["significance"], "class": None}
    clusters = [cluster, other] if found else [other]
    told = {"found": found, "reason": "" if found else "no gap is significant", "class_names": NAMES, "images": N}
    told |= {"notes": ["20 clusters fit best, the least that were tried."]}
    told |= {"regions": 4 * N, "options": {"strategy": "ravl", "seed": 0, "candidates": []}, "clusters": clusters}
    (folder / "discovery.json").write_text(json.dumps(told))
    if sheets and found:
        (folder / "sheets").mkdir()
        Image.new("RGB", (20, 10)).save(folder / "sheets" / "cluster-7.png")
    return folder


def section_of(run, **options):
    page = write_report(run, **options).read_text(encoding="utf-8")
    assert page.count(SECTION) == 1
    return page[page.index(SECTION) :].partition("</section>")[0]


def cells(section, first):
    """The cells of the first table line with this heading, without what is small."""
    line = re.search(rf'<tr><th scope="row">{re.escape(first)}</th>(.*?)</tr>', section).group(1)
    return [re.sub(r"<small>.*?</small>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", line)]


def plain(section):
    return re.sub(r"<[^>]*>", "", section).replace("\u00a0", " ").replace("&nbsp;", " ")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("runs") / "standard", 0.4)
    write_discovery(folder)
    return folder


@pytest.fixture(scope="module")
def mitigated(run):
    folder = write_run(run.parent / "mitigated", 0.9, "region-aware", run / "spurious" / "train-regions.parquet")
    write_discovery(folder, found=False, region_share=0.97)
    return folder


def test_a_discovery_tells_its_clusters_with_gaps_and_pictures(run):
    section = section_of(run)
    text = plain(section)
    assert "1 of 2 clusters of 1,200 regions in 300 images goes with errors" in text
    assert "cluster 7 is tied to “nine”" in text and "helps nine; hurts seven" in text and "p &lt; 0.001" in text
    assert cells(section, "nine") == ["50", "50", "96.0", "40.0", "+56.0", "+0.56"]
    assert cells(section, "eight") == ["1", "0", "100.0", "–", "–", "–"]
    assert re.findall(r'src="([^"]{14})', section) == ["data:image/png"]
    assert "1 cluster did not pass; stopped by: the test (1)" in text and section.count("<svg") == 1
    assert "Before and after" not in text and "20 clusters fit best, the least that were tried." in text
    assert "How it was looked for: strategy ravl, seed 0." in text


def test_a_run_without_any_of_it_has_no_section(tmp_path):
    page = write_report(write_run(tmp_path / "plain", 0.4)).read_text(encoding="utf-8")
    assert SECTION not in page and "worst group" in page


def test_nothing_found_is_told_with_its_reason(mitigated):
    text = plain(section_of(mitigated))
    assert "Nothing found in 1 clusters of 1,200 regions in 300 images: no gap is significant." in text


def test_the_run_before_is_the_one_that_the_regions_come_from(run, mitigated):
    section = section_of(mitigated)
    text = plain(section)
    found = compare_mitigation(run, read_run(mitigated))
    assert "region-aware raised accuracy of the worst group on digits-nine, against full" in text
    assert "region-aware raised overall accuracy" in text
    for place, name in enumerate(("full", "region-aware")):
        groups, regions = found.groups[place], found.regions[place]
        values = [groups.overall, groups.worst.accuracy, regions.overall, regions.worst.accuracy]
        assert cells(section, name) == [f"{100 * value:.1f}" for value in values]
    assert found.groups[0].worst.accuracy == found.worst_group.before < found.worst_group.after
    assert found.overall.before == pytest.approx(answers(0.4).accuracy)
    assert found.document()["region_overall"]["after"] > found.document()["region_overall"]["before"]
    page = (mitigated / "report.html").read_text(encoding="utf-8")
    assert f"--against {run}" in page


def test_another_run_before_can_be_named(tmp_path, run):
    plain_run = write_run(tmp_path / "upsampled", 0.8, "upsampled")
    section = section_of(plain_run, against=run)
    assert "upsampled raised accuracy of the worst group" in plain(section)
    assert cells(section, "upsampled")[2:] == ["–", "–"]  # its regions were never embedded
    with pytest.raises(CallError, match="would be compared with itself"):
        write_report(run, against=run)
    with pytest.raises(CallError, match="is not a run directory"):
        write_report(run, against=tmp_path)


def test_runs_on_other_images_are_refused_only_if_asked_for(tmp_path, run, mitigated):
    folder = write_run(tmp_path / "few", 0.9, "region-aware", run / "spurious" / "train-regions.parquet")
    path = folder / "predictions" / "digits-nine.test.alpha-1.00.parquet"
    table = Predictions.load(path)
    dataclasses.replace(
        table, ids=table.ids[:9], labels=table.labels[:9], logits=table.logits[:9],
        groups={"feature": table.groups["feature"][:9]},
    ).save(path)  # fmt: skip
    assert SECTION not in write_report(folder).read_text(encoding="utf-8")
    with pytest.raises(CallError, match="different images of digits-nine"):
        write_report(folder, against=run)


def test_what_was_planted_is_judged_beside_it(run):
    retrieval = {"found": True, "precision": {"10": 0.9}, "random": {"10": 0.125}, "class_found": True}
    told = judge_setting([run], "nine").document() | {"retrieval": retrieval}
    path = run / "spurious" / "validity.json"
    path.write_text(json.dumps(told))
    section = section_of(run)
    text = plain(section)
    strength = told["strength"]
    assert strength < 0.1 and "the model did not learn it: the gaps do not both exceed 10 points" in text
    assert "90.0 % of the first 10 (in random order 12.5 %)" in text
    assert "The class it is tied to is the planted one." in text
    line = cells(section, run.name)
    assert line[0] == f"{100 * told['seeds'][0]['overall']:.1f}" and line[2].startswith("nine, without (50)")
    path.write_text('{"valid": [{"threshold": 0.1}]}')
    with pytest.raises(VlmDataError, match=r"validity\.json: it lacks 'valid'"):
        write_report(run)
    path.unlink()


def test_figures_of_clusters_and_groups_are_written(mitigated, run):
    names = {path.name for path in (*write_figures(mitigated), *write_figures(run))}
    assert "spurious.svg" in names


def test_damaged_files_are_named(tmp_path):
    folder = write_run(tmp_path / "run", 0.4)
    (write_discovery(folder) / "sheets" / "cluster-7.png").write_bytes(b"no picture")
    with pytest.raises(VlmDataError, match=r"cluster-7\.png is no PNG; expected .*vlm spurious discover"):
        write_report(folder)
    (folder / "spurious" / "discovery.json").write_text("[]")
    with pytest.raises(VlmDataError, match=r"discovery\.json"):
        Findings(read_run(folder)).discovery  # noqa: B018
