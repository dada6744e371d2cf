"""Every command of the documentation runs as it is written, page by page, in a folder of its own."""

import json
import re
import shlex
from pathlib import Path

import pytest

from specimens import write_specimen
from specimens.fusion import SIZES

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page.stem for page in DOCS.glob("*.md") if "```bash" in page.read_text())


def _commands(page: str) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (DOCS / f"{page}.md").read_text(), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def _write_published_files(folder):
    """Put small random models where the pages have published ones."""
    clip, albef, blip = (folder / name for name in ("clip", "albef", "blip"))
    for place in (clip, albef, blip):
        place.mkdir()
    write_specimen("clip", clip)
    (clip / "model.pt").rename(folder / "ViT-B-32.pt")
    for family, place in (("albef", albef), ("blip", blip)):
        write_specimen(family, place)
        (place / "weights.pth").rename(folder / f"{family.upper()}.pth")
    (albef / "vocab.txt").rename(folder / "vocab.txt")
    heads = {"vision_heads": SIZES.vision_heads, "text_heads": SIZES.text_heads}
    (folder / "config.json").write_text(json.dumps(heads))


def test_there_is_a_page_for_the_main_job():
    assert "vlm finetune" in _commands("first-run")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(vlm, made_workplace, tmp_path, page):
    _write_published_files(tmp_path)
    photos = made_workplace[0] / "photos"
    (tmp_path / "points.csv").symlink_to(made_workplace[0] / "points.csv")
    (tmp_path / "photos").symlink_to(photos)
    header, *rows = (photos / "table.csv").read_text().splitlines()
    (tmp_path / "pairs.csv").write_text("\n".join([header, *[f"photos/{row}" for row in rows]]) + "\n")
    for command in _commands(page):
        program, *words = shlex.split(command)
        assert program == "vlm", f"{page}: {command!r} is no command of this project"
        answer = vlm(*words)
        assert answer.code == 0, f"{page}: {command}\n{answer.err}"


@pytest.mark.parametrize("page", sorted(page.stem for page in DOCS.glob("*.md") if "```python" in page.read_text()))
def test_the_python_of_a_page_runs(tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(), flags=re.DOTALL):
        exec(compile(block, f"{page}.md", "exec"), {})


def test_pages_link_to_pages_that_exist():
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
