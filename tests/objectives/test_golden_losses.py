"""Losses and their gradients against the official code, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.objectives import OBJECTIVES, Embeddings
from tests import golden_files

KINDS = ("image", "text", "box_image", "box_text")
GOLDEN = golden_files.arrays("losses_float64")
CASES = sorted({name.split("/")[0] for name in GOLDEN})


@pytest.mark.parametrize("name", golden_files.OBJECTIVES)
@pytest.mark.parametrize("case", CASES)
def test_terms_and_gradients_equal_official(case, name):
  given = {k: GOLDEN[f"{case}/{name}/in/{k}"] for k in KINDS}
  scalar_names = ("logit_scale", "curv")[: 1 if name == "clip" else 2]
  logs = {
    k: np.log(GOLDEN[f"{case}/{name}/in/{k}"].reshape(())) for k in scalar_names
  }
  prefix = f"{case}/{name}/out/"
  wanted = {k: v for k, v in GOLDEN.items() if k.startswith(prefix)}

  def loss_fn(embeddings, logs):
    scalars = {k: jnp.exp(v) for k, v in logs.items()}
    return OBJECTIVES[name](Embeddings(**embeddings), scalars)

  with jax.enable_x64(True):
    given = jax.tree.map(jnp.asarray, given)
    logs = jax.tree.map(jnp.asarray, logs)
    gradient_fn = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)
    (loss, terms), (grads, log_grads) = jax.jit(gradient_fn)(given, logs)
  found = {"loss": loss, **terms}
  found |= {f"grad_{k}": v for k, v in grads.items()}
  found |= {f"grad_{k}_log": v for k, v in log_grads.items()}
  checked = 0
  for key, value in wanted.items():
    term = key.removeprefix(prefix)
    if term in scalar_names:
      continue
    # Relative to the largest entry, as small ones carry its rounding; where
    # all are saturated, to float64's rounding of logits near 100.
    atol = max(1e-7 * np.abs(value).max(), 1e-14)
    if term.endswith("loss") and at_clamp(given, name):
      atol += CLAMP
    np.testing.assert_allclose(
      found[term],
      value.reshape(found[term].shape),
      rtol=1e-7,
      atol=atol,
      err_msg=term,
    )
    checked += 1
  assert checked == {"hycoclip": 13, "meru": 7, "clip": 5}[name]


# The golden code clamps the sine of a half aperture to 1 - 1e-15 where the
# formula says 1 (README: within 5e-8 of the limit); scaled by 1.2 at most.
CLAMP = 1.2 * (np.pi / 2 - np.arcsin(1 - 1e-15))


def at_clamp(given, name):
  """Whether a cone's apex lies so near the root that its cone is clamped."""
  norms = [np.linalg.norm(given[k], axis=-1) for k in KINDS]
  return name != "clip" and min(n.min() for n in norms) < 0.2
