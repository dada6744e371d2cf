"""What the report of a run says, apart from its figures."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlm_eval.report.features import COLUMNS, features_as_text, features_note
from vlm_eval.report.findings import Findings
from vlm_eval.report.model_tables import choices_as_text, differences_as_text, rescaled_as_text
from vlm_eval.report.rationality import gallery_source, rationality_as_text
from vlm_eval.report.spurious import spurious_as_text
from vlm_eval.report.tables import TextTable, alphas_as_text, calibration_as_text, scores_as_text
from vlm_eval.report.wording import collapse_warning, headline, verdict
from vlm_eval.run_files import RECIPE
from vlm_eval.score_table import ID
from vlm_eval.spurious.discovery_file import SPURIOUS

_CLASS_NAMES_SHOWN = 30


def report_content(findings: Findings) -> dict[str, Any]:
    """Return the variables of the report's template, all but the figures: text, ready to be escaped and set."""
    files, alpha = findings.files, findings.alpha
    chosen = bool(files.recipe.get("evaluation", {}).get("choose_alpha"))
    return {
        "title": _title(files.recipe),
        "lead": _lead(findings),
        "warning": collapse_warning(findings.curve.collapses) if findings.curve else "",
        "notes": _notes(findings),
        "headline": headline(findings.summary),
        "verdict": verdict(findings.summary, findings.resampled, alpha, chosen),
        "summary": scores_as_text(findings.summary),
        "has_groups": any("worst_group_accuracy" in row["metrics"] for row in findings.rows),
        "has_corruptions": "corruption" in findings.summary.groups,
        "alphas": [alphas_as_text(findings.table, alpha, metric) for metric in ("accuracy", "ece")]
        if len(findings.table.lines) > 1
        else [],
        "alpha_rule": _alpha_rule(alpha, chosen),
        "calibration": calibration_as_text(findings),
        "choices": choices_as_text(findings.choices) if len(findings.table.lines) > 1 else TextTable(()),
        "rescaled": rescaled_as_text(findings.summary),
        "differences": differences_as_text(findings.differences),
        "worst": findings.worst_shift.label if findings.worst_shift else "",
        "rationality": rationality_as_text(findings.rationality) if findings.rationality else None,
        "gallery": gallery_source(findings.files.path),
        "spurious": spurious_as_text(findings.files.path / SPURIOUS, findings.discovery, findings.mitigation),
        "feature_heads": list(COLUMNS),
        "features": features_as_text(findings.spectra),
        "features_note": features_note(findings.spectra),
        "training_note": _training_note(findings),
        "command": _command(files.environment.get("command", [])),
        "recipe_command": shlex.join(
            ["vlm", "finetune", "--recipe", str(files.path / RECIPE), "--out", "NEW_DIRECTORY"]
        ),
        "recipe": (files.path / RECIPE).read_text(encoding="utf-8"),
        "facts": _facts(findings),
        "run_name": shlex.quote(str(files.path)),
        "against": shlex.quote(str(findings.before)) if findings.mitigation else "",
    }


def _title(recipe: Mapping[str, Any]) -> str:
    method = recipe.get("method", {}).get("name", "full")
    rank = recipe.get("lora", {}).get("rank", 0)
    lora = f", LoRA of rank {rank}" if rank else ""
    model, data = recipe.get("model", {}).get("spec", "?"), recipe.get("data", {}).get("name", "?")
    return f"{model} fine-tuned on {data}: {method}{lora}"


def _lead(findings: Findings) -> str:
    known = findings.summary.members(ID)
    sizes = {row["data"]: row["n"] for row in findings.rows if row["split"] == "test" and row["severity"] is None}
    shifts = len(findings.summary.members("all"))
    parts = [
        f"seed {findings.files.recipe.get('training', {}).get('seed', 0)}",
        *[f"{sizes[column.key]} ID test images" for column in known],
        *([f"{shifts} shift{'s' if shifts > 1 else ''}"] if shifts else []),
    ]
    return ", ".join(parts)


def _notes(findings: Findings) -> list[str]:
    notes = []
    if not findings.files.manifest:
        notes.append("Training has not ended: there is no fine-tuned model in the run directory yet.")
    notes += [f"Warning: {event['text']}" for event in findings.files.events if event.get("event") == "warning"]
    if findings.unlabelled:
        notes.append(f"Predicted but not scored, because no sample has a label: {', '.join(findings.unlabelled)}.")
    if not findings.rows:
        notes.append("There are no scored predictions in the run directory, so there is no verdict.")
    return notes


def _alpha_rule(alpha: float, chosen: bool) -> str:
    if chosen:
        return f"Alpha = {alpha:g} was chosen as the best on ID validation; nothing in ID data rewards robustness."
    return f"Alpha = {alpha:g} was set in advance; no test set had a part in it."


def _training_note(findings: Findings) -> str:
    start = next((event for event in findings.files.events if event.get("event") == "start"), {})
    parts = []
    if "trained_parameters" in start:
        inside = f" (adapters in {start['adapted_modules']} modules)" if "adapted_modules" in start else ""
        parts.append(f"{start['trained_parameters']:,} trained parameters{inside}")
    if "total_steps" in start:
        parts.append(f"{start['total_steps']:,} optimiser steps")
    if "processes" in start:
        parts.append(
            f"{start['processes']} process{'es' if start['processes'] > 1 else ''} on {start.get('device', '?')}"
        )
    curve = findings.curve
    if curve and curve.diverged is not None:
        parts.append(f"stopped at epoch {curve.diverged:.2f}, because the loss was not finite")
    return f"{', '.join(parts)}." if parts else ""


def _command(words: Sequence[str]) -> str:
    """Return the command line of `sys.argv`, as a user types it."""
    if not words:
        return ""
    program = Path(words[0]).name
    return shlex.join([*(["python", "-m", "vlm_cli"] if program.startswith("__main__") else [program]), *words[1:]])


def _facts(findings: Findings) -> dict[str, list[tuple[str, str]]]:
    environment, manifest = findings.files.environment, findings.files.manifest
    names = manifest.get("class_names", [])
    shown = ", ".join(names[:_CLASS_NAMES_SHOWN])
    more = f" and {len(names) - _CLASS_NAMES_SHOWN} more" if len(names) > _CLASS_NAMES_SHOWN else ""
    model = [(key, str(manifest[key])) for key in ("base", "method", "lora_rank", "epoch", "head") if key in manifest]
    model += [(f"{len(names)} classes", shown + more)] if names else []
    model += [("prompt templates", " | ".join(manifest["templates"]))] if manifest.get("templates") else []
    found = {
        "Model": model,
        "Environment": [(key, _flat(value)) for key, value in environment.items() if key != "command" and value],
        "Hashes": _hashes(findings),
    }
    return {name: facts for name, facts in found.items() if facts}


def _hashes(findings: Findings) -> list[tuple[str, str]]:
    """What identifies models and data, from the rows of the ID test set and from the manifest."""
    found = {
        f"{key} (saved model)": str(findings.files.manifest[key])
        for key in ("weights_hash", "class_names_hash", "templates_hash")
        if key in findings.files.manifest
    }
    for row in findings.rows:
        if row["role"] == ID and row["split"] == "test" and row["alpha"] in (0.0, 1.0, findings.alpha):
            for key, value in sorted(row["hashes"].items()):
                found[f"weights, alpha = {row['alpha']:g}" if key == "weights" else key.replace("_", " ")] = value
    return list(found.items())


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
