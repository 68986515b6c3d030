"""Towers in ONNX Runtime compute what the model computes."""

import json
import sys

import jaxtyping
import numpy as np
import onnxruntime
import pytest

from hyperclip_jax import HyperCLIP
from hyperclip_jax.commands import door
from hyperclip_jax.geometry import spaces
from hyperclip_jax.inference import onnx, pretrained
from tests import golden_files
from tests.evals import saved
from tests.inference.test_model import pictures

TEXTS = ["a red circle", "a thing", "x " * 60, "a dog, wet", ""]


@pytest.fixture(scope="module", autouse=True)
def unchecked_shapes():
  """The checks of the tests cannot compare a symbolic number of rows."""
  jaxtyping.config.update("jaxtyping_disable", True)
  yield
  jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module", params=golden_files.OBJECTIVES)
def exported(request, tmp_path_factory):
  model = HyperCLIP(*golden_files.model(request.param), batch_size=8)
  folder = tmp_path_factory.mktemp("onnx") / "new"
  paths = onnx.export(model, folder)
  assert [path.name for path in paths] == ["image.onnx", "text.onnx"]
  return model, [onnxruntime.InferenceSession(path) for path in paths]


@pytest.mark.slow
def test_embeddings_are_the_same_for_any_number_of_rows(exported):
  model, (image, text) = exported
  some, tokens = model.preprocess(pictures(5)), model.tokenizer(TEXTS)
  images, texts = model.encode_image(some), model.encode_text(TEXTS)
  for count in (1, 5):
    (found,) = image.run(["embeddings"], {"pixels": some[:count]})
    np.testing.assert_allclose(found, images[:count], atol=1e-5)
    (found,) = text.run(["embeddings"], {"tokens": tokens[:count]})
    np.testing.assert_allclose(found, texts[:count], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("system", ["phyclip", "euclip"])
def test_other_spaces_are_exported(system, tmp_path):
  model = pretrained.load(saved.model(tmp_path / "run", system))
  paths = onnx.export(model, tmp_path)
  image, text = map(onnxruntime.InferenceSession, paths)
  pixels = model.preprocess(pictures(2))
  tokens = model.tokenizer(TEXTS[:2])
  (found,) = image.run(None, {"pixels": pixels})
  np.testing.assert_allclose(found, model.encode_image(pixels), atol=1e-5)
  (found,) = text.run(None, {"tokens": tokens})
  np.testing.assert_allclose(found, model.encode_text(TEXTS[:2]), atol=1e-5)


@pytest.mark.slow
def test_a_tower_of_gradients_is_exported(tmp_path):
  model = pretrained.load("emoji-mini")
  path, _ = onnx.export(model, tmp_path)
  images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
  (found,) = onnxruntime.InferenceSession(path).run(None, {"pixels": images})
  np.testing.assert_allclose(found, model.encode_image(images), atol=1e-5)


@pytest.mark.slow
def test_metadata_are_enough_to_compare(exported):
  model, (image, text) = exported
  for session in (image, text):
    found = session.get_modelmeta().custom_metadata_map
    space = spaces.from_json(json.loads(found["space"]))
    assert spaces.alike(space, model.space)
    assert float(found["logit_scale"]) == model.logit_scale
    assert found["fingerprint"] == model.fingerprint
    assert found["image_size"] == "32"
    assert found["context"] == "77"


@pytest.mark.slow
def test_the_command_writes_them(monkeypatch, tmp_path, capsys):
  model = HyperCLIP(*golden_files.model("clip"))
  monkeypatch.setattr(pretrained, "load", lambda *args: model)
  assert door.run(["export", "--model=any", f"--output={tmp_path}"]) == 0
  assert capsys.readouterr().out.splitlines() == [
    f"{tmp_path}/image.onnx",
    f"{tmp_path}/text.onnx",
  ]
  monkeypatch.setitem(sys.modules, "jax2onnx", None)
  with pytest.raises(SystemExit, match=r"hyperclip-jax\[onnx\]"):
    door.run(["export", "--model=any", f"--output={tmp_path}"])
  monkeypatch.setattr(model, "options", object())
  with pytest.raises(SystemExit, match="towers of clip cannot be exported"):
    door.run(["export", "--model=any", f"--output={tmp_path}"])
