"""What mitigation changed: a run against the one before it, overall and in the worst group, images and regions."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

from vlm_data.errors import CallError
from vlm_data.tables import Predictions
from vlm_eval.comparing.changes import Change
from vlm_eval.comparing.paired import PairedTest, RunGroup, compare_groups
from vlm_eval.metrics.subgroups import Subgroups, subgroups
from vlm_eval.run_files import RunFiles, read_run
from vlm_eval.score_table import ID
from vlm_eval.spurious.discovery_file import SPURIOUS
from vlm_eval.spurious.group_scores import discovered_regions


@dataclasses.dataclass(frozen=True, eq=False)
class Mitigation:
    """A run beside the one it was to improve, on the ID test set.

    Attributes:
        before, after: names of the two: their methods.
        data: of the test set.
        test: paired test of overall accuracy and of the worst group.
        groups: accuracy by class and value of the attribute, of both.
        attribute: that the groups are of.
        class_names: of both.
        regions: accuracy of regions, of both; None where one has none that are labelled and scored.
    """

    before: str
    after: str
    data: str
    test: PairedTest
    groups: tuple[Subgroups, Subgroups]
    attribute: str
    class_names: tuple[str, ...]
    regions: tuple[Subgroups, Subgroups] | None

    @property
    def overall(self) -> Change:
        """Of accuracy on all images."""
        return self.test.accuracy

    @property
    def worst_group(self) -> Change:
        """Of accuracy of the worst group."""
        if self.test.worst_group is None:
            raise CallError(f"{self.data} has no groups; expected data that tell an attribute of the images.")
        return self.test.worst_group

    def document(self) -> dict[str, Any]:
        """Return the four accuracies before and after as plain values; None where they are not known."""
        found: dict[str, Any] = {"before": self.before, "after": self.after, "data": self.data}
        found |= {"image_overall": dataclasses.asdict(self.overall), "image_worst_group": None}
        found["image_worst_group"] = dataclasses.asdict(self.worst_group)
        pairs = self.regions or (None, None)
        for name, values in (
            ("region_overall", [one and one.overall for one in pairs]),
            ("region_worst_group", [one and one.worst and one.worst.accuracy for one in pairs]),
        ):
            found[name] = dict(zip(("before", "after"), values, strict=True)) if self.regions else None
        return found


def run_before(run: RunFiles) -> Path | None:
    """Return the run whose discovery a run was fine-tuned with: its recipe names a file in the `spurious/` of that one.

    None where the recipe names no regions, or the run is not there any more.
    """
    name = run.recipe.get("data", {}).get("regions")
    if not name or Path(name).parent.name != SPURIOUS:
        return None
    folder = Path(name).parent.parent
    return folder if (folder / "recipe.toml").is_file() and folder.resolve() != run.path.resolve() else None


def compare_mitigation(before: str | os.PathLike[str], after: RunFiles, alpha: float = 1.0) -> Mitigation:
    """Compare a run with the one before it, from the files of both.

    Args:
        before: directory of the run that leans on the feature.
        after: the run that should not.
        alpha: weight of the fine-tuned model, in both.

    Raises:
        CallError: if the runs do not compare: other data, other images, no groups.
        VlmError: if a file is damaged.
    """
    start = read_run(before)
    if start.path.resolve() == after.path.resolve():
        raise CallError(f"{after.path} would be compared with itself; expected the run before it was mitigated.")
    tables = [_test_table(run, alpha) for run in (start, after)]
    attribute = next((name for name in tables[0].groups if name in tables[1].groups), None)
    data = tables[0].meta.get("data", "")
    if attribute is None:
        raise CallError(
            f"{start.path} and {after.path} share no attribute of images, so there is no worst group to compare. "
            "Expected runs on a setting of `vlm spurious build`, or on data with groups."
        )
    names = [str(run.recipe.get("method", {}).get("name", "full")) for run in (start, after)]
    names = [start.path.name, after.path.name] if names[0] == names[1] else names
    groups = [RunGroup(name, (run,), alpha) for name, run in zip(names, (start, after), strict=True)]
    test = next((one for one in compare_groups(*groups) if one.data == data), None)
    if test is None or test.worst_group is None:
        raise CallError(f"{start.path} and {after.path} were evaluated on different data; expected one setting.")
    cells = [subgroups(one.correct, one.labels, one.groups[attribute], one.logits.shape[1]) for one in tables]
    class_names = tuple(after.manifest.get("class_names", ())) or tuple(map(str, range(tables[1].logits.shape[1])))
    found = [discovered_regions(run.path / SPURIOUS) for run in (start, after)]
    regions = (found[0], found[1]) if found[0] is not None and found[1] is not None else None
    return Mitigation(names[0], names[1], data, test, (cells[0], cells[1]), attribute, class_names, regions)


def _test_table(run: RunFiles, alpha: float) -> Predictions:
    for table in run.tables(alpha):
        if table.meta.get("role", ID) == ID and math.isclose(float(table.meta["alpha"]), alpha, abs_tol=1e-6):
            return table
    raise CallError(f"{run.path} has no predictions at alpha {alpha:g} on its test set; finish the run first.")
