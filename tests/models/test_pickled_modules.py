"""Whole modules as WiSE-FT, FLYP and CaRot pickle them are read as tensors; what would run a program does not run."""

import os
import pickle
import subprocess
import sys
import types
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms
from torchvision.transforms.functional import InterpolationMode

from vlm_models.errors import CheckpointError
from vlm_models.weight_files import read_weight_file

MODULE = "src.models.modeling"
"""Where the programs of the WiSE-FT family keep their classes."""


class Head(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)
        self.normalize = True


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.GELU())
        self.model.logit_scale = nn.Parameter(torch.tensor(4.6).half())
        self.register_buffer("mask", torch.ones(2, 2).triu(), persistent=False)
        self.register_buffer("index", torch.arange(5))
        self.val_preprocess = transforms.Compose(
            [
                transforms.Resize(32, interpolation=InterpolationMode.BICUBIC),
                transforms.ToTensor(),
                transforms.Normalize((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
            ]
        )
        self.cache_dir, self.input_resolution, self.ratio = None, 32, 4.0
        self.activation, self.partial = torch.relu, partial(nn.functional.gelu, approximate="tanh")
        self.device, self.dtype, self.seen = torch.device("cpu"), torch.bfloat16, np.float64(0.5)
        self.table, self.plain_tensor = np.arange(3), torch.zeros(7)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.image_encoder = Encoder()
        self.classification_head = Head()
        self.train_preprocess = self.image_encoder.val_preprocess


@pytest.fixture
def model(not_installed):
    """A module whose classes pretend to be of a program that is not installed."""
    not_installed(MODULE, (Head, Encoder, Classifier))
    torch.manual_seed(0)
    return Classifier()


def save_as(model, path, form):
    if form.startswith("protocol"):
        path.write_bytes(pickle.dumps(model, protocol=int(form[-1])))
    elif form == "several GPUs":
        path.write_bytes(pickle.dumps(nn.DataParallel(model)))
    elif form == "in a dict":
        torch.save({"epoch": 2, "model": model, "args": {"lr": 0.1}}, path)
    else:
        torch.save(model, path, _use_new_zipfile_serialization=form == "zip")
    return path


FORMS = ["protocol 2", "protocol 3", "protocol 4", "protocol 5", "several GPUs", "in a dict", "zip", "legacy"]


class TestModules:
    @pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
    @pytest.mark.parametrize("form", FORMS)
    def test_their_state_dict_is_read_without_their_classes(self, model, tmp_path, monkeypatch, form):
        path, expected = save_as(model, tmp_path / "checkpoint_10.pt", form), model.state_dict()
        for name in ("src", "src.models", MODULE):
            monkeypatch.delitem(sys.modules, name)
        found = read_weight_file(path)
        assert found.format == "pickled module"
        assert found.tensors.keys() == expected.keys() and "image_encoder.mask" not in found.tensors
        for name, tensor in expected.items():
            assert found.tensors[name].dtype == tensor.dtype and torch.equal(found.tensors[name], tensor), name
        assert MODULE not in sys.modules
        assert found.classes[""] == f"{MODULE}.Classifier"
        assert found.classes["image_encoder.model.2"] == "torch.nn.modules.activation.GELU"
        assert found.facts["classification_head.normalize"] is True
        assert found.facts["image_encoder.input_resolution"] == 32 and found.facts["image_encoder.ratio"] == 4.0
        assert (found.facts.get("epoch"), found.facts.get("args")) == (
            (2, {"lr": 0.1}) if form == "in a dict" else (None, None)
        )

    def test_tied_tensors_stay_tied(self, model, tmp_path):
        model.twin = model.classification_head
        found = read_weight_file(save_as(model, tmp_path / "m.pt", "zip")).tensors
        assert found["twin.weight"].data_ptr() == found["classification_head.weight"].data_ptr()

    def test_views_of_a_larger_storage(self, tmp_path):
        whole = torch.arange(24.0)
        expected = {"part": whole[3:9], "columns": whole.view(4, 6)[:, 1:3].T, "empty": whole[:0], "one": whole[5]}
        state = {"columns": nn.Parameter(expected["columns"]), **expected}
        (tmp_path / "m.pt").write_bytes(pickle.dumps(state))
        found = read_weight_file(tmp_path / "m.pt").tensors
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor) and found[name].shape == tensor.shape

    @pytest.mark.parametrize(
        "dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.bool, torch.complex64]
    )
    def test_types(self, tmp_path, dtype):
        tensor = torch.tensor([0, 1, 1, 0, 1]).to(dtype)
        (tmp_path / "m.pt").write_bytes(pickle.dumps({"x": tensor}))
        found = read_weight_file(tmp_path / "m.pt").tensors["x"]
        assert found.dtype == dtype and torch.equal(found, tensor)

    def test_modules_without_an_end(self, tmp_path):
        inner = nn.Linear(1, 1)
        for _ in range(40):  # each holds the one before twice: 2^40 modules
            outer = nn.Module()
            outer.a = outer.b = inner
            inner = outer
        (tmp_path / "m.pt").write_bytes(pickle.dumps(inner))
        with pytest.raises(CheckpointError, match="more than 200,000 modules"):
            read_weight_file(tmp_path / "m.pt")

    def test_a_module_in_itself(self, tmp_path):
        module = nn.Module()
        module.register_parameter("weight", nn.Parameter(torch.ones(1)))
        module._modules["self"] = module
        (tmp_path / "m.pt").write_bytes(pickle.dumps(module))
        with pytest.raises(CheckpointError, match="nested deeper than 64"):
            read_weight_file(tmp_path / "m.pt")


class Payload:
    """Creates a file when an unpickler calls what its pickle asks for."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def payloads(trace):
    touch = f"open({str(trace)!r}, 'w').close()"
    return {
        f"{os.name}.system": Payload(os.system, f"touch {trace}"),
        "subprocess.check_call": Payload(subprocess.check_call, ["touch", str(trace)]),
        "builtins.exec": Payload(exec, touch),
        "builtins.eval": Payload(eval, touch),
        f"{os.name}.mkdir": Payload(os.mkdir, str(trace)),
    }


def hide(payload, path, form, model):
    weights = {"w": torch.ones(3), "payload": payload}
    if form == "module":
        model.payload = payload
        path.write_bytes(pickle.dumps(model))
    elif form == "pickle":
        path.write_bytes(pickle.dumps(weights))
    elif form == "bytes of a storage":
        path.write_bytes(pickle.dumps({"w": Payload(torch.storage._load_from_bytes, legacy(payload, path))}))
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=form == "zip")


def legacy(value, path):
    torch.save(value, path, _use_new_zipfile_serialization=False)
    return path.read_bytes()


PLACES = ["pickle", "module", "zip", "legacy", "bytes of a storage"]


class TestPayloads:
    @pytest.mark.parametrize("form", PLACES)
    @pytest.mark.parametrize("name", payloads("x"))
    def test_they_would_run_and_do_not(self, model, tmp_path, form, name):
        trace, path = tmp_path / "trace", tmp_path / "model.pt"
        hide(payloads(trace)[name], path, form, model)
        with pytest.raises(CheckpointError) as caught:
            read_weight_file(path)
        assert not trace.exists()
        assert name in str(caught.value) and str(path) in str(caught.value) and "Nothing was run" in str(caught.value)
        if form in ("zip", "legacy"):
            torch.load(path, weights_only=False)
        else:
            pickle.loads(path.read_bytes())
        assert trace.exists()

    def test_one_in_a_torchscript_archive(self, tmp_path):
        trace, path = tmp_path / "trace", tmp_path / "model.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/constants.pkl", pickle.dumps(()))
            archive.writestr("model/code/__torch__.py", "")
            archive.writestr("model/data.pkl", pickle.dumps(payloads(trace)["builtins.exec"], protocol=2))
        with pytest.raises(CheckpointError, match=r"calls builtins\.exec\. Nothing was run"):
            read_weight_file(path)
        assert not trace.exists()

    def test_a_class_that_would_act_when_its_state_is_set_is_only_described(self, tmp_path, monkeypatch):
        trace, path = tmp_path / "trace", tmp_path / "model.pt"
        module = types.ModuleType("their_program")
        module.Callback = type(
            "Callback", (), {"__module__": "their_program", "__setstate__": lambda self, state: trace.touch()}
        )
        monkeypatch.setitem(sys.modules, "their_program", module)
        callback = module.Callback()
        callback.name = "x"
        path.write_bytes(pickle.dumps({"state_dict": {"w": torch.ones(2)}, "callback": callback}))
        assert torch.equal(read_weight_file(path).tensors["w"], torch.ones(2))
        assert not trace.exists()
        pickle.loads(path.read_bytes())
        assert trace.exists()


class TestWrongDescriptions:
    """Tensors that a pickle describes wrongly must not reach beyond the file, nor fill the memory."""

    @pytest.mark.parametrize(
        ("shape", "stride", "offset"),
        [((5,), (1,), 0), ((2, 2), (2, 2), 1), ((10**12,), (0,), 0), ((2,), (-1,), 1), ((2,), (1,), -1), ((2,), (), 0)],
    )
    def test_they_are_refused(self, tmp_path, shape, stride, offset):
        storage = torch.arange(4.0)._typed_storage()
        call = Payload(torch._utils._rebuild_tensor_v2, storage, offset, shape, stride, False, {})
        (tmp_path / "m.pt").write_bytes(pickle.dumps({"w": call}))
        with pytest.raises(CheckpointError, match="a tensor of shape"):
            read_weight_file(tmp_path / "m.pt")

    def test_torch_itself_accepts_a_tensor_of_terabytes_and_we_do_not(self, tmp_path):
        torch.save({"w": torch.zeros(1).expand(10**12)}, tmp_path / "m.pt")
        assert torch.load(tmp_path / "m.pt", weights_only=True)["w"].nbytes == 4 * 10**12
        with pytest.raises(CheckpointError, match="claims 4,000,000,000,000 bytes, but 4 are in the file"):
            read_weight_file(tmp_path / "m.pt")

    def test_a_cut_pickle(self, model, tmp_path):
        whole = pickle.dumps(model)
        for size in range(2, len(whole), len(whole) // 23):
            (tmp_path / "m.pt").write_bytes(whole[:size])
            with pytest.raises(CheckpointError, match=r"cannot read weights from .*m\.pt"):
                read_weight_file(tmp_path / "m.pt")
