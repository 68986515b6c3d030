"""Losses of HyCoCLIP's successors against their official code, in float64."""

import functools
import json
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry.spaces import Lorentz, Product
from hyperclip_jax.losses import contrastive, entailment, ring, tiled
from hyperclip_jax.nn.pooling import QueryPooling
from hyperclip_jax.systems import hycoclip, hyper3, uncha
from tests import golden_files, meshes

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
  return {
    "naive": contrastive.cross_entropy,
    "tiled": functools.partial(tiled.cross_entropy, meshes.mesh()),
  }


# Tiles of one case: those of others would prove the same, after a compilation.
FORMS = [(0, "naive"), (1, "naive"), (2, "naive"), (2, "tiled")]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "form"), FORMS)
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

  @jax.jit
  def all_of(features, logs):
    """Points, the loss, and gradients of points, features and scalars."""
    points, to_features = jax.vjp(lifted, features, logs)
    loss, to_points, terms = jax.vjp(loss_of, points, logs, has_aux=True)
    of_points, of_logs = to_points(jnp.ones_like(loss))
    of_features, more = to_features(of_points)
    of_logs = jax.tree.map(jnp.add, of_logs, more)
    return points, (loss, terms), (of_points, of_features, of_logs)

  with jax.enable_x64(True):
    features = {k: jnp.asarray(given[k]) for k in kinds}
    logs = {k: jnp.asarray(np.log(given[k])) for k in names}
    points, (loss, terms), grads = all_of(features, logs)
    space = Product(jnp.exp(logs["curv"]), norm)
    product = -space.pairwise(points["image"], points["text"])
    each = jax.device_get(
      {
        "loss": loss,
        **terms,
        "product_dist_image_text": product,
        **{f"lifted_{k}": v for k, v in points.items()},
        **{f"grad_lifted_{k}": v for k, v in grads[0].items()},
        **{f"grad_{k}": v for k, v in grads[1].items()},
        **{f"grad_{k}_log": v for k, v in grads[2].items()},
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


@pytest.mark.slow
@pytest.mark.parametrize(("number", "form"), FORMS)
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
    pairs = hycoclip.relations(outputs, 0.7, 1.2)
    return loss, (terms, entailment.of_relations(space, pairs, "leaky"))

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


MOST = 5  # queries of an example, in the golden batches


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 2])
def test_hyper3(number):
  given, wanted = case("hyper3", number)
  examples = len(given["image"])
  places, boxes = {}, np.bincount(given["box_owner"], minlength=examples).max()
  for name, width in (("box", boxes), ("query", MOST)):
    owner = given[f"{name}_owner"]
    first = np.searchsorted(owner, np.arange(examples))
    places[name] = owner * width + np.arange(len(owner)) - first[owner]
  sizes = {"box": examples * boxes, "query": examples * MOST}

  def spread(name, rows, filler):
    found = jnp.full((sizes[name], *rows.shape[1:]), filler, rows.dtype)
    return found.at[places[name]].set(rows)

  def there(name):
    return jnp.zeros(sizes[name], bool).at[places[name]].set(True)

  parent = given["query_parent"]
  local = np.where(parent < 0, -1, places["query"][parent] % MOST)
  options = hyper3.Options(
    entail_weight=float(given["entail_weight"]),
    calibration=float(given["calibration_alpha"]),
    query_weight=float(given["query_image_text_weight"]),
    visual_weight=float(given["visual_hierarchy_weight"]),
    text_weight=float(given["text_hierarchy_weight"]),
    reverse_visual_order=bool(given["reverse_visual_order"]),
  )
  scales = {"whole": "global", "cross": "global_local", "local": "local"}

  def loss_of(points, logs):
    outputs = {
      "whole": {k: points[k] for k in ("image", "text")},
      "part": {
        k: spread("box", points[f"box_{k}"], jnp.nan) for k in ("image", "text")
      }
      | {"valid": there("box")},
      "query": {
        k: spread("query", points[f"query_{k}"], jnp.nan)
        for k in ("image", "text")
      }
      | {
        "valid": there("query"),
        "parent": spread("query", jnp.asarray(local), 3),
        "weight": spread("query", jnp.asarray(given["query_weight"]), 9.0),
      },
    }
    of_groups = uncha.Scales(
      *(jnp.exp(logs[f"logit_scale_{n}"]) for n in scales.values())
    )
    space = Lorentz(jnp.exp(logs["curv"]))
    return hyper3.terms(space, of_groups, outputs, options)

  with jax.enable_x64(True):
    kinds = ("image", "text", "box_image", "box_text")
    points = {
      k: jnp.asarray(given[k]) for k in (*kinds, "query_image", "query_text")
    }
    logs = {
      k: jnp.asarray(np.log(v))
      for k, v in given.items()
      if k == "curv" or k.startswith("logit_scale")
    }
    value_and_grad = jax.value_and_grad(loss_of, (0, 1), has_aux=True)
    (loss, terms), grads = jax.device_get(jax.jit(value_and_grad)(points, logs))
  queries = (
    "query_entailment_loss",
    "query_visual_entailment_loss",
    "query_text_entailment_loss",
    "calibration_query_visual",
    "calibration_query_text",
  )
  of_queries = sum(terms[name] for name in queries)
  each = {
    "loss": loss,
    "contrastive": terms["contrastive_loss"],
    "contrastive_global": terms["contrastive_global"],
    "contrastive_global_local": terms["contrastive_cross"],
    "contrastive_local": terms["contrastive_local"],
    "entailment": terms["entailment_loss"],
    "entailment_base": terms["entailment_loss"] - of_queries,
    "entailment_query": of_queries,
    "entailment_image_text": terms["text_image_entailment_loss"],
    "entailment_part_image_text": terms["box_text_image_entailment_loss"],
    "entailment_image_part_image": terms["cross_image_entailment_loss"],
    "entailment_text_part_text": terms["cross_text_entailment_loss"],
    "entailment_query_image_text": terms["query_entailment_loss"],
    "entailment_query_visual": terms["query_visual_entailment_loss"],
    "entailment_query_text": terms["query_text_entailment_loss"],
    "calibration_image_part_image": terms["calibration_image"],
    "calibration_text_part_text": terms["calibration_text"],
    "calibration_query_visual": terms["calibration_query_visual"],
    "calibration_query_text": terms["calibration_query_text"],
    **{f"grad_{k}": v for k, v in grads[0].items()},
    **{f"grad_{k}_log": v for k, v in grads[1].items()},
  }
  assert wanted.keys() - each.keys() == {"query_count"}
  for name in wanted.keys() & each.keys():
    equal(each[name], wanted[name], f"{number} {name}", clamped=number == 1)


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("number", [0, 1])
def test_pooling_by_queries(number):
  prefix = f"pool{number}/"
  found = {
    k.removeprefix(prefix): v
    for k, v in golden("hyper3").items()
    if k.startswith(prefix)
  }
  names = {
    "project": "cross_attention.out_proj",
    "norm": "mlp_norm",
    "mlp_1": "pool_mlp.0",
    "mlp_2": "pool_mlp.2",
    "text_query_proj": "text_query_proj",
  }

  def layer(weight, bias, key="kernel"):
    return {key: weight.T, "bias": bias}

  def tree(kind):
    """Parameters or their gradients, in our layout."""
    packed = f"{kind}param.cross_attention.in_proj_"
    made = {
      ours: layer(
        found[f"{kind}param.{theirs}.weight"],
        found[f"{kind}param.{theirs}.bias"],
        "scale" if ours == "norm" else "kernel",
      )
      for ours, theirs in names.items()
    }
    weights = np.split(found[f"{packed}weight"], 3)
    biases = np.split(found[f"{packed}bias"], 3)
    made |= dict(zip("qkv", map(layer, weights, biases), strict=True))
    return {"params": made}

  wide, width = found["in/param.pool_mlp.0.weight"].shape
  module = QueryPooling(int(found["in/heads"]), wide // width)
  owner = found["in/owner"]

  def total(params, tokens, query):
    given = query[:, None], tokens[owner][:, 1:]
    pooled = cast(jax.Array, module.apply(params, *given))[:, 0]
    return jnp.sum(pooled * found["in/cotangent"]), pooled

  with jax.enable_x64(True):
    given = (
      jax.tree.map(jnp.asarray, tree("in/")),
      jnp.asarray(found["in/tokens"]),
      jnp.asarray(found["in/query"]),
    )
    value_and_grad = jax.value_and_grad(total, (0, 1, 2), has_aux=True)
    (_, pooled), (params, tokens, query) = jax.device_get(
      jax.jit(value_and_grad)(*given)
    )
  equal(pooled, found["out/pooled"], "pooled", False)
  equal(tokens, found["out/grad_tokens"], "tokens", False)
  equal(query, found["out/grad_query"], "query", False)
  jax.tree.map(
    lambda a, b: equal(a, b, "parameters", False), params, tree("out/grad_")
  )


def test_queries_are_those_of_the_official_rules():
  odd = {"ok", "  ", "Straße  und  CAFÉ. STRASSE und café."}  # see the README
  cases = json.loads((FOLDER / "hyper3_queries.json").read_text())
  checked = 0
  for one in cases:
    if one["caption"] not in odd:
      most = None if "max_queries" in one else 6
      found = hyper3.queries(one["caption"], one["boxes"], most)
      wanted = [(q["text"], q["parent"], q["weight"]) for q in one["queries"]]
      assert [tuple(query) for query in found] == wanted
      checked += 1
  assert checked == len(cases) - 6
