"""The towers against features of the official code."""

import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax import systems
from tests import golden_files, golden_runs

pytestmark = pytest.mark.usefixtures("optimized")


@pytest.mark.slow
@pytest.mark.parametrize("name", golden_files.OBJECTIVES)
def test_features_equal_official(name):
  for kind, found, wanted in golden_runs.features(name):
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0, err_msg=kind)


@pytest.mark.parametrize("name", golden_files.OBJECTIVES)
def test_unprojected_features_equal_official(name):
  golden = golden_files.arrays(f"{name}_mini")
  system, options, variables = golden_files.model(name)
  e = systems.find(system).encoder(options)

  def encode(tower, x, alpha):
    out = tower(variables, jnp.asarray(x))
    return out / np.exp(variables["params"].get(alpha, 0.0))

  np.testing.assert_allclose(
    encode(e.image, golden["images"][0], "visual_alpha"),
    golden["feat/image_unprojected"],
    atol=1e-5,
    rtol=0,
  )
  np.testing.assert_allclose(
    encode(e.text, golden["tokens"][0], "textual_alpha"),
    golden["feat/text_unprojected"],
    atol=1e-5,
    rtol=0,
  )
