"""The hub's own library against a server that answers as the hub does."""

import hashlib
import http.server
import json
import shutil
import subprocess
import sys
import threading

import pytest

from tests import golden_files
from tests.data.feed import pieces
from tests.systems.prolip import golden
from tests.test_main import environment

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
  """Repositories of models: folders of files, org/name, at one commit."""

  def __init__(self, folder):
    super().__init__(("127.0.0.1", 0), Answers)
    self.folder, self.asked = folder, []


class Answers(http.server.BaseHTTPRequestHandler):
  server: Hub

  def log_message(self, *args):
    pass

  def do_HEAD(self):
    self._answer(head=True)

  def do_GET(self):
    self._answer(head=False)

  def _answer(self, head):
    path = self.path.partition("?")[0].strip("/")
    self.server.asked.append((self.command, path))
    api = path.removeprefix("api/models/")
    name = "/".join(api.split("/")[:2])
    folder = self.server.folder / name
    if not folder.is_dir():
      self._send(404, b"", head, {"X-Error-Code": "RepoNotFound"})
    elif api == path:
      self._file(folder / path.split("/", 4)[-1], head)
    else:
      names = sorted(p.name for p in folder.iterdir())
      found: dict | list = {
        "id": name,
        "sha": COMMIT,
        "siblings": [{"rfilename": file} for file in names],
      }
      if "/tree/" in path:
        found = [
          {"type": "file", "path": file, "size": 1, "oid": COMMIT}
          for file in names
        ]
      kind = {"Content-Type": "application/json"}
      self._send(200, json.dumps(found).encode(), head, kind)

  def _file(self, path, head):
    if not path.is_file():
      self._send(404, b"", head, {"X-Error-Code": "EntryNotFound"})
      return
    data = path.read_bytes()
    etag = hashlib.sha256(data).hexdigest()
    found = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
    self._send(200, data, head, found)

  def _send(self, status, data, head, headers):
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name, value)
    self.send_header("Content-Length", str(len(data)))
    self.end_headers()
    if not head:
      self.wfile.write(data)


@pytest.fixture
def server(tmp_path):
  made = Hub(tmp_path / "hub")
  thread = threading.Thread(target=made.serve_forever)
  thread.start()
  yield made
  made.shutdown()
  thread.join()
  made.server_close()


def python(server, tmp_path, code):
  """The finished process of a user whose hub is the server."""
  own = {
    "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
    "HF_HOME": str(tmp_path / "cache"),
    "HF_HUB_CACHE": str(tmp_path / "cache/hub"),
    "HF_HUB_OFFLINE": "0",
    "HF_HUB_DISABLE_XET": "1",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
  }
  return subprocess.run(
    [sys.executable, "-c", f"import hyperclip_jax\n{code}"],
    env=environment() | own,
    capture_output=True,
    text=True,
    timeout=300,
  )


def repository(server, name):
  folder = server.folder / name
  folder.mkdir(parents=True)
  return folder


@pytest.mark.slow
def test_models_are_fetched_once_and_kept(server, tmp_path):
  pytest.importorskip("huggingface_hub")
  official = repository(server, "avik-pal/hycoclip")
  shutil.copy(
    golden_files.FOLDER / "meru_mini_init.pth", official / "meru_vit_s.pth"
  )
  prolip = repository(server, "SanghyukChun/ProLIP-ViT-B-16-DC-1B-12_8B")
  (prolip / "config.json").write_text(json.dumps(golden.CONFIG))
  shutil.copy(
    golden.ROOM / "mini_init.safetensors", prolip / "model.safetensors"
  )
  pieces.write(repository(server, "timm/ViT-B-16-SigLIP"))
  code = """
model = hyperclip_jax.load("meru-vit-s", vision_heads=4, text_heads=2)
print(model.system, model.encode_text("a dog").shape)
model = hyperclip_jax.load("prolip-vit-b-16")
print(model.system, model.about.licence, model.encode_text("a dog").shape)
"""
  first = python(server, tmp_path, code)
  assert first.stdout.splitlines() == [
    "meru (1, 32)",
    "prolip mit (1, 64)",
  ], first.stderr
  fetched = [path for how, path in server.asked if how == "GET"]
  files = [path for path in fetched if "/resolve/" in path]
  assert sorted(path.rsplit("/", 1)[1] for path in files) == [
    "config.json",
    "meru_vit_s.pth",
    "model.safetensors",
    "tokenizer.json",
  ]
  server.shutdown()
  server.server_close()  # nobody answers
  again = python(server, tmp_path, code)
  assert again.stdout == first.stdout, again.stderr


def test_what_the_hub_lacks_is_told(server, tmp_path):
  pytest.importorskip("huggingface_hub")
  folder = repository(server, "some/thing")
  (folder / "weights.pth").write_bytes(b"x")
  code = """
for source in ("none/such", "some/thing", "some/thing/other.pth"):
  try:
    hyperclip_jax.load(f"hf-hub:{source}")
  except OSError as error:
    print(error)
"""
  done = python(server, tmp_path, code)
  lines = done.stdout.splitlines()
  assert len(lines) == 3, done.stderr
  assert lines[0].startswith("hf-hub:none/such: not downloaded: ")
  assert "hf auth login" in lines[0]
  assert lines[1] == (
    "hf-hub:some/thing: has no model.safetensors, but weights.pth: give "
    "hf-hub:some/thing/weights.pth"
  )
  assert lines[2].startswith("hf-hub:some/thing/other.pth: not downloaded: ")
