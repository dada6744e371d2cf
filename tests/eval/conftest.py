import json

import numpy as np
import pytest

from vlm_data.table_facts import table_name
from vlm_data.tables import Predictions, Rationales
from vlm_data.text import list_hash
from vlm_finetune.recipe import parse

NATURAL = {"invert": (1.6, 0.7), "colour": (1.9, 2.1), "canvas": (1.3, 0.9)}
CORRUPTIONS = {"noise": (2.1, 3.2), "blur": (1.9, 3.0)}
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def predictions(data, alpha, margins, *, n=200, classes=10, split="test", labelled=True, **facts):
    """Logits whose margin for the true class moves from margins[0] to margins[1], with a bonus in the middle."""
    rng = np.random.default_rng([len(data), *data.encode()])  # the same images at every alpha
    labels = rng.integers(0, classes, n)
    logits = rng.standard_normal((n, classes))
    margin = (1 - alpha) * margins[0] + alpha * margins[1] + 1.2 * alpha * (1 - alpha)
    logits[np.arange(n), labels] += margin * rng.exponential(1.0, n)
    names = {0.0: "zero-shot", 1.0: "fine-tuned"}
    meta = {
        "model": names.get(alpha, "interpolated"),
        "data": data,
        "split": split,
        "alpha": repr(float(alpha)),
        "role": "id",
        "shift": "",
        "group": "",
        "severity": "0",
        "class_names_hash": "c" * 16,
        "templates_hash": "t" * 16,
        "preprocess_hash": "p" * 16,
        "weights_hash": f"{round(alpha * 100):016d}",
        **facts,
    }
    ids = tuple(f"image-{row}" for row in range(n))
    sharp = (logits * (1 + 3 * alpha)).astype(np.float32)
    return Predictions(ids, labels if labelled else np.full(n, -1), sharp, meta)


def rationales_of(table, *, focus=None, missing=0.05, empty=0.03, flat=0.02, rule=0.5, **facts):
    """Where the relevance of a made-up model lies: on the object, and less so the more it was fine-tuned.

    Some images have no evidence, evidence outside of the picture, or a map that says nothing; the same at every alpha,
    but for the maps.
    """
    alpha = float(table.meta["alpha"])
    focus = 0.55 - 0.25 * alpha if focus is None else focus
    rng = np.random.default_rng([7, len(table), *table.meta["data"].encode()])  # the same objects at every alpha
    n = len(table)
    area = rng.uniform(0.1, 0.5, n)
    kind, noise = rng.random(n), rng.uniform(-0.3, 0.3, n)
    mass = np.clip(area + (1 - area) * (focus + noise + 0.1 * (table.predicted == table.labels)), 0, 1)
    status = np.full(n, "ok", dtype=object)
    status[kind < missing + empty] = "empty-evidence"
    status[kind < missing] = "no-evidence"
    status[(kind > 1 - flat) & (noise < 0.3 - 0.3 * alpha)] = "flat-map"
    ok = status == "ok"
    measures = {
        "mass": np.where(ok, mass, np.where(status == "empty-evidence", 0.0, np.nan)),
        "area": np.where(status == "no-evidence", np.nan, np.where(status == "empty-evidence", 0.0, area)),
        "normalised_mass": np.where(ok, mass / area, np.nan),
        "pointing": np.where(ok, (mass > 0.55).astype(float), np.nan),
    }
    meta = {**table.meta, "relevance_method": "attention", "layers": "last", "rule": f"mass>={rule:g}", **facts}
    return Rationales(table.ids, table.labels, table.predicted, measures, tuple(status), ok & (mass >= rule), meta)


def tables_of(alphas=ALPHAS, natural=NATURAL, corruptions=CORRUPTIONS, severities=2, **options):
    """All tables of a run on a made-up benchmark, the ID test set first."""
    tables = []
    for alpha in alphas:
        for split in ("test", "val"):
            tables.append(predictions("made", alpha, (2.2, 3.6), split=split, **options))
        for name, margins in natural.items():
            facts = {"role": "shift", "shift": name, "group": "natural"}
            tables.append(predictions(f"made/{name}", alpha, margins, **facts, **options))
        for name, margins in corruptions.items():
            for level in range(1, severities + 1):
                facts = {"role": "shift", "shift": name, "group": "corruption", "severity": str(level)}
                weaker = tuple(margin * (1.1 - 0.2 * level) for margin in margins)
                tables.append(predictions(f"made/{name}-{level}", alpha, weaker, **facts, **options))
    return tables


def log_events(epochs=4, steps=12, collapse=True):
    """What training logs: steps, epochs with tracked shifts, and a collapse noticed after the third epoch."""
    events = [{"event": "start", "phase": 0, "step": 0, "method": "Full", "trained_parameters": 217728}]
    for step in range(1, epochs * steps + 1):
        epoch = step / steps
        lr = 2e-3 * min(step / 6, 1) * (1 - step / (epochs * steps))
        loss = 1.5 * 0.7**epoch
        events.append({"event": "step", "phase": 0, "step": step, "epoch": epoch, "loss": loss, "lr": lr})
        if step % steps == 0:
            shifts = {"made/invert": 0.5 - 0.1 * epoch, "made/colour": 0.6 + 0.01 * epoch}
            scores = {"val_accuracy": 0.7 + 0.05 * epoch, "val_nll": 1 / epoch, "shifts": shifts}
            events.append({"event": "epoch", "phase": 0, "step": step, "epoch": step // steps, "best": True, **scores})
            if collapse and step == 3 * steps:
                fall = {"data": "made/invert", "zero_shot": 0.5, "accuracy": 0.2}
                events.append({"event": "collapse", "phase": 0, "step": step, "epoch": 3, **fall})
    return events


def write_run(path, tables, *, recipe=None, events=None, class_names=("zero", "one"), rationales=(), damage=()):
    """A run directory with these tables; `damage` names files that are left out."""
    path.mkdir(parents=True)
    (path / "recipe.toml").write_text(parse(recipe or {"method": {"name": "full"}}).to_toml())
    environment = {"command": ["vlm", "finetune", "--out", "my run"], "python": "3.11.7", "packages": {"torch": "2.15"}}
    (path / "environment.json").write_text(json.dumps(environment))
    manifest = {"base": "tiny", "head": "linear", "class_names": list(class_names), "weights_hash": "0" * 14 + "99"}
    (path / "model.json").write_text(json.dumps(manifest | {"class_names_hash": list_hash(class_names)}))
    if events is not None:
        (path / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    for table in tables:
        table.save(path / "predictions" / table_name(dict(table.meta)))
    for table in rationales:
        table.save(path / "rationales" / table_name(dict(table.meta)))
    for name in damage:
        (path / name).unlink()
    return path


@pytest.fixture(scope="session")
def made_tables():
    return tables_of


@pytest.fixture(scope="session")
def made_predictions():
    return predictions


@pytest.fixture(scope="session")
def made_rationales():
    return rationales_of


@pytest.fixture(scope="session")
def made_log():
    return log_events


@pytest.fixture(scope="session")
def made_run():
    return write_run
