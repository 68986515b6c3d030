"""Losses of HyCoCLIP's successors against their official code, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from hyperclip_jax.geometry.spaces import Lorentz, Product
from hyperclip_jax.losses import contrastive, ring, tiled
from hyperclip_jax.systems import hycoclip, uncha
from tests import golden_files

FOLDER = golden_files.FOLDER / "successors"
# The official code stops at acos and asin of 1 - 1e-15 (README).
CLAMPED = {
  "residual": 6e-8,
  "calibration": 6e-8,
  "entailment": 6e-8,
  "loss": 1e-8,
  "grad": 1e-9,
}


@functools.cache
def golden(name):
  with np.load(FOLDER / f"{name}_float64.npz") as file:
    return dict(file)


def case(name, number):
  """Inputs and outputs of a case."""
  return (
    {
      key.removeprefix(f"case{number}/{kind}/"): value
      for key, value in golden(name).items()
      if key.startswith(f"case{number}/{kind}/")
    }
    for kind in ("in", "out")
  )


def equal(found, wanted, name, clamped):
  """To 1e-12 of the largest entry, and what the clamp allows."""
  atol = 1e-12 * max(np.abs(wanted).max(), 1e-3)
  if clamped:
    kinds = [k for k in CLAMPED if k in name]
    atol += max((CLAMPED[k] for k in kinds), default=0)
  np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=atol, err_msg=name)


def contrasts():
  """The cross entropies of both forms."""
  axes = (AxisType.Auto,) * 2
  mesh = jax.make_mesh(
    (1, 1), ("data", "model"), axes, devices=jax.devices()[:1]
  )
  return {
    "naive": contrastive.cross_entropy,
    "tiled": functools.partial(tiled.cross_entropy, mesh),
  }


@pytest.mark.parametrize("form", ["naive", "tiled"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_phyclip(number, form, monkeypatch):
  monkeypatch.setattr(ring, "TILE", 8)
  given, wanted = case("phyclip", number)
  kinds = [k for k in ("image", "text", "box_image", "box_text") if k in given]
  names = ("curv", "visual_alpha", "textual_alpha", "logit_scale")
  norm = str(given["metric"])

  def lifted(features, logs):
    space = Product(jnp.exp(logs["curv"]), norm)
    points = {}
    for kind, rows in features.items():
      alpha = "visual_alpha" if "image" in kind else "textual_alpha"
      width = rows.shape[1] // len(logs[alpha])
      factors = jnp.repeat(jnp.exp(logs[alpha]), width)
      points[kind] = space.lift(factors[None] * rows)
    return points

  def loss_of(points, logs):
    outputs = {"whole": {k: points[k] for k in ("image", "text")}}
    if "box_image" in points:
      outputs["part"] = {k: points[f"box_{k}"] for k in ("image", "text")}
    return hycoclip.terms(
      Product(jnp.exp(logs["curv"]), norm),
      jnp.exp(logs["logit_scale"]),
      outputs,
      contrasts()[form],
      float(given["entail_weight"]),
    )

  def whole(features, logs):
    return loss_of(lifted(features, logs), logs)

  with jax.enable_x64(True):
    features = {k: jnp.asarray(given[k]) for k in kinds}
    logs = {k: jnp.asarray(np.log(given[k])) for k in names}
    points = jax.jit(lifted)(features, logs)
    value_and_grad = functools.partial(jax.value_and_grad, has_aux=True)
    (loss, terms), grads = jax.jit(value_and_grad(whole, (0, 1)))(
      features, logs
    )
    _, of_points = jax.jit(value_and_grad(loss_of))(points, logs)
    space = Product(jnp.exp(logs["curv"]), norm)
    product = -space.pairwise(points["image"], points["text"])
    each = jax.device_get(
      {
        "loss": loss,
        **terms,
        "product_dist_image_text": product,
        **{f"lifted_{k}": v for k, v in points.items()},
        **{f"grad_lifted_{k}": v for k, v in of_points.items()},
        **{f"grad_{k}": v for k, v in grads[0].items()},
        **{f"grad_{k}_log": v for k, v in grads[1].items()},
      }
    )
  absent = {"factor_dist_image_text"}
  if "box_image" not in kinds:  # terms of boxes are 0
    absent |= {n for n in wanted if n not in each and "loss" in n}
  if number == 1:  # one term, which has the name of the sum
    absent |= {"text_image_entailment_loss"}
  assert wanted.keys() - each.keys() <= absent
  for name in wanted.keys() & each.keys():
    equal(each[name], wanted[name], f"{number} {name}", clamped=True)
  # On the host, the same distances.
  host = Product(np.asarray(given["curv"]), norm)
  rows = host.lift(
    np.asarray(given["image"])
    * np.repeat(
      given["visual_alpha"],
      given["image"].shape[1] // len(given["visual_alpha"]),
    )
  )
  np.testing.assert_allclose(
    -host.pairwise(rows, each["lifted_text"]),
    wanted["product_dist_image_text"],
    rtol=1e-12,
  )


@pytest.mark.parametrize("form", ["naive", "tiled"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_uncha(number, form, monkeypatch):
  monkeypatch.setattr(ring, "TILE", 8)
  given, wanted = case("uncha", number)
  mask = given["box_mask"]
  scales = {"whole": "global", "cross": "global_local", "local": "local"}

  def spread(rows):
    """Packed rows at their places; NaN elsewhere."""
    found = jnp.full((mask.size, rows.shape[1]), jnp.nan)
    return found.at[np.flatnonzero(mask)].set(rows)

  def loss_of(points, logs):
    space = Lorentz(jnp.exp(logs["curv"]))
    outputs = {
      "whole": {k: points[k] for k in ("image", "text")},
      "part": {k: spread(points[f"box_{k}"]) for k in ("image", "text")}
      | {"valid": jnp.asarray(mask.reshape(-1))},
    }
    options = uncha.Options(entail_weight=float(given["entail_weight"]))
    given_scales = uncha.Scales(
      *(jnp.exp(logs[f"logit_scale_{n}"]) for n in scales.values())
    )
    loss, terms = uncha.terms(
      space, given_scales, outputs, contrasts()[form], options
    )
    found = uncha.relations(space, outputs, "leaky", 0.7, 1.2)
    return loss, (terms, {k: r.residuals for k, r in found.items()})

  with jax.enable_x64(True):
    points = {
      k: jnp.asarray(given[k])
      for k in ("image", "text", "box_image", "box_text")
    }
    logs = {
      k: jnp.asarray(np.log(v))
      for k, v in given.items()
      if k == "curv" or k.startswith("logit_scale")
    }
    value_and_grad = jax.value_and_grad(loss_of, (0, 1), has_aux=True)
    (loss, (terms, residuals)), grads = jax.device_get(
      jax.jit(value_and_grad)(points, logs)
    )
  each = {
    "loss": loss,
    **terms,
    "contrastive_global_local": terms["contrastive_cross"],
    "residual_text_image": residuals["text_image"],
    "residual_box_text_box_image": residuals["box_text_image"],
    "residual_box_image_image": residuals["cross_image"],
    "residual_box_text_text": residuals["cross_text"],
    **{f"grad_{k}": v for k, v in grads[0].items()},
    **{f"grad_{k}_log": v for k, v in grads[1].items()},
  }
  assert wanted.keys() <= each.keys()
  for name, value in wanted.items():
    found = each[name]
    if name.startswith("residual_box"):
      found = found[mask.reshape(-1)]
    equal(found, value, f"{number} {name}", clamped=number == 1)
