"""The space of two projectors against the published zero-shot scores."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import ensemble, spaces
from hyperclip_jax.geometry.ensemble import Ensemble
from tests import golden_rocket

GOLDEN = golden_rocket.under(
  golden_rocket.arrays("losses_float64"), "zeroshot/case0"
)


def rows(kind):
  return np.concatenate([GOLDEN[f"in/{p}_{kind}"] for p in "zh"], axis=-1)


def classes(space):
  """Mean of the templates of each class."""
  return space.mean(np.moveaxis(rows("text"), 1, 0))


def test_classes_equal_official():
  found = classes(Ensemble(0.3))
  z, h = np.split(found, 2, axis=1)
  np.testing.assert_allclose(z / 0.3**0.5, GOLDEN["out/class_z"], atol=1e-12)
  np.testing.assert_allclose(h / 0.7**0.5, GOLDEN["out/class_h"], atol=1e-12)


@pytest.mark.parametrize("number", range(9))
def test_scores_at_every_weight_equal_official(number):
  weight = float(GOLDEN["in/weights"][number])
  space = Ensemble(weight)
  images, wanted = space.lift(rows("image")), GOLDEN["out/ensemble_sim"][number]
  np.testing.assert_allclose(
    space.pairwise(images, classes(space)), wanted, atol=1e-12
  )
  found = ensemble.scores(images, classes(space), (weight,))[weight]
  np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_the_ends_are_the_projectors_alone():
  for weight, wanted in ((1.0, "out/z_sim"), (0.0, "out/h_sim")):
    space = Ensemble(weight)
    found = space.pairwise(space.lift(rows("image")), classes(space))
    np.testing.assert_allclose(found, GOLDEN[wanted], atol=1e-12)
  space = Ensemble(0.5)
  every = ensemble.scores(space.lift(rows("image")), classes(space))
  np.testing.assert_allclose(every[1.0], GOLDEN["out/z_sim"], atol=1e-12)
  np.testing.assert_allclose(every[0.0], GOLDEN["out/h_sim"], atol=1e-12)
  assert sorted(every) == [w / 10 for w in range(11)]


def test_files_keep_the_space():
  text = json.dumps(spaces.to_json(Ensemble(0.3)))
  assert spaces.from_json(json.loads(text)) == Ensemble(0.3)
  assert not spaces.alike(Ensemble(0.3), Ensemble(0.5))
  for weight in (1.5, -0.1, True, "1", None):
    with pytest.raises(ValueError, match="the space's weight is"):
      spaces.from_json({"name": "ensemble", "weight": weight})


def test_devices_and_host_agree():
  space, x = Ensemble(0.3), rows("image")
  with jax.enable_x64(True):
    found = jax.jit(space.lift)(jnp.asarray(x))
  np.testing.assert_allclose(found, space.lift(x), atol=1e-15)
  assert space.lift(x.astype(np.float32)).dtype == np.float64
