"""ProLIP's loss against the official code: terms, gradients, training."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hyperclip_jax.geometry import gaussian
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.losses import inclusion, sigmoid
from hyperclip_jax.optim import adamw
from hyperclip_jax.systems import dual_encoder, prolip
from hyperclip_jax.systems.prolip import model, official
from tests import golden_files, meshes
from tests.systems.prolip import golden
from tests.systems.prolip.golden import assert_relative

pytestmark = pytest.mark.usefixtures("standard_promotion")

KINDS = ("image", "text")
CASES, GUARD = range(6), 5  # the exact form has no guards
ABLATION = 0.5  # weight of the term in case 3
# Tests compile more than they compute.
FAST = {"xla_backend_optimization_level": 0}


@pytest.fixture(scope="module")
def losses():
  return golden_files.arrays("prolip/losses_float64")


def settings(losses, case, form):
  """Options of a case."""
  given = {
    name: float(losses[f"case{case}/set/{name}"])
    for name in (
      "inclusion_alpha",
      "inclusion_alpha_occ",
      "vib_beta",
      "ppcl_lambda",
      "inclusion_loss_eps",
      "inclusion_loss_scale",
    )
  }
  return options(given, form)


def options(given, form):
  return dataclasses.replace(
    prolip.Options(),
    pair_weight=given["ppcl_lambda"],
    inclusion_weight=given["inclusion_alpha"],
    masked_weight=given["inclusion_alpha_occ"],
    bottleneck_weight=given["vib_beta"],
    inclusion_eps=given["inclusion_loss_eps"],
    inclusion_slope=given["inclusion_loss_scale"],
    inclusion_form=form,
    bottleneck_form=form,
    guards="reference" if form == "reference" else "off",
  )


def inputs(losses, case):
  """Arrays of a case by name."""
  prefix = f"case{case}/in/"
  return {
    key.removeprefix(prefix): value
    for key, value in losses.items()
    if key.startswith(prefix)
  }


def outputs(given):
  """Outputs of the towers, from means and log variances."""

  def rows(name):
    return gaussian.join(given[f"{name}_mean"], given[f"{name}_l"])

  whole = {kind: rows(kind) for kind in KINDS}
  masked = {kind: rows(f"masked_{kind}") for kind in KINDS}
  count, examples = len(masked["image"]), len(whole["image"])
  masked = {
    kind: jnp.pad(x, ((0, examples - count), (0, 0)))
    for kind, x in masked.items()
  }
  masked["valid"] = jnp.arange(examples) < count
  return {"whole": whole, "masked": masked}


def weighted(terms, o):
  """Terms as the official code has them."""
  weights = {
    "ppcl": o.pair_weight,
    "inclusion": o.inclusion_weight,
    "img_inclusion": o.masked_weight,
    "txt_inclusion": o.masked_weight,
    "vib": o.bottleneck_weight,
  }
  ours = {"img_inclusion": "image_inclusion", "txt_inclusion": "text_inclusion"}
  return {
    name: weight * terms[ours.get(name, name)]
    for name, weight in weights.items()
  }


@pytest.mark.parametrize(
  ("case", "form"),
  [
    *((case, "reference") for case in CASES),
    *((case, "exact") for case in CASES if case != GUARD),
  ],
)
def test_terms_and_gradients_equal_official(case, form, losses):
  place = f"case{case}/{'out' if form == 'reference' else 'exact'}"
  o = settings(losses, case, form)

  def loss(given):
    rows = outputs(given)
    scale, bias = given["logit_scale"], given["logit_bias"]
    total, terms = prolip.terms(scale, bias, rows, o)
    if "shift" in given:  # the ablation's term, with a scale of its own
      sphere, (x, y) = Gaussian("cosine"), (rows["whole"][k] for k in KINDS)
      scale, shift = given["negative_scale"], given["shift"]
      total += ABLATION * sigmoid.pairs(sphere, scale, shift, x, y)
    return total, terms

  with jax.enable_x64(True):
    found = jax.jit(
      jax.value_and_grad(loss, has_aux=True), compiler_options=FAST
    )
    (total, terms), grads = jax.device_get(
      found(golden.wide(inputs(losses, case)))
    )
  assert_relative(total, losses[f"{place}/total"], 1e-11)
  for name, value in weighted(terms, o).items():
    assert_relative(value, losses[f"{place}/{name}"], 1e-11, name)
  if form == "reference":
    assert terms["guarded"] == losses[f"case{case}/guard_warnings"]
  for name, grad in grads.items():
    if f"{place}/grad_{name}" not in losses:
      continue
    assert_relative(grad, losses[f"{place}/grad_{name}"], 1e-9, name)


@pytest.mark.parametrize("case", CASES)
def test_parts_equal_official(case, losses):
  o = settings(losses, case, "reference")
  given = inputs(losses, case)
  image, text = (
    gaussian.join(given[f"{kind}_mean"], given[f"{kind}_l"]) for kind in KINDS
  )
  place = f"case{case}/out"
  logits = given["logit_scale"] * Gaussian().pairwise(image, text)
  assert_relative(
    logits + given["logit_bias"], losses[f"{place}/logits"], 1e-12
  )
  for name, (x, y) in {
    "image_in_text": (image, text),
    "text_in_image": (text, image),
  }.items():
    found = gaussian.log_included(x, y, o.inclusion_eps, "reference")
    assert_relative(found, losses[f"{place}/h_{name}"], 1e-12, name)


def test_without_variance_it_is_the_loss_of_siglip():
  rng = np.random.default_rng(0)
  x, y = (rng.normal(size=(5, 6)).astype(np.float32) for _ in range(2))
  x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
  wanted = np.log1p(np.exp(-(2 * np.eye(5) - 1) * (10 * x @ y.T - 5))).sum() / 5
  narrow = [gaussian.join(v, np.full_like(v, -60)) for v in (x, y)]
  found = sigmoid.pairs(Gaussian(), 10.0, -5.0, *map(jnp.asarray, narrow))
  np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_inclusion_falls_as_texts_grow_at_equal_means():
  rng = np.random.default_rng(0)
  mean, log_var = rng.normal(size=(2, 4, 6)).astype(np.float32)
  image = jnp.asarray(gaussian.join(mean, log_var))

  def loss(log_var):
    text = gaussian.join(jnp.asarray(mean), log_var)
    return inclusion.inclusion(text, image, 0.0, 10.0)

  assert (jax.grad(loss)(jnp.asarray(log_var)) < 0).all()
  equal = inclusion.inclusion(image, image, -20.0, 1e3)
  np.testing.assert_allclose(equal, np.log(2), rtol=1e-6)


@pytest.mark.parametrize("filler", [np.inf, np.nan, 1e30])
def test_rows_that_fill_up_may_hold_anything(filler):
  rng = np.random.default_rng(0)
  x, y = (jnp.asarray(rng.normal(size=(4, 6)), jnp.float32) for _ in range(2))
  where = jnp.arange(4) < 2

  def loss(x, y):
    return inclusion.inclusion(x, y, -20.0, 1e3, "exact", where)

  filled = jnp.where(where[:, None], x, filler)
  both = jax.jit(jax.value_and_grad(loss, (0, 1)))
  wanted, found = both(x, y), both(filled, y)
  jax.tree.map(np.testing.assert_array_equal, found, wanted)
  np.testing.assert_allclose(
    wanted[0], inclusion.inclusion(x[:2], y[:2], -20.0, 1e3), rtol=1e-6
  )


def test_inputs_that_their_masked_form_includes_are_counted():
  """Two of three images, the fourth row fills up; all texts."""
  means = jnp.eye(4, dtype=jnp.float32)
  whole = gaussian.join(means, jnp.full((4, 4), -2.0))
  widths = jnp.array([[0.0], [-1.0], [-3.0], [jnp.nan]])
  outputs = {
    "whole": {"image": whole, "text": whole},
    "masked": {
      "image": gaussian.join(means, jnp.broadcast_to(widths, (4, 4))),
      "text": gaussian.join(means, jnp.zeros((4, 4))),
      "valid": jnp.arange(4) < 3,
    },
  }
  one = jnp.float32(1)
  _, found = prolip.terms(one, -one, outputs, prolip.Options())
  assert float(found["image_included"]) == pytest.approx(2 / 3)
  assert float(found["text_included"]) == 1


def test_a_guard_keeps_nan_and_counts():
  large = jnp.float32(2e5)
  assert [float(v) for v in inclusion.guarded(large, 1e5)] == [0.0, 1.0]
  assert [float(v) for v in inclusion.guarded(-large, 1e5)] == [0.0, 1.0]
  assert np.isnan(inclusion.guarded(jnp.float32(np.nan), 1e5)[0])
  slope = jax.grad(lambda x: inclusion.guarded(x, 1e5)[0])
  assert [float(slope(v)) for v in (large, jnp.float32(3))] == [0.0, 1.0]


@functools.cache
def curve(name, dtype):
  """Terms of the official loop's steps, and the model at its end."""
  mini = golden.mini()
  given = {
    key.rsplit("/", 1)[1]: float(value)
    for key, value in mini.items()
    if key.startswith(f"{name}/set/")
  }
  o, variables = golden.model("init")
  own = options(given, "reference")
  o = dataclasses.replace(
    own,
    **{
      k: getattr(o, k)
      for k in ("image_size", "embed_dim", "vision", "text", "dtype")
    },
  )
  both = model.module(o, dtype)
  params = jax.tree.map(lambda x: jnp.asarray(x, dtype), variables["params"])
  pixels = golden.pixels(mini, dtype)
  tokens, rates = mini["tokens"], jnp.asarray(mini[f"{name}/lr"])
  count = int(given["n_masked"])
  lift = Gaussian().lift

  def mask(tree):
    return adamw.decay_mask(
      tree, dual_encoder.MATRICES, ("logit_scale", "logit_bias")
    )

  optimizer = adamw.adamw(
    lambda step: rates[step],
    given["beta1"],
    given["beta2"],
    given["adam_eps"],
    given["weight_decay"],
    mask,
  )

  def loss(params, images, tokens, masked_tokens, keep):
    variables = {"params": params}
    image = functools.partial(both.apply, variables, method="encode_image")
    text = functools.partial(both.apply, variables, method="encode_text")
    masked = {
      "image": lift(image(images[:count], keep)),
      "text": lift(text(masked_tokens)),
    }
    rest = len(images) - count
    found = {
      "whole": {"image": lift(image(images)), "text": lift(text(tokens))},
      "masked": {
        kind: jnp.pad(x, ((0, rest), (0, 0))) for kind, x in masked.items()
      },
    }
    found["masked"]["valid"] = jnp.arange(len(images)) < count
    scale = jnp.exp(params["logit_scale"])
    return prolip.terms(scale, params["logit_bias"], found, o)

  @functools.partial(jax.jit, compiler_options=FAST)
  def step(params, state, *batch):
    (value, terms), grads = jax.value_and_grad(loss, has_aux=True)(
      params, *batch
    )
    updates, state = optimizer.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    params["logit_scale"] = jnp.clip(params["logit_scale"], 0, np.log(100))
    return params, state, value, weighted(terms, o), grads

  state = optimizer.init(params)
  rows, scalars, first = [], [], None
  for k in range(len(rates)):
    batch = (
      pixels[k % 3],
      tokens[k % 3],
      mini[f"{name}/masked_tokens"][k],
      mini[f"{name}/keep_indices"][k],
    )
    scalars.append((params["logit_scale"], params["logit_bias"]))
    params, state, value, terms, grads = step(params, state, *batch)
    rows.append(terms | {"loss": value})
    first = grads if first is None else first
  scalars.append((params["logit_scale"], params["logit_bias"]))
  variables = {"params": params}
  end = jax.jit(lambda *args: jax.tree.map(lift, both.apply(*args)))
  image, text = end(variables, pixels[0, :4], tokens[0, :4])
  ends = {"image": image, "text": text}
  return jax.device_get((rows, scalars, first, params, ends, o))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train_official", "train_strong"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_equals_official(name, dtype):
  mini = golden.mini()
  with jax.enable_x64(dtype == "float64"):
    rows, scalars, first, params, ends, o = curve(name, dtype)
  place = f"{name}/{dtype}"
  tight, loose = (1e-9, 1e-9) if dtype == "float64" else (2e-6, 1e-4)
  for term in rows[0]:
    found = [row[term] for row in rows]
    tolerance = tight if term == "loss" else loose
    np.testing.assert_allclose(
      found, mini[f"{place}/{term}"], rtol=tolerance, err_msg=term
    )
  for index, scalar in enumerate(("logit_scale_log", "logit_bias")):
    found = [both[index] for both in scalars]
    np.testing.assert_allclose(found, mini[f"{place}/{scalar}"], rtol=tight)
  for what, tree in (("grad_norm_step0", first), ("final_param_norm", params)):
    state = official.arrays(o, tree)
    norms = [
      np.linalg.norm(state[n].astype(np.float64))
      for n in mini[f"{name}/param_names"]
    ]
    np.testing.assert_allclose(
      norms, mini[f"{place}/{what}"], rtol=loose, atol=1e-7, err_msg=what
    )
  for kind, row in ends.items():
    assert_relative(
      gaussian.means(row), mini[f"{place}/final_{kind}_mean"], loose
    )
    assert_relative(
      gaussian.log_vars(row), mini[f"{place}/final_{kind}_l"], loose
    )


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_any_number_of_devices_has_one_loss(devices, losses):
  """Each term once, on aligned pairs; the official ring repeats them."""
  o = settings(losses, 0, "reference")
  mesh = meshes.mesh(devices)

  def gradients(pairs):
    def loss(rows):
      scale, bias = jnp.float64(14.0), jnp.float64(-10.0)
      return prolip.terms(scale, bias, rows, o, pairs)

    return jax.jit(
      jax.value_and_grad(loss, has_aux=True, allow_int=True),
      compiler_options=FAST,
    )

  with jax.enable_x64(True):
    rows = outputs(golden.wide(inputs(losses, 0)))
    wanted = jax.device_get(gradients(sigmoid.pairs)(rows))
    sharding = jax.sharding.NamedSharding(
      mesh, jax.sharding.PartitionSpec("data")
    )
    split = jax.device_put(rows, sharding)
    found = jax.device_get(gradients(sigmoid.on(mesh, "tiled"))(split))
  for name in ("whole", "masked"):
    for kind in KINDS:
      assert_relative(found[1][name][kind], wanted[1][name][kind], 1e-12)
  assert_relative(found[0][0], wanted[0][0], 1e-12)
  for name, value in wanted[0][1].items():
    np.testing.assert_allclose(found[0][1][name], value, rtol=1e-12)
