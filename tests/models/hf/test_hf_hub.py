"""Names on the Hugging Face hub: a small server that answers like it, its cache, and no network at all."""

import hashlib
import http.server
import json
import shutil
import threading
import time

import pytest
import torch
from huggingface_hub import constants

from vlm_models import load_encoder
from vlm_models.errors import VlmModelsError

REVISION = "0123456789abcdef0123456789abcdef01234567"
NAME = "org/small"


class Hub(http.server.BaseHTTPRequestHandler):
    """Lists the files of one repository and hands them out."""

    folder = None
    asked = None

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, with_body):
        if self.path.startswith(f"/api/models/{NAME}/revision/"):
            files = [{"rfilename": path.name} for path in sorted(self.folder.iterdir())]
            return self._send(json.dumps({"id": NAME, "sha": REVISION, "siblings": files}).encode(), with_body, "json")
        if self.path.startswith(f"/api/models/{NAME}/tree/{REVISION}"):
            files = [
                {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": f"{number:040x}"}
                for number, path in enumerate(sorted(self.folder.iterdir()))
            ]
            return self._send(json.dumps(files).encode(), with_body, "json")
        path = self.folder / self.path.split("?")[0].rpartition("/")[2]
        if "/resolve/" in self.path and path.is_file():
            if with_body:
                self.asked.append(path.name)
            return self._send(path.read_bytes(), with_body, "octet-stream")
        self.send_response(200 if self.path == "/" else 404)
        self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content, with_body, kind):
        self.send_response(200)
        self.send_header("Content-Type", f"application/{kind}")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def point_to(monkeypatch, address):
    monkeypatch.setattr(constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(tmp_path, cache, monkeypatch):
    """A function: folder -> names of the files that are fetched from it from then on."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    point_to(monkeypatch, f"http://127.0.0.1:{server.server_port}")

    def publish(folder):
        monkeypatch.setattr(Hub, "folder", folder)
        monkeypatch.setattr(Hub, "asked", [])
        return Hub.asked

    yield publish
    server.shutdown()
    thread.join()
    server.server_close()


def same_model(found, folder):
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = load_encoder(f"hf:{folder}")
    with torch.no_grad():
        assert torch.equal(found.encode_image(images), expected.encode_image(images))
    assert torch.equal(found.tokenize(["a cat"]), expected.tokenize(["a cat"]))


def test_a_name_is_downloaded_and_then_cached(tmp_path, published, hub, monkeypatch):
    folder = shutil.copytree(published("clip")[0], tmp_path / "published")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "pytorch_model.bin").write_bytes(b"the same once more")
    (folder / "flax_model.msgpack").write_bytes(b"and again")
    asked = hub(folder)
    encoder = load_encoder(f"hf:{NAME}")
    same_model(encoder, folder)
    assert "model.safetensors" in asked and not {"pytorch_model.bin", "flax_model.msgpack"} & set(asked)
    assert encoder.architecture["revision"] == REVISION and encoder.licence == "mit"
    assert encoder.spec == f"hf:{NAME}"
    before, offline = len(asked), constants.HF_HUB_OFFLINE
    point_to(monkeypatch, "http://127.0.0.1:9")  # nothing listens there
    start = time.monotonic()
    same_model(load_encoder(f"hf:{NAME}"), folder)
    assert len(asked) == before and time.monotonic() - start < 5 and constants.HF_HUB_OFFLINE is offline


def test_shards_are_downloaded(tmp_path, published, hub):
    folder = shutil.copytree(published("clip")[0], tmp_path / "published")
    (folder / "model.safetensors").unlink()
    published("clip")[1].save_pretrained(folder, max_shard_size="40KB")
    asked = hub(folder)
    same_model(load_encoder(f"hf:{NAME}"), folder)
    assert {path.name for path in folder.glob("model-*.safetensors")} <= set(asked)


def test_without_safetensors_the_file_of_pytorch_is_taken(tmp_path, published, hub):
    folder = shutil.copytree(published("clip")[0], tmp_path / "published")
    (folder / "model.safetensors").unlink()
    torch.save(published("clip")[1].state_dict(), folder / "pytorch_model.bin")
    hub(folder)
    same_model(load_encoder(f"hf:{NAME}"), folder)


def failure(name):
    start = time.monotonic()
    with pytest.raises(VlmModelsError) as caught:
        load_encoder(f"hf:{name}")
    assert time.monotonic() - start < 8
    message = str(caught.value)
    assert "\n" not in message and len(message) < 900
    return message


def test_no_network_and_nothing_cached_is_told_at_once(cache, monkeypatch):
    point_to(monkeypatch, "http://127.0.0.1:9")
    before = constants.HF_HUB_OFFLINE
    message = failure("openai/clip-vit-base-patch32")
    assert "`hf download openai/clip-vit-base-patch32 --local-dir DIR`" in message and "write hf:DIR" in message
    assert constants.HF_HUB_OFFLINE is before


def test_only_the_small_files_are_cached(tmp_path, published, hub, monkeypatch):
    folder = shutil.copytree(published("clip")[0], tmp_path / "published")
    hub(folder)
    (folder / "model.safetensors").unlink()
    assert "hf download" in failure(NAME)
    point_to(monkeypatch, "http://127.0.0.1:9")
    assert "hf download" in failure(NAME)


def test_a_name_that_does_not_exist(tmp_path, published, hub):
    hub(published("clip")[0])
    assert "cannot get org/smal:" in failure("org/smal")
