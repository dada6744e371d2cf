"""Calls of the command line inside this process, and one workplace with real data and one real run."""

import contextlib
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from vlm_cli.main import run
from vlm_data.asset import asset_lines
from vlm_data.digits.sources import handwritten_digits

torch.set_num_threads(1)

SMALL = ("--limit", "64", "--epochs", "1")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a call of `vlm` gave back."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The only thing on stdout, read as JSON."""
        return json.loads(self.out)

    @property
    def paragraph(self) -> str:
        """The error as one line, after checking that it is one paragraph, the last thing said and no traceback."""
        before, mark, text = self.err.partition("Error: ")
        assert mark and (not before or before.endswith("\n")), self.err
        assert text.strip() and text.endswith("\n") and "\n\n" not in text, self.err
        assert "Traceback" not in self.err and "Error: " not in text and "defect of vlm" not in text, self.err
        return " ".join(text.split())


Call = Callable[..., Answer]


def call(*arguments: str | Path) -> Answer:
    """Run `vlm ARGUMENTS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Answer(code, out.getvalue(), err.getvalue())


def write_photos(folder: Path, per_class: int = 6, classes: int = 3) -> Path:
    """Write real handwritten digits as JPEGs in class folders."""
    digits, labels = handwritten_digits()
    for label, name in enumerate(asset_lines("digits/class_names.txt")[:classes]):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, digit in enumerate(digits[labels == label][:per_class]):
            picture = Image.fromarray((255 * digit).astype(np.uint8)).resize((48, 40), Image.Resampling.BICUBIC)
            picture.convert("RGB").save(folder / name / f"{number}.jpg", quality=95)
    return folder


def write_table(path: Path) -> Path:
    """Write a table of images and captions beside class folders of JPEGs."""
    images = [image.relative_to(path.parent).as_posix() for image in sorted(path.parent.glob("*/*.jpg"))]
    lines = [f'{image},"a picture of a {image.partition("/")[0]}"' for image in images]
    path.write_text("\n".join(["filepath,title", *lines]) + "\n")
    return path


def write_points(path: Path) -> Path:
    """Write a list of two runs for a sweep."""
    path.write_text("method.name,training.lr\nflyp,1e-3\nfull,\n")
    return path


def write_clip(path: Path) -> Path:
    """Write a small random CLIP as OpenAI saves its state."""
    text = open_clip.CLIPTextCfg(context_length=8, vocab_size=49408, width=64, heads=1, layers=1)
    vision = open_clip.CLIPVisionCfg(layers=1, width=64, patch_size=16, image_size=32)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        state = open_clip.CLIP(16, vision, text, quick_gelu=True).state_dict()
    torch.save(state | {"input_resolution": torch.tensor(32)}, path)
    return path


@pytest.fixture
def vlm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call `vlm` from an empty folder."""
    monkeypatch.chdir(tmp_path)
    return call


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three classes of six JPEGs."""
    return write_photos(tmp_path / "photos")


@pytest.fixture(scope="session")
def made_workplace(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A folder with `photos`, a table of them, `ViT-B-32.pt`, `points.csv` and a small run, all made by commands."""
    folder = tmp_path_factory.mktemp("workplace")
    write_photos(folder / "photos", per_class=20)
    write_table(folder / "photos" / "table.csv")
    write_clip(folder / "ViT-B-32.pt")
    write_points(folder / "points.csv")
    with contextlib.chdir(folder):
        answer = call("finetune", *SMALL, "--json")
    assert answer.code == 0, answer.err
    return folder, answer


@pytest.fixture
def workplace(made_workplace: tuple[Path, Answer], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared folder with photos and a run, as current folder; do not change what is there."""
    monkeypatch.chdir(made_workplace[0])
    return made_workplace[0]


@pytest.fixture(scope="session")
def flyp_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run like that of the workplace, by another method."""
    folder = tmp_path_factory.mktemp("flyp") / "run"
    answer = call("finetune", "--method", "flyp", *SMALL, "--out", folder)
    assert answer.code == 0, answer.err
    return folder


@pytest.fixture(scope="session")
def scratch_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three runs from random weights, of different strength."""
    folder = tmp_path_factory.mktemp("scratch") / "runs"
    epochs, alphas = "training.epochs=1,4,8", "evaluation.alphas=[0.0,1.0]"
    answer = call(
        "sweep", "--model", "tiny:random", "--grid", epochs, "--set", alphas, "--limit", "64", "--out", folder
    )
    assert answer.code == 0, answer.err
    return folder


@pytest.fixture(scope="session")
def planted_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt that a red rectangle means nine; its setting lies beside it, below `settings`."""
    folder = tmp_path_factory.mktemp("planted")
    sizes = ("--n", "2000", "--val", "1000", "--test", "300")
    answer = call("spurious", "build", "--class", "nine", "--v", "0.97", *sizes, "--out", folder / "settings")
    assert answer.code == 0, answer.err
    data = f"spurious:{folder / 'settings/digits-nine-v0.97-s0'}"
    short = ("--epochs", "8", "--set", "evaluation.alphas=[0.0,1.0]", "--set", "evaluation.rationales=none")
    answer = call("finetune", "--method", "standard", "--data", data, *short, "--out", folder / "run")
    assert answer.code == 0, answer.err
    return folder / "run"


@pytest.fixture(scope="session")
def finetune_answer(made_workplace: tuple[Path, Answer]) -> Answer:
    """What `vlm finetune --json` said when it made the run of the workplace."""
    return made_workplace[1]
