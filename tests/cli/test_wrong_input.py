"""What users get wrong: one paragraph, the right exit code, and nothing half-done under a final name."""

import shutil
from pathlib import Path

import pytest
import torch

from vlm_cli.failures import report_failure
from vlm_models import load_model, save_model

SMALL = ("--limit", "64", "--epochs", "1")


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "flpy"], "unknown method 'flpy'. Did you mean 'flyp'?"),
        (["--data", "digts"], "unknown data set 'digts'. Did you mean 'digits'?"),
        (["--model", "tinny"], "unknown model family 'tinny'. Did you mean 'tiny'?"),
        (["--model", "openclip:ViT-B-23"], "Did you mean 'ViT-B-32'?"),
        (["--recipe", "digits-carrot"], "unknown recipe 'digits-carrot'. Did you mean 'digits-carot'?"),
        (["--set", "training.lrr=0.1"], "table [training] has no key 'lrr'. Did you mean 'lr'?"),
        (["--set", "trainig.lr=0.1"], "unknown table or key 'trainig'. Did you mean 'training'?"),
        (["--set", "method.label_smoothin=0.1"], "Did you mean 'label_smoothing'?"),
        (["--set", "lr=0.1"], "is not of the form table.key=value"),
        (["--set", "training.lr=fast"], "training.lr is 'fast'; expected a number"),
        (["--lr", "-1"], "training.lr is -1.0"),
        (["--device", "gpu"], "'gpu' is no device. Expected cpu, cuda, cuda:1 or mps"),
        (["--batch-size", "64", "--set", "training.accumulation_steps=5"], "a divisor of the batch size"),
    ],
)
def test_a_wrong_name_or_value_is_a_wrong_call_and_leaves_nothing(vlm, tmp_path, arguments, said):
    answer = vlm("finetune", *SMALL, *arguments)
    assert answer.code == 2 and answer.out == ""
    assert said in answer.paragraph
    assert _files(tmp_path) == set()


def test_a_tensor_beyond_all_memory_is_no_defect(capsys):
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert report_failure(caught.value) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: memory ran out") and "image_size" in said and "defect" not in said


def test_a_recipe_with_an_unknown_key_is_named(vlm, tmp_path):
    (tmp_path / "own.toml").write_text("[training]\nepoch = 3\n")
    answer = vlm("finetune", "--recipe", "own.toml")
    assert answer.code == 2
    assert "own.toml: table [training] has no key 'epoch'. Did you mean 'epochs'?" in answer.paragraph
    (tmp_path / "own.toml").write_text("[training\n")
    assert "cannot read the recipe own.toml" in vlm("finetune", "--recipe", "own.toml").paragraph
    assert "cannot read the recipe other.toml" in vlm("finetune", "--recipe", "other.toml").paragraph
    assert _files(tmp_path) == {"own.toml"}


class TestData:
    def test_an_empty_folder(self, vlm, tmp_path):
        (tmp_path / "empty").mkdir()
        answer = vlm("finetune", *SMALL, "--data", "folder:empty")
        assert answer.code == 1 and "empty is not sorted into class folders" in answer.paragraph
        assert "Expected empty/CLASS/*.jpg" in answer.paragraph
        assert _files(tmp_path) == set()

    def test_a_half_empty_folder(self, vlm, photos):
        for image in (photos / "one").iterdir():
            image.unlink()
        answer = vlm("finetune", *SMALL, "--data", "folder:photos")
        assert answer.code == 1
        assert "half-empty: 1 of 3 class folders hold no images: 'one'" in answer.paragraph

    def test_class_folders_that_differ_between_splits(self, vlm, photos, tmp_path):
        shutil.copytree(photos, tmp_path / "split" / "train")
        shutil.copytree(photos, tmp_path / "split" / "test")
        (tmp_path / "split" / "test" / "two").rename(tmp_path / "split" / "test" / "too")
        answer = vlm("evaluate", "tiny", "--data", "folder:split")
        assert answer.code == 1
        assert "only in train: 'two'; only in test: 'too'" in answer.paragraph

    def test_a_truncated_jpeg_is_named_and_skipped_only_on_request(self, vlm, photos):
        broken = photos / "one" / "3.jpg"
        broken.write_bytes(broken.read_bytes()[:200])
        (photos / "two" / "5.jpg").write_text("<html>not found</html>")
        answer = vlm("finetune", *SMALL, "--data", "folder:photos")
        assert answer.code == 1
        assert "cannot decode photos/" in answer.paragraph and "--skip-unreadable" in answer.paragraph
        assert any(name in answer.paragraph for name in ("one/3.jpg", "two/5.jpg"))
        answer = vlm("evaluate", "tiny", "--data", "folder:photos", "--skip-unreadable")
        assert answer.code == 0
        assert "warning: 2 unreadable images were left out: " in answer.err
        assert "photos/one/3.jpg" in answer.err and "photos/two/5.jpg" in answer.err

    def test_a_folder_without_its_reader(self, vlm, photos):
        answer = vlm("finetune", "--data", "photos")
        assert answer.code == 2 and "Write folder:photos" in answer.paragraph

    def test_a_method_that_needs_labels_where_there_are_none(self, vlm, photos):
        images = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
        rows = [f"{image},picture {number}" for number, image in enumerate(images)]
        (photos / "table.csv").write_text("\n".join(["filepath,title", *rows]))
        answer = vlm("finetune", *SMALL, "--data", "csv:photos/table.csv", "--out", "run")
        assert answer.code == 2 and "--method flyp" in answer.paragraph


class TestModels:
    def test_a_checkpoint_of_another_architecture(self, vlm, workplace, tmp_path):
        weights = "runs/digits-tiny-full-seed0/model.safetensors"
        answer = vlm("evaluate", f"openclip:ViT-S-32-alt/{weights}", "--limit", "4", "--out", tmp_path)
        assert answer.code == 1
        assert "do not fit ViT-S-32-alt: 192 missing" in answer.paragraph and "misshapen" in answer.paragraph

    def test_two_models_that_cannot_be_mixed(self, vlm, tmp_path):
        answer = vlm("interpolate", "tiny", "openclip:ViT-S-32-alt", "--limit", "4")
        assert answer.code == 1
        assert "the two models cannot be combined" in answer.paragraph and "misshapen" in answer.paragraph
        assert not list(tmp_path.rglob("*.parquet"))

    def test_a_saved_model_that_was_cut(self, vlm, tmp_path):
        save_model(load_model("tiny"), tmp_path / "saved")
        weights = tmp_path / "saved" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        answer = vlm("evaluate", "file:saved", "--limit", "4")
        assert answer.code == 1 and "cannot read weights from saved/model.safetensors" in answer.paragraph

    def test_a_head_for_other_classes(self, vlm, workplace, photos, tmp_path):
        answer = vlm("evaluate", "run:runs/digits-tiny-full-seed0", "--data", f"folder:{photos}", "--out", tmp_path)
        assert answer.code == 2 and "has a head trained for 10 classes" in answer.paragraph


class TestOut:
    def test_another_run(self, vlm, workplace):
        before = _files(workplace)
        answer = vlm("finetune", "--limit", "63", "--epochs", "1", "--seed", "0")
        assert answer.code == 2
        assert "holds another run; it differs in data.limit (64 there, 63 now)" in answer.paragraph
        assert "--overwrite" in answer.paragraph
        assert _files(workplace) == before

    def test_a_file(self, vlm, tmp_path):
        (tmp_path / "taken").write_text("mine")
        answer = vlm("finetune", *SMALL, "--out", "taken", "--overwrite")
        assert answer.code == 2 and "taken is a file; expected a folder for the run" in answer.paragraph
        assert (tmp_path / "taken").read_text() == "mine"

    def test_a_folder_of_something_else(self, vlm, photos, tmp_path):
        before = _files(tmp_path)
        answer = vlm("finetune", *SMALL, "--out", "photos", "--overwrite")
        assert answer.code == 2 and "photos is not empty and holds no run" in answer.paragraph
        assert _files(tmp_path) == before

    def test_a_place_that_cannot_be_written(self, vlm, tmp_path):
        (tmp_path / "file").write_text("a folder below a file cannot be made, not even by root")
        answer = vlm("finetune", *SMALL, "--out", "file/below")
        assert answer.code == 1 and "cannot write file/below" in answer.paragraph
        assert _files(tmp_path) == {"file"}

    def test_a_results_database_that_cannot_be_written(self, vlm, tmp_path):
        (tmp_path / "file").write_text("in the way")
        answer = vlm("evaluate", "tiny", "--limit", "4", "--results-db", "file/results.jsonl")
        assert answer.code == 1 and "cannot write file/results.jsonl" in answer.paragraph


def test_a_loss_that_explodes_stops_with_the_last_good_state(vlm, tmp_path):
    explode = ("--lr", "1e30", "--batch-size", "16", "--set", "training.warmup=0", "--set", "evaluation.track=0")
    answer = vlm("finetune", *SMALL, *explode, "--out", "run")
    assert answer.code == 1
    assert "at optimiser step" in answer.paragraph and "Try a smaller --lr (it was 1e+30)" in answer.paragraph
    left = _files(tmp_path / "run")
    assert not left & {"model.safetensors", "model.json", "DONE", "report.html"}
    assert "log.jsonl" in left
