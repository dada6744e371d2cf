"""What a rationale is for: a model that looks at the object and one that reads a label in the corner."""

import numpy as np
import torch

from vlm_data.benchmark import EvaluationSet
from vlm_data.dataset import ArrayDataset
from vlm_explain.rationale import rationales_of
from vlm_explain.relevance import RelevanceOptions
from vlm_models import load_encoder
from vlm_models.classifier import LINEAR, Classifier, LinearHead

COLOURS = np.array([[230, 40, 40], [40, 200, 60], [60, 80, 240]], dtype=np.uint8)
NAMES = ("red", "green", "blue")


def squares(count, seed, *, honest=True, painted=True):
    """Images of a square, the evidence, of the colour of its class if `honest`; if `painted`, a corner has it, too."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    images = rng.integers(90, 130, (count, 32, 32, 3)).astype(np.uint8)
    masks = np.zeros((count, 32, 32), dtype=bool)
    shown = labels if honest else rng.integers(0, 3, count)
    for row in range(count):
        left, top = rng.integers(8, 17, 2)
        masks[row, top : top + 16, left : left + 16] = True
        images[row][masks[row]] = COLOURS[shown[row]]
        if painted:
            images[row, :8, :8] = COLOURS[labels[row]]
    return ArrayDataset("squares", "test", tuple(map(str, range(count))), labels, images, masks)


def trained(data, steps=40):
    """Return the tiny model after some steps of fine-tuning on images."""
    encoder = load_encoder("tiny")
    generator = torch.Generator().manual_seed(0)
    model = Classifier(encoder, LinearHead(torch.randn(3, 64, generator=generator)), LINEAR, NAMES, ("{c}",))
    images, labels = torch.from_numpy(data.images).permute(0, 3, 1, 2), torch.from_numpy(data.labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        rows = torch.randint(0, len(labels), (32,), generator=generator)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
        optimizer.step()
    return model.eval()


def test_a_model_that_reads_the_corner_is_right_for_the_wrong_reason():
    test = EvaluationSet("squares", "id", squares(100, seed=1))
    models = {
        "honest": trained(squares(300, seed=0, painted=False)),
        "cheat": trained(squares(300, seed=0, honest=False)),
    }
    for layers, margin in (("last", 0.4), ("all", 0.05)):
        tables = {name: rationales_of(model, test, RelevanceOptions(layers=layers)) for name, model in models.items()}
        assert all(table.correct.mean() > 0.95 for table in tables.values())  # accuracy does not tell them apart
        mass = {name: table.measures["mass"].mean() for name, table in tables.items()}
        trust = {name: table.rational[table.correct].mean() for name, table in tables.items()}
        assert mass["honest"] > mass["cheat"] + 0.15
        assert trust["honest"] > trust["cheat"] + margin
