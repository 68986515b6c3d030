"""Published layouts of successors and relatives, through `load`."""

import functools
import json
from typing import Any

import jax
import numpy as np
import pytest

import hyperclip_jax
from hyperclip_jax import systems
from hyperclip_jax.checkpoints import tensors, torch_checkpoint
from hyperclip_jax.checkpoints.release import Release
from hyperclip_jax.systems import phyclip, uncha
from hyperclip_jax.systems.dual_encoder import Text, Vision
from tests.systems.prolip import golden as prolip_golden

torch = pytest.importorskip("torch")

SIZES = {
  "image_size": 32,
  "vision": Vision(width=32, depth=2, heads=2, patch=8),
  "text": Text(width=32, depth=2, heads=2, vocab=512, context=16),
  "embed_dim": 16,
  "dtype": "float32",
}
OPTIONS = {
  "phyclip": phyclip.Options(**SIZES, factor_width=4),
  "uncha": uncha.Options(**SIZES),
}


@functools.cache
def model(system):
  """A mini model whose scalars differ from each other."""
  encoder = systems.find(system).encoder(OPTIONS[system])
  variables = jax.device_get(jax.jit(encoder.init)(jax.random.key(0)))
  params = variables["params"]
  for number, (name, leaf) in enumerate(sorted(params.items())):
    if not isinstance(leaf, dict):
      shift = 0.1 * number + 0.01 * np.arange(leaf.size).reshape(leaf.shape)
      params[name] = np.float32(leaf - shift)
  return Release(system, OPTIONS[system], variables)


@pytest.mark.parametrize("system", OPTIONS)
def test_successors_of_hycoclip_go_both_ways(system, tmp_path):
  wanted = model(system)
  torch_checkpoint.save(tmp_path / "model.pth", wanted)
  state = torch_checkpoint.state_dict(
    tmp_path / "model.pth", torch_checkpoint.read(tmp_path / "model.pth")
  )
  named = {
    "phyclip": {"curv", "curvs.3", "visual_concept_alphas.0"},
    "uncha": {"logit_scale_global", "logit_scale_local", "curv"},
  }
  assert named[system] <= state.keys()
  found = torch_checkpoint.load(tmp_path / "model.pth", 2, 2)
  assert found.system == system
  assert found.options.embed_dim == 16
  jax.tree.map(
    np.testing.assert_array_equal,
    found.variables["params"],
    dict(wanted.variables["params"]),
  )
  if system == "phyclip":
    assert found.options.factor_width == 4
    assert state["curvs.1"].item() == wanted.variables["params"]["curv"][1]
  used = hyperclip_jax.load(tmp_path / "model.pth", 2, 2)
  texts = used.encode_text(["a red circle", "a blue square"])
  assert np.isfinite(used.similarity(texts, texts)).all()


def test_a_factor_without_its_alpha_is_named(tmp_path):
  state = torch_checkpoint.tensors(model("phyclip"))
  del state["textual_concept_alphas.2"]
  torch.save({"model": state}, tmp_path / "model.pth")
  with pytest.raises(ValueError, match=r"textual_concept_alphas\.2"):
    hyperclip_jax.load(tmp_path / "model.pth", 2, 2)


def test_prolip_as_the_hub_has_it(tmp_path):
  state = prolip_golden.state()
  (tmp_path / "config.json").write_text(json.dumps(prolip_golden.CONFIG))
  tensors.write(tmp_path / "model.safetensors", state, {})
  found = hyperclip_jax.load(tmp_path)
  assert found.system == "prolip"
  rows = found.encode_image(np.zeros((1, 40, 40, 3), np.uint8))
  assert rows.shape == (1, 2 * found.options.embed_dim)
  space: Any = found.space
  assert np.isfinite(space.uncertainty(rows)).all()
  (tmp_path / "config.json").write_text("{}")
  with pytest.raises(ValueError, match=str(tmp_path)):
    hyperclip_jax.load(tmp_path)
