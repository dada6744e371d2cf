"""Every format that weights are published in is read by its content; what is damaged or too large is told."""

import argparse
import hashlib
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save, save_file

from vlm_models.errors import CheckpointError
from vlm_models.memory import available_memory, require_memory
from vlm_models.weight_files import read_weight_file

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor(2.5).half(), "empty": torch.zeros(0, 3)}


def assert_same(found, expected=STATE):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def refused(path, **limits):
    """Return the message of the error that reading a file ends in: one paragraph that is not long."""
    with pytest.raises(CheckpointError) as caught:
        read_weight_file(path, **limits)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 900
    return message


class TestFormats:
    @pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w"])
    def test_safetensors_under_any_name(self, tmp_path, name):
        save_file(STATE, tmp_path / name, metadata={"format": "pt", "family": "clip"})
        found = read_weight_file(tmp_path / name)
        assert_same(found.tensors)
        assert (found.format, found.facts) == ("safetensors", {"format": "pt", "family": "clip"})

    @pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
    @pytest.mark.parametrize("is_zip", [True, False])
    def test_state_dicts_of_torch_under_any_name(self, tmp_path, is_zip, name):
        torch.save(STATE, tmp_path / name, _use_new_zipfile_serialization=is_zip)
        found = read_weight_file(str(tmp_path / name))
        assert_same(found.tensors)
        assert found.format == ("torch zip" if is_zip else "torch legacy")

    def test_the_hash_is_that_of_the_file(self, tmp_path):
        torch.save(STATE, tmp_path / "w.pt")
        expected = hashlib.sha256((tmp_path / "w.pt").read_bytes()).hexdigest()
        assert read_weight_file(tmp_path / "w.pt").sha256 == expected

    def test_torchscript_is_read_without_running_it(self, tmp_path):
        """Bit for bit what `torch.jit.load` gives, which compiles the code in the file."""
        vision = open_clip.CLIPVisionCfg(layers=2, width=64, patch_size=16, image_size=32)
        text = open_clip.CLIPTextCfg(context_length=8, vocab_size=50, width=64, heads=1, layers=1)
        clip = open_clip.CLIP(16, vision, text, quick_gelu=True).eval()
        clip.visual.conv1.half()
        clip.register_buffer("input_resolution", torch.tensor(32))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated; the files that it wrote stay
            traced = torch.jit.trace(
                clip.float(), (torch.randn(1, 3, 32, 32), torch.zeros(1, 8, dtype=torch.long)), check_trace=False
            )
            traced.visual.conv1.half()
            traced.save(tmp_path / "ViT.pt")
            expected = torch.jit.load(tmp_path / "ViT.pt").state_dict()
        found = read_weight_file(tmp_path / "ViT.pt")
        assert len(expected) > 40 and "input_resolution" in expected
        assert_same(found.tensors, expected)
        assert found.format == "torchscript"
        assert found.classes["visual.transformer.resblocks.1.mlp.gelu"] == "open_clip.transformer.QuickGELU"

    def test_tensors_stay_in_the_file_until_they_are_used(self, tmp_path):
        torch.save({"w": torch.zeros(1 << 24)}, tmp_path / "w.pt")  # 64 MB
        save_file({"w": torch.zeros(1 << 24)}, tmp_path / "w.safetensors")
        program = (
            "import sys; from pathlib import Path; from vlm_models.weight_files import read_weight_file as read\n"
            "def taken(): return int(Path('/proc/self/statm').read_text().split()[1]) * 4096\n"
            "read(sys.argv[1]); before = taken(); files = [read(path) for path in sys.argv[1:]]\n"
            "assert taken() - before < 20e6, taken() - before\n"
            "assert all(float(file.tensors['w'].sum()) == 0 for file in files) and taken() - before > 100e6"
        )
        if not os.path.exists("/proc/self/statm"):
            pytest.skip("the system does not tell how much memory a process has")
        files = [str(tmp_path / "w.pt"), str(tmp_path / "w.safetensors")]
        done = subprocess.run([sys.executable, "-c", program, *files], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


class TestShards:
    @pytest.fixture
    def folder(self, tmp_path):
        places = {}
        for number, names in enumerate([["a.weight"], ["b", "empty"]], start=1):
            name = f"model-0000{number}-of-00002.safetensors"
            save_file({one: STATE[one] for one in names}, tmp_path / name)
            places |= dict.fromkeys(names, name)
        self.index = tmp_path / "model.safetensors.index.json"
        self.write(places)
        return tmp_path

    def write(self, places):
        self.index.write_text(json.dumps({"metadata": {"total_size": 26}, "weight_map": places}))

    @pytest.mark.parametrize("what", ["index", "folder"])
    def test_they_are_one_model(self, folder, what):
        found = read_weight_file(self.index if what == "index" else folder)
        assert_same(found.tensors)
        assert (found.format, found.facts["total_size"]) == ("sharded safetensors", 26)
        assert len(found.shards) == 2
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in (self.index, *found.shards)))
        assert found.sha256 == digest.hexdigest()

    def test_a_missing_one_is_named(self, folder):
        (folder / "model-00002-of-00002.safetensors").unlink()
        assert "1 of 2 shards of" in refused(folder) and "model-00002-of-00002.safetensors" in refused(folder)

    def test_a_cut_one_is_named(self, folder):
        path = folder / "model-00001-of-00002.safetensors"
        path.write_bytes(path.read_bytes()[:-3])
        assert f"cannot read the shard {path}" in refused(folder)

    def test_one_without_its_tensor(self, folder):
        self.write({name: "model-00001-of-00002.safetensors" for name in STATE})
        assert "lacks 2 tensors that" in refused(folder) and "such as 'b'." in refused(folder)

    @pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "", "..\\x"])
    def test_a_file_elsewhere_is_not_opened(self, folder, name):
        self.write({"a.weight": name})
        assert f"names {name!r}, which is no file beside it" in refused(folder)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 3}}', "\x00"])
    def test_a_damaged_index(self, folder, text):
        self.index.write_text(text)
        assert "index" in refused(folder)


class TestFolders:
    def test_the_usual_file_in_it(self, tmp_path):
        torch.save(STATE, tmp_path / "pytorch_model.bin")
        assert_same(read_weight_file(tmp_path).tensors)
        save_file({"w": torch.ones(1)}, tmp_path / "model.safetensors")
        assert_same(read_weight_file(tmp_path).tensors, {"w": torch.ones(1)})

    def test_none_in_it(self, tmp_path):
        assert "a folder without weights under a usual name. Expected model.safetensors" in refused(tmp_path)
        assert "there is no weight file" in refused(tmp_path / "nothing")


class TestWrappers:
    @pytest.mark.parametrize(
        "wrapped",
        [
            STATE,
            {"state_dict": STATE, "epoch": 3},
            {"model": STATE, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}},
            {"model_state_dict": STATE, "loss": 0.5},
            {"checkpoint": {"model": STATE}},
            {"anything": STATE, "ema": {"w": torch.ones(1)}},
            {"state_dict": {f"module.{name}": tensor for name, tensor in STATE.items()}},
            {f"_orig_mod.module.{name}": tensor for name, tensor in STATE.items()},
            {"model": STATE, "model_ema": {"w": torch.ones(1)}},
        ],
    )
    def test_the_weights_are_found(self, tmp_path, wrapped):
        torch.save(wrapped, tmp_path / "w.pt")
        found = read_weight_file(tmp_path / "w.pt")
        assert_same(found.tensors)
        assert not {"optimizer", "ema", "model_ema", "state_dict"} & found.facts.keys()

    def test_a_prefix_of_some_names_belongs_to_them(self, tmp_path):
        state = {"module.a": torch.ones(1), "b": torch.ones(1)}
        torch.save(state, tmp_path / "w.pt")
        assert_same(read_weight_file(tmp_path / "w.pt").tensors, state)

    def test_plain_facts_are_kept(self, tmp_path):
        arguments = argparse.Namespace(lr=3e-5, model="ViT-B/32", eval=["ImageNet", "ImageNetV2"], odd=object)
        torch.save(
            {"model": STATE, "epoch": 4, "args": arguments, "best": np.float64(0.7), "scheduler": {"last": 1}},
            tmp_path / "w.pt",
        )
        assert read_weight_file(tmp_path / "w.pt").facts == {
            "epoch": 4,
            "args": {"lr": 3e-5, "model": "ViT-B/32", "eval": ["ImageNet", "ImageNetV2"]},
        }

    def test_facts_without_an_end(self, tmp_path):
        inner: list = []
        for _ in range(60):  # each holds the one before twice: 2^60 lists
            inner = [inner, inner]
        torch.save({"model": STATE, "config": inner}, tmp_path / "w.pt")
        assert_same(read_weight_file(tmp_path / "w.pt").tensors)

    @pytest.mark.parametrize(
        ("saved", "message"),
        [
            ({"state": {0: {"step": torch.ones(1)}}, "param_groups": []}, "only 'state', 'param_groups'"),
            ({}, "only nothing"),
            ({"a": {"w": torch.ones(1)}, "b": {"w": torch.ones(1)}}, "2 sets of them, 'a', 'b'"),
            (torch.ones(3), "it holds a single tensor"),
            ([torch.ones(3)], "it holds a list"),
            (argparse.Namespace(lr=1), "only 'lr'"),
            (None, "it holds a NoneType"),
        ],
    )
    def test_what_is_no_model(self, tmp_path, saved, message):
        torch.save(saved, tmp_path / "w.pt")
        assert message in refused(tmp_path / "w.pt")

    @pytest.mark.filterwarnings("ignore:Validating")
    def test_tensors_that_cannot_be_weights(self, tmp_path):
        torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "w.pt")
        assert "the tensor w is sparse" in refused(tmp_path / "w.pt")


class TestWrongFiles:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "it is empty"),
            (b"<!DOCTYPE html><html>", "it is a web page"),
            (b"\n <html>", "it is a web page"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
            (b"\x1f\x8b\x08", "a gzip archive"),
            (b"\x93NUMPY\x01", "an array of NumPy"),
            (b"hello", r"of no known format; it begins with b'hello'. Expected a whole"),
            (b"\xff\xff\xff\xff\xff\xff\xff\x7f{", "of no known format"),
            (b"PK\x03\x04 cut", "File is not a zip file"),
            (b"\x80\x02N.", "it holds a NoneType"),
            (b"\x80\x04", "cannot read weights from"),
        ],
    )
    def test_their_content_is_told(self, tmp_path, content, message):
        (tmp_path / "w.pt").write_bytes(content)
        assert message in refused(tmp_path / "w.pt") and str(tmp_path / "w.pt") in refused(tmp_path / "w.pt")

    @pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
    def test_cut_anywhere(self, tmp_path, form):
        path = tmp_path / "w.pt"
        path.write_bytes(save(STATE)) if form == "safetensors" else torch.save(
            STATE, path, _use_new_zipfile_serialization=form == "zip"
        )
        whole = path.read_bytes()
        for size in range(0, len(whole), max(len(whole) // 40, 1)):
            path.write_bytes(whole[:size])
            assert "cannot read weights from" in refused(path)

    @pytest.mark.parametrize("form", ["safetensors", "zip", "legacy", "module", "module in a zip"])
    def test_damage_anywhere_is_told_or_harmless(self, tmp_path, form):
        """Three hundred files with a few bytes changed, lost or added: an error in one line, or tensors."""
        path, module, draw = tmp_path / "w.pt", torch.nn.Linear(3, 4), random.Random(0)
        if form == "safetensors":
            path.write_bytes(save(STATE))
        elif form == "module":
            path.write_bytes(pickle.dumps(module))
        else:
            saved = module if "module" in form else STATE
            torch.save(saved, path, _use_new_zipfile_serialization="zip" in form)
        whole = path.read_bytes()
        for _ in range(300):
            content = bytearray(whole)
            for _ in range(draw.randint(1, 4)):
                place = draw.randrange(len(content))
                content[place : place + draw.randint(0, 3)] = draw.randbytes(draw.randint(0, 3))
            path.write_bytes(content)
            try:
                assert all(isinstance(one, torch.Tensor) for one in read_weight_file(path).tensors.values())
            except CheckpointError as error:
                assert str(error).isprintable() and len(str(error)) < 1000

    def test_a_zip_of_something_else(self, tmp_path):
        np.savez(tmp_path / "w.npz", a=np.ones(3))
        assert "a zip archive that PyTorch did not write" in refused(tmp_path / "w.npz")

    def test_a_packed_archive(self, tmp_path):
        """Ten megabytes of zeros in ten kilobytes; a bomb would have as many gigabytes."""
        torch.save({"w": torch.zeros(2_500_000)}, tmp_path / "plain.pt")
        with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "w.pt", "w") as packed:
            for name in plain.namelist():
                packed.writestr(name, plain.read(name), compress_type=zipfile.ZIP_DEFLATED)
        assert (tmp_path / "w.pt").stat().st_size < 20_000
        assert "is a packed archive" in refused(tmp_path / "w.pt")

    @pytest.mark.parametrize("more", [{}, {"n": argparse.Namespace()}], ids=["plain", "with a namespace"])
    def test_one_bit_of_a_number(self, tmp_path, more):
        """PyTorch itself reads such a file as if nothing had happened."""
        path = tmp_path / "w.pt"
        torch.save({"w": torch.arange(4096.0), **more}, path)
        content = bytearray(path.read_bytes())
        content[content.index(torch.arange(4000.0, 4096.0).numpy().tobytes())] ^= 1
        path.write_bytes(content)
        message = refused(path)
        assert "data/0 is not what was written: its checksum differs" in message and "copy or download" in message

    def test_an_archive_without_checksums(self, tmp_path):
        before = torch.serialization.get_crc32_options()
        torch.serialization.set_crc32_options(False)
        try:
            torch.save(STATE, tmp_path / "w.pt")
        finally:
            torch.serialization.set_crc32_options(before)
        assert_same(read_weight_file(tmp_path / "w.pt").tensors)

    def test_numbers_that_are_not_all_there(self, tmp_path):
        torch.save({"w": torch.zeros(4), "n": argparse.Namespace()}, tmp_path / "whole.pt")
        with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "w.pt", "w") as short:
            for name in whole.namelist():
                content = whole.read(name)
                short.writestr(name, content[:-1] if "/data/" in name else content)
        assert "15 bytes where 16 should be, in data/0" in refused(tmp_path / "w.pt")

    def test_numbers_in_the_other_byte_order(self, tmp_path):
        torch.save({"w": torch.zeros(4), "n": argparse.Namespace()}, tmp_path / "whole.pt")
        with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "w.pt", "w") as other:
            for name in whole.namelist():
                other.writestr(name, b"big" if name.endswith("byteorder") else whole.read(name))
        assert "the other byte order" in refused(tmp_path / "w.pt")

    def test_a_header_of_safetensors_that_claims_the_moon(self, tmp_path):
        header = json.dumps({"w": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
        (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
        assert "cannot read weights from" in refused(tmp_path / "w.safetensors")


class TestMemory:
    def test_a_file_that_has_to_be_copied_is_compared_with_what_is_free(self, tmp_path):
        torch.save(STATE, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
        os.truncate(tmp_path / "w.pt", 40 * 10**9)  # sparse: takes no room on the disk
        message = refused(tmp_path / "w.pt", memory=8 * 10**9)
        assert "takes 40.0 GB of memory, but only 8.0 GB are free" in message

    def test_one_that_is_mapped_is_not(self, tmp_path):
        torch.save({"w": torch.zeros(1000)}, tmp_path / "w.pt")
        assert read_weight_file(tmp_path / "w.pt", memory=10).tensors["w"].shape == (1000,)

    def test_a_file_larger_than_any_memory_is_refused_and_not_read(self, tmp_path):
        torch.save(STATE, tmp_path / "w.pt")
        os.truncate(tmp_path / "w.pt", 10**13)
        message = refused(tmp_path / "w.pt")
        assert "not enough memory" in message or "cannot read weights" in message

    def test_what_the_system_tells(self, tmp_path):
        (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2000 kB\n")
        assert available_memory(tmp_path / "meminfo", tmp_path) == 2_048_000
        (tmp_path / "memory.max").write_text("max\n")
        (tmp_path / "memory.current").write_text("500\n")
        (tmp_path / "memory.stat").write_text("file 70\ninactive_file 100\n")
        assert available_memory(tmp_path / "meminfo", tmp_path) == 2_048_000
        (tmp_path / "memory.max").write_text("1000\n")
        assert available_memory(tmp_path / "meminfo", tmp_path) == 600
        require_memory(600, "this", available_memory(tmp_path / "meminfo", tmp_path))
        with pytest.raises(CheckpointError, match=r"this takes 0\.000601 MB of memory, but only 0\.0006 MB are free"):
            require_memory(601, "this", 600)
