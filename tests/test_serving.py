"""The server of docs/serving.md runs as it is printed."""

import io
import pathlib
import re

import fastapi.testclient
import pytest
from PIL import Image

from hyperclip_jax import HyperCLIP
from tests import golden_files
from tests.inference.test_model import pictures

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "serving.md"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
  folder = tmp_path_factory.mktemp("served")
  HyperCLIP(*golden_files.model("hycoclip")).save_pretrained(folder / "model")
  (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
  assert len([line for line in code.splitlines() if line]) <= 30
  server = {}
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("MODEL", str(folder / "model"))
    exec(code, server)
  return fastapi.testclient.TestClient(server["app"]), server["model"]


def png():
  buffer = io.BytesIO()
  Image.fromarray(pictures(1)[0]).save(buffer, "PNG")
  return buffer.getvalue()


def test_a_picture_is_classified(client):
  ask, model = client
  labels = ["circle", "square", "dog, wet"]
  answer = ask.post(
    "/classify", files={"picture": png()}, data={"labels": labels}
  )
  assert answer.status_code == 200
  wanted = dict(model.classify(pictures(1), labels).top(5)[0])
  assert answer.json() == pytest.approx(wanted)


def test_texts_are_embedded(client):
  ask, model = client
  answer = ask.post("/texts", json=["a red circle", "a thing"])
  wanted = model.encode_text(["a red circle", "a thing"]).tolist()
  assert answer.json() == wanted


@pytest.mark.parametrize(
  ("data", "labels", "code", "message"),
  [
    (b"no image", ["a"], 422, "cannot decode 8 bytes"),
    (b"", ["a"], 422, "cannot decode 0 bytes"),
    (bytes(20_000_001), ["a"], 413, "at most 20 MB"),
  ],
)
def test_bad_pictures_are_told(client, data, labels, code, message):
  ask, _ = client
  answer = ask.post(
    "/classify", files={"picture": data}, data={"labels": labels}
  )
  assert answer.status_code == code
  assert message in answer.json()["detail"]
