"""Losses of CLIP-Rocket: golden in float64, sharded, and their properties."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from hyperclip_jax.geometry.numerics import unit
from hyperclip_jax.losses import contrastive, selfsup, tiled
from hyperclip_jax.losses.selfsup import Pair
from tests import golden_rocket, meshes
from tests.golden_rocket import cases, under

GOLDEN = golden_rocket.arrays("losses_float64")
TERMS = {
  "clip_loss_image_global": "image_weak_loss",
  "clip_loss_text_global": "text_weak_loss",
  "clip_loss_image_local": "image_strong_loss",
  "clip_loss_text_local": "text_strong_loss",
}
CONTRAST = contrastive.cross_entropy
KINDS = ("image", "text")


def pairs(given, kind):
  """Weak pair and strong pairs of the arrays of a kind ("v", say)."""
  strong = zip(
    given[f"{kind}_image_local"], given[f"{kind}_text_local"], strict=True
  )
  return Pair(given[f"{kind}_image"], given[f"{kind}_text"]), [
    Pair(*views) for views in strong
  ]


def clip(given, contrast=CONTRAST, query_only=False, smoothing=None):
  kind = "z_" if "z_image" in given else ""
  weak = Pair(unit(given[f"{kind}image"]), unit(given[f"{kind}text"]))
  if kind and "h_image" in given:
    found = zip(unit(given["h_image"]), unit(given["h_text"]), strict=True)
    strong = [Pair(*views) for views in found]
  else:
    strong = []
  return selfsup.weak_and_strong(
    contrast,
    weak,
    strong,
    given["logit_scale"],
    given.get("h_logit_scale", 1.0),
    float(given["label_smoothing"]) if smoothing is None else smoothing,
    query_only,
  ), strong


def total(kind, given, **how):
  """The loss of a kind and its terms, as the golden file names them."""
  smoothing = 0.0 if kind in ("clip", "swalipv1") else None
  (loss, terms), strong = clip(given, smoothing=smoothing, **how)
  found = {official: terms.get(ours) for official, ours in TERMS.items()}
  found["clip_loss"] = loss
  loss = loss * (2 if given.get("sum", 0) else 1)
  if kind == "barlip":
    weights = float(given["lamb"]), float(given["scale_loss"])
    found["barlip_loss"] = selfsup.barlow_of_views(*pairs(given, "v"), *weights)
    loss = loss + found["barlip_loss"]
  elif kind == "siamlip":
    found["siamlip_loss"] = selfsup.siam_of_views(
      *pairs(given, "p"), *pairs(given, "v")
    )
    loss = loss + found["siamlip_loss"]
  elif kind == "swalip":
    settings = float(given["epsilon"]), int(given["iters"])
    query_only = how.get("query_only", False)
    scale = given["h_logit_scale"]
    found["swalip_loss"] = selfsup.swapped(strong, scale, *settings, query_only)
    loss = loss + float(given["swalip_weight"]) * found["swalip_loss"]
  elif kind == "swalipv1":
    cosines = Pair(given["p_image"], given["p_text"])
    targets = cosines
    if "p_image_momentum" in given:
      targets = Pair(*(jnp.asarray(given[f"p_{k}_momentum"]) for k in KINDS))
    found["swalip_loss"] = selfsup.swapped_prototypes(
      cosines,
      targets,
      given["swalip_logit_scale"],
      float(given["epsilon"]),
      int(given["iters"]),
    )
    loss = loss + float(given["swalip_weight"]) * found["swalip_loss"]
  return loss, found | {"loss": loss}


FIXED = {
  "label_smoothing", "sum", "lamb", "scale_loss", "swalip_weight", "epsilon",
  "iters", "target_is_momentum", "p_image_momentum", "p_text_momentum",
}  # fmt: skip


def value_and_grads(kind, given, **how):
  """Terms of a loss, and `grad_NAME` of every input that is trained."""
  trained = {k: jnp.asarray(v) for k, v in given.items() if k not in FIXED}
  fixed = {k: v for k, v in given.items() if k in FIXED}

  def loss(trained):
    return total(kind, {**trained, **fixed}, **how)

  (_, terms), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(trained)
  terms = {name: value for name, value in terms.items() if value is not None}
  return jax.device_get(
    terms | {f"grad_{name}": grad for name, grad in grads.items()}
  )


@pytest.mark.parametrize(
  "case",
  [
    case
    for kind in ("clip", "cl2l", "barlip", "siamlip", "swalip", "swalipv1")
    for case in cases(kind)
  ],
)
def test_terms_and_gradients_equal_official(case):
  given = under(GOLDEN, f"{case}/in")
  wanted = under(GOLDEN, f"{case}/out")
  with jax.enable_x64(True):
    found = value_and_grads(case.split("/")[0], given)
  compared = [name for name in wanted if name in found]
  for name in compared:
    np.testing.assert_allclose(
      found[name], wanted[name], rtol=1e-9, atol=1e-9, err_msg=name
    )
  left = {name for name in wanted if name not in found and "acc" not in name}
  assert left <= {
    "clip_loss_image", "clip_loss_text", "targets_image", "targets_text",
  }  # fmt: skip


@pytest.mark.parametrize("case", cases("clip_smooth"))
@pytest.mark.parametrize("form", ["naive", "tiled"])
def test_label_smoothing_equals_official(case, form):
  given = under(GOLDEN, f"{case}/in")
  smoothing = float(given.pop("label_smoothing"))
  contrast = tiled.on(meshes.mesh(1), form)

  def loss(given):
    x, y = unit(given["image"]), unit(given["text"])
    scale = given["logit_scale"]
    image, text = (
      selfsup.smoothed(contrast, scale, a, b, smoothing)
      for a, b in ((x, y), (y, x))
    )
    return (image + text) / 2, {"loss_image": image, "loss_text": text}

  with jax.enable_x64(True):
    given = jax.tree.map(jnp.asarray, given)
    (value, terms), grads = jax.value_and_grad(loss, has_aux=True)(given)
  found = terms | {"loss": value} | {f"grad_{k}": v for k, v in grads.items()}
  for name, wanted in under(GOLDEN, f"{case}/out").items():
    np.testing.assert_allclose(found[name], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", cases("sinkhorn"))
def test_sinkhorn_equals_official(case):
  given = under(GOLDEN, f"{case}/in")
  with jax.enable_x64(True):
    found = selfsup.sinkhorn(
      jnp.asarray(given["cosine"]),
      float(given["epsilon"]),
      int(given["iters"]),
    )
  wanted = GOLDEN[f"{case}/out/assign"]
  np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("case", cases("swalip"))
def test_targets_equal_official(case):
  given = under(GOLDEN, f"{case}/in")
  settings = float(given["epsilon"]), int(given["iters"])
  with jax.enable_x64(True):
    images, texts = (unit(jnp.asarray(given[f"h_{k}"])) for k in KINDS)
    for a in range(2):
      for b in range(2):
        both = images[a] @ texts[b].T, texts[a] @ images[b].T
        for kind, x in zip(KINDS, both, strict=True):
          wanted = GOLDEN[f"{case}/out/targets_{kind}"][a, b]
          found = selfsup.sinkhorn(x, *settings)
          np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", ["clip", "cl2l", "barlip", "swalip"])
def test_two_devices_of_the_official_code(kind):
  """Their loss is ours; their gradient ours of `query_only`, Barlow's half."""
  given = dist2(kind)
  wanted = under(GOLDEN, f"dist2/out/{kind}")
  with jax.enable_x64(True):
    found = value_and_grads(kind, given, query_only=True)
    full = value_and_grads(kind, given)
  for name, value in wanted.items():
    if "acc" in name or name not in found:
      continue
    if value.shape == (2,):
      np.testing.assert_allclose(found[name], value.mean(), rtol=1e-9)
    else:  # a device's own loss has twice the weight of its rows in ours
      factor = 1 if name.startswith("grad_v") else 2
      np.testing.assert_allclose(factor * found[name], value, atol=1e-9)
  np.testing.assert_allclose(full["loss"], found["loss"], rtol=1e-12)
  assert np.abs(full["grad_z_image"] - found["grad_z_image"]).max() > 1e-3


def dist2(kind):
  given = under(GOLDEN, "dist2/in")
  taken = {"clip": "z", "cl2l": "zh", "barlip": "zhv", "swalip": "zh"}[kind]
  given = {
    name: x
    for name, x in given.items()
    if name.split("_")[0] in taken or name.endswith("logit_scale")
  }
  if kind == "clip":
    given = {k: v for k, v in given.items() if not k.startswith("h_")}
  given.pop("swalip_logit_scale")
  return given | {
    "label_smoothing": 0.0 if kind == "swalip" else 0.1,
    "sum": 0 if kind == "clip" else 1,
    "swalip_weight": 0.2,
    "epsilon": 0.05,
    "iters": 3,
    "lamb": 0.005,
    "scale_loss": 0.025,
  }


@functools.cache
def batch(kind):
  """Eight examples with two strong views, float64."""
  rng = np.random.default_rng(0)
  shapes = {
    f"{k}_{m}{local}": ((2, 8, 6) if local or k == "h" else (8, 6))
    for k in "zhpv"
    for m in KINDS
    for local in (("", "_local") if k in "pv" else ("",))
  }
  given = {name: rng.normal(size=shape) for name, shape in shapes.items()}
  given |= {"logit_scale": np.float64(9), "h_logit_scale": np.float64(4)}
  taken = {"cl2l": "zh", "barlip": "zhv", "siamlip": "zhpv", "swalip": "zh"}
  if kind == "swalipv1":
    given = {k: v for k, v in given.items() if k[0] == "z"} | {
      "logit_scale": np.float64(9),
      "swalip_logit_scale": np.float64(10),
      "p_image": rng.normal(size=(8, 16)),
      "p_text": rng.normal(size=(8, 16)),
    }
  else:
    given = {
      k: v for k, v in given.items() if k[0] in taken[kind] or "scale" in k
    }
  return given | {
    "label_smoothing": 0.1,
    "sum": 1,
    "swalip_weight": 0.2,
    "epsilon": 0.05,
    "iters": 3,
    "lamb": 0.005,
    "scale_loss": 0.025,
  }


@functools.cache
def on_one_device(kind):
  return value_and_grads(kind, batch(kind))


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
@pytest.mark.parametrize(
  "kind", ["cl2l", "barlip", "siamlip", "swalip", "swalipv1"]
)
def test_sharded_rows_give_the_numbers_of_one_device(kind, devices):
  given, mesh = batch(kind), meshes.mesh(devices)

  def place(name, x):
    rows = 0 if x.ndim == 2 else 1
    spec = PartitionSpec(*[None] * rows, "data") if x.ndim else PartitionSpec()
    return jax.device_put(x, NamedSharding(mesh, spec))

  with jax.enable_x64(True):
    wanted = on_one_device(kind)
    sharded = {
      name: x if name in FIXED else place(name, x) for name, x in given.items()
    }
    contrast = tiled.on(mesh, "tiled")
    found = value_and_grads(kind, sharded, contrast=contrast)
  assert found.keys() == wanted.keys()
  for name in wanted:
    np.testing.assert_allclose(
      found[name], wanted[name], rtol=1e-9, atol=1e-12, err_msg=name
    )


rows = st.integers(0, 2**32 - 1)
quick = hypothesis.settings(
  max_examples=10, deadline=None, database=None, derandomize=True
)


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@jax.jit
def smoothed(x, y, q):
  at_zero, at_one = (
    selfsup.smoothed(CONTRAST, 7.0, x, y, smoothing) for smoothing in (0.0, 1.0)
  )
  return (1 - q) * at_zero + q * at_one


@quick
@hypothesis.given(seed=rows, q=st.floats(0, 1))
def test_smoothing_is_a_mean_of_two_losses(seed, q):
  """(1 - q) CE + q mean(-log p), of the matrix of logits."""
  x, y = unit(jnp.asarray(normal(seed, 2, 5, 4)))
  logs = jax.nn.log_softmax(7 * x @ y.T)
  wanted = -(1 - q) * jnp.mean(jnp.diagonal(logs)) - q * jnp.mean(logs)
  found = smoothed(x, y, q)
  np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
  same = jnp.ones_like(x) / 2
  alike = smoothed(same, same, q)
  np.testing.assert_allclose(alike, np.log(5), rtol=1e-5)


def views(seed, n=2):
  z, *h = unit(jnp.asarray(normal(seed, 1 + n, 2, 6, 4)))
  return Pair(*z), [Pair(*one) for one in h]


@jax.jit
def loss_of(weak, strong):
  return selfsup.weak_and_strong(CONTRAST, weak, strong, 9.0, 4.0, 0.1)[0]


@quick
@hypothesis.given(seed=rows)
def test_order_of_views_and_of_examples_does_not_matter(seed):
  weak, strong = views(seed)
  order = np.random.default_rng(seed).permutation(6)
  turned = [jax.tree.map(lambda x: x[order], pair) for pair in (weak, *strong)]
  wanted = loss_of(weak, strong)
  np.testing.assert_allclose(loss_of(weak, strong[::-1]), wanted, rtol=1e-5)
  np.testing.assert_allclose(loss_of(turned[0], turned[1:]), wanted, rtol=1e-5)


def test_no_strong_views_are_clip():
  weak, _ = views(0)
  wanted = [
    CONTRAST(selfsup.Sphere(), 9.0, *rows) for rows in (weak, weak[::-1])
  ]
  np.testing.assert_allclose(loss_of(weak, []), np.mean(wanted), rtol=1e-6)


def test_weak_and_strong_do_not_meet():
  weak, strong = views(0)

  def weak_terms(weak, strong):
    terms = selfsup.weak_and_strong(CONTRAST, weak, strong, 9.0, 4.0, 0.1)[1]
    return terms["image_weak_loss"] + terms["text_weak_loss"]

  grads = jax.grad(weak_terms, (0, 1))(weak, strong)
  assert all(leaf.any() for leaf in jax.tree.leaves(grads[0]))
  assert not any(leaf.any() for leaf in jax.tree.leaves(grads[1]))


def test_barlow_is_zero_at_the_identity():
  rng = np.random.default_rng(0)
  x, _ = np.linalg.qr(rng.normal(size=(8, 4)))
  x = jnp.asarray(np.sqrt(8) * x, jnp.float32)
  assert float(selfsup.barlow(x, x)) < 1e-12
  assert float(selfsup.barlow(x, -x)) > 0.1


@quick
@hypothesis.given(seed=rows)
def test_siam_is_bounded_and_its_targets_get_no_gradient(seed):
  p, v = jnp.asarray(normal(seed, 2, 5, 3))
  siam = jax.jit(jax.value_and_grad(selfsup.siam, (0, 1)))
  value, grads = siam(p, v)
  assert -1e-6 <= value <= 4 + 1e-6
  assert grads[0].any()
  assert not grads[1].any()
  np.testing.assert_allclose(siam(p, p)[0], 0, atol=1e-6)
  np.testing.assert_allclose(siam(p, -p)[0], 4, atol=1e-6)


@quick
@hypothesis.given(seed=rows, epsilon=st.floats(0.01, 10))
def test_sinkhorn_rows_are_probabilities(seed, epsilon):
  cosines = jnp.tanh(jnp.asarray(normal(seed, 6, 9)))
  found = selfsup.sinkhorn(cosines, epsilon)
  np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
  np.testing.assert_allclose(selfsup.sinkhorn(cosines, 1e9), 1 / 9, rtol=1e-5)


def test_sinkhorn_survives_any_temperature():
  cosines = jnp.asarray([[1.0, -1.0], [1.0, -1.0]])
  assert np.isfinite(selfsup.sinkhorn(cosines, 1e-4)).all()


def test_targets_get_no_gradient():
  _, strong = views(0)

  def predicted(images):
    _, fixed = jax.tree.map(jax.lax.stop_gradient, (images, strong))
    both = [Pair(images, fixed[0].text), fixed[1]]
    return selfsup.swapped(both, 4.0)

  def targets(x):
    return selfsup.sinkhorn(x)[0, 0]

  assert jax.grad(predicted)(strong[0].image).any()
  assert not jax.grad(targets)(jnp.eye(3)).any()
  with pytest.raises(ValueError, match="two strong views, not 3"):
    selfsup.swapped(views(0, 3)[1], 4.0)


def test_scaled_gradient_keeps_the_value():
  x = jnp.asarray([1.0, -3.0])
  assert selfsup.scaled_gradient(x, 0.25).tolist() == x.tolist()
  grads = jax.grad(lambda x: jnp.sum(selfsup.scaled_gradient(x, 0.25)))(x)
  assert grads.tolist() == [0.25, 0.25]
