"""Properties of hyperbolic layers that the published code does not have."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from hyperclip_jax.geometry import beta, boosts, lorentz, manifolds, means
from hyperclip_jax.nn import hyperbolic
from hyperclip_jax.nn.hyperbolic import conv
from hyperclip_jax.optim import riemannian


def _points(*shape, size=1.0, seed=0, dtype=np.float32):
  u = np.random.default_rng(seed).normal(size=shape) * size
  return lorentz.expmap0(jnp.asarray(u.astype(dtype)), 1.0)


def _run(layer, *inputs):
  """Output and variables of a new layer, compiled."""
  return jax.jit(layer.init_with_output)(jax.random.key(0), *inputs)


def test_identities():
  x = _points(5, 3)
  dense = hyperbolic.PoincareDense(3)
  y, _ = _run(dense, x, 1.0)
  np.testing.assert_allclose(y, x, rtol=1e-6)
  image = _points(2, 4, 4, 3)
  one = hyperbolic.PoincareConv(3, (1, 1))
  y, _ = _run(one, image, 1.0)
  np.testing.assert_allclose(y, image, rtol=1e-6)


def test_a_centre_tap_returns_the_centre_of_the_patch():
  x = _points(1, 3, 3, 2)
  layer = hyperbolic.PoincareConv(2, (3, 3), padding="VALID")
  y, _ = _run(layer, x, 1.0)
  patch = beta.ratio(18, 2) * lorentz.logmap0(x, 1.0).reshape(18)
  expected = lorentz.expmap0(patch, 1.0)[8:10]
  np.testing.assert_allclose(y[0, 0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(
  "kind", [hyperbolic.PoincareConv, hyperbolic.LorentzConv]
)
def test_convolution_is_a_dense_layer_of_patches(kind):
  """With a stride, dilation, uneven padding; of 1, 2 and 3 axes."""
  for rank in (1, 2, 3):
    x = _points(2, 2, *(7, 6, 5)[:rank], 3, size=0.3)
    layer = kind(
      4,
      (3, 2, 1)[:rank],
      strides=(2, 1, 1)[:rank],
      padding=((2, 1), 0, (0, 1))[:rank],
      kernel_dilation=(2, 1, 1)[:rank],
      kernel_init=nn.initializers.normal(0.3),
      bias_init=nn.initializers.normal(0.3),
    )
    y, variables = _run(layer, x, 0.7)
    p = variables["params"]
    place = (1, 2, 3)[:rank]  # of the output
    spatial = [(0, 0), (2, 1), (0, 0), (0, 1)][1 : 1 + rank]
    padded = jnp.pad(x[1, 1], [*spatial, (0, 0)])
    steps = zip(place, (2, 1, 1), (3, 2, 1), (2, 1, 1), strict=False)
    window = tuple(
      slice(i * s, i * s + (w - 1) * d + 1, d) for i, s, w, d in steps
    )
    patch = padded[window].reshape(-1, 3)
    flat = p["kernel"].reshape(-1, 4)
    if kind is hyperbolic.PoincareConv:
      patch = beta.flatten(patch, 0.7, axes=1)
      dense = hyperbolic.PoincareDense(4)
      own = {"kernel": flat, "bias": p["bias"]}
    else:
      patch = patch.reshape(-1)
      dense = hyperbolic.LorentzDense(4)
      own = {k: p[k] for k in ("time_kernel", "bias")} | {"kernel": flat}
    expected = jax.jit(dense.apply)({"params": own}, patch, 0.7)
    np.testing.assert_allclose(
      y[(1, 1, *place)], expected, rtol=2e-5, atol=1e-6
    )


def test_leading_axes_and_vmap():
  x = _points(2, 3, 4, 4, 2)
  layer = hyperbolic.PoincareConv(3, (3, 3))
  y, variables = _run(layer, x, 1.0)
  mapped = jax.vmap(lambda x: layer.apply(variables, x, 1.0))(x)
  np.testing.assert_allclose(y, mapped, rtol=1e-5, atol=1e-6)
  alone = layer.apply(variables, x[1, 2], 1.0)
  np.testing.assert_allclose(y[1, 2], alone, rtol=1e-5, atol=1e-6)


def test_kernels_of_the_published_code():
  kernel = conv.published_identity(jax.random.key(0), (3, 3, 2, 20))
  for output in range(18):
    own = np.argwhere(np.asarray(kernel[..., output]))
    assert own.tolist() == [[output % 9 // 3, output % 3, output // 9]]
  assert not kernel[..., 18:].any()


def test_products_in_bfloat16_and_points_in_float32():
  x = _points(2, 4, 4, 8)
  for layer in (
    hyperbolic.PoincareConv(8, (3, 3), dtype=jnp.bfloat16),
    hyperbolic.LorentzConv(8, (3, 3), dtype=jnp.bfloat16),
    hyperbolic.PoincareDense(8, dtype=jnp.bfloat16),
    hyperbolic.LorentzDense(8, dtype=jnp.bfloat16),
  ):
    y, variables = _run(layer, x, 1.0)
    exact = jax.jit(layer.clone(dtype=None).apply)(variables, x, 1.0)
    assert y.dtype == jnp.float32
    error = jnp.linalg.norm(y - exact) / jnp.linalg.norm(exact)
    assert 1e-5 < error < 2e-2  # bfloat16 rounds to 4e-3


@pytest.mark.parametrize("mean", ["midpoint", "frechet"])
def test_batch_norm_moves_and_scales(mean):
  with jax.enable_x64(True):
    x = _points(50, 3, dtype=np.float64)
    layer = hyperbolic.BatchNorm(mean=mean)
    bias = jnp.asarray([0.3, -0.2, 0.1])
    variables = _run(layer.clone(use_running_average=True), x, 1.0)[1]
    params = {"bias": bias, "scale": jnp.asarray(0.5)}
    variables = {**variables, "params": params}

    @jax.jit
    def train(variables):
      return layer.apply(variables, x, 1.0, False, mutable=["batch_stats"])

    y, state = train(variables)
    centre_of = lorentz.centroid if mean == "midpoint" else means.frechet_mean
    both = jnp.stack([variables["batch_stats"]["mean"], centre_of(x, 1.0)])
    np.testing.assert_allclose(
      state["batch_stats"]["mean"],
      lorentz.centroid(both, 1.0, jnp.asarray([0.9, 0.1])),
      rtol=1e-12,
    )
    centre = hyperbolic.from_tangent(bias, 1.0)
    np.testing.assert_allclose(means.variance(y, centre, 1.0), 0.5, rtol=1e-5)
    if mean == "frechet":  # a centroid moves when its points are spread out
      np.testing.assert_allclose(means.frechet_mean(y, 1.0), centre, rtol=1e-5)

    # Running statistics: those of the batch, after enough batches of it.
    @jax.jit
    def repeat(state):
      def step(_, state):
        variables = {"params": params, **state}
        return layer.apply(variables, x, 1.0, False, mutable=["batch_stats"])[1]

      return jax.lax.fori_loop(0, 200, step, state)

    state = repeat(state)
    stats = {"params": params, **state}
    seen = layer.apply(stats, x, 1.0, True)
    np.testing.assert_allclose(seen, y, rtol=1e-7)
    # A batch of one, or in another order, is no other.
    np.testing.assert_allclose(
      layer.apply(stats, x[3:4], 1.0, True), seen[3:4], rtol=1e-12
    )


@pytest.mark.parametrize("far", [0.5, 5.0])  # where the bias moves the mean
@pytest.mark.parametrize("radius", [0.01, 1.0, 3.0, 5.0, 8.0])
def test_batch_norm_in_float32_is_as_exact_as_its_points(radius, far):
  """Rounding a point at radius r moves it by up to eps cosh(r)."""
  rng = np.random.default_rng(0)
  bias = rng.normal(size=8)
  bias *= far / np.linalg.norm(bias) / 2
  params = {"bias": bias, "scale": np.float64(0.7)}
  stats = {"mean": np.zeros(8), "var": np.float64(1.0)}
  layer = hyperbolic.BatchNorm(use_running_average=False)

  def run(x):
    dtype = functools.partial(jnp.asarray, dtype=x.dtype)
    variables = {"params": params, "batch_stats": stats}
    variables = jax.tree.map(dtype, variables)
    apply = jax.jit(functools.partial(layer.apply, mutable=["batch_stats"]))
    y, state = apply(variables, x, 1.0)
    return jax.tree.map(np.asarray, (y, state["batch_stats"]))

  for spread in (0.01, 0.5):
    with jax.enable_x64(True):
      centre = rng.normal(size=8)
      centre *= radius / np.linalg.norm(centre)
      around = lorentz.expmap0(spread * rng.normal(size=(500, 8)), 1.0)
      x = boosts.add(lorentz.expmap0(centre[None], 1.0), around, 1.0)
      x = np.asarray(x, np.float32)
      exact = run(jnp.asarray(x, jnp.float64))
    eps = np.finfo(np.float32).eps
    bounds = eps * (2 + np.cosh(radius) / spread), 4e-6
    for found, wanted, most in zip(run(x), exact, bounds, strict=True):
      for a, b in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        assert np.abs(a - b).max() < most * np.abs(b).max()


def test_batch_norm_of_a_batch_on_eight_devices():
  mesh = jax.make_mesh(
    (8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  rows = jax.NamedSharding(mesh, jax.P("data"))
  x = _points(64, 5)
  layer = hyperbolic.BatchNorm(use_running_average=False)
  variables = _run(layer, x, 1.0)[1]

  @jax.jit
  def apply(x):
    return layer.apply(variables, x, 1.0, mutable=["batch_stats"])

  for a, b in zip(
    jax.tree.leaves(apply(x)),
    jax.tree.leaves(apply(jax.device_put(x, rows))),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_long_patches_are_shortened():
  """Vectors of a length of 60 give the points of those of 40."""
  u = np.full((1, 4, 4, 3), 60.0, np.float32)
  layer = hyperbolic.PoincareConv(4, (3, 3))
  variables = layer.init(jax.random.key(0), jnp.asarray(u), 1.0)

  @jax.jit
  def run(u):
    of = functools.partial(layer.apply, variables, method="of_tangents")
    return jax.value_and_grad(lambda u: jnp.log1p(of(u, 1.0) ** 2).sum())(u)

  for found in map(np.asarray, (*run(u), *run(100 * u))):
    assert np.isfinite(found).all()
  np.testing.assert_allclose(run(u)[0], run(100 * u)[0], rtol=1e-5)


def test_batch_norm_with_a_scale_below_0_acts_as_with_0():
  x, layer = _points(9, 3), hyperbolic.BatchNorm(use_running_average=False)
  variables = _run(layer, x, 1.0)[1]
  params = {"bias": jnp.ones(3), "scale": jnp.float32(-1)}
  y, _ = layer.apply(
    {**variables, "params": params}, x, 1.0, mutable=["batch_stats"]
  )
  centre = hyperbolic.from_tangent(jnp.ones(3), 1.0)
  np.testing.assert_allclose(y, jnp.broadcast_to(centre, y.shape), rtol=1e-6)


def test_a_head_of_ideal_points_takes_points_of_its_dimension():
  head = hyperbolic.MaxSeparationMLR(3, ideal=True)
  with pytest.raises(ValueError, match="3 classes take points of 2 dimensions"):
    head.apply({}, jnp.ones((1, 1)), 1.0)


@pytest.mark.parametrize("pool", [hyperbolic.avg_pool, hyperbolic.max_pool])
def test_pooling_of_windows_beside_the_image(pool):
  with pytest.raises(ValueError, match=r"less than the window of \(2, 2\)"):
    pool(jnp.ones((1, 2, 2, 1)), 1.0, (2, 2), padding=2)
  assert pool(jnp.ones((1, 3, 3, 2)), 1.0, (5, 5)).shape == (1, 0, 0, 2)


def test_pooling_keeps_constants():
  x = jnp.broadcast_to(jnp.array([3.0, -4.0]), (1, 5, 5, 2))

  @jax.jit
  def pools(x, c):
    return [
      hyperbolic.avg_pool(x, c, (3, 3), strides=2),
      hyperbolic.avg_pool(x, c, (3, 3), strides=1, padding="SAME"),
      hyperbolic.avg_pool(x, c, (5, 5), strides=(1, 5)),
      hyperbolic.max_pool(x, c, (2, 2), strides=2),
      hyperbolic.global_avg_pool(x, c),
    ]

  found = pools(x, 1.313)
  shapes = [(1, 2, 2, 2), (1, 5, 5, 2), (1, 1, 1, 2), (1, 2, 2, 2), (1, 2)]
  assert [y.shape for y in found] == shapes
  for y in found:
    np.testing.assert_allclose(y, np.broadcast_to(x[0, 0, 0], y.shape), 1e-5)


def test_windows_that_tile_are_those_that_slide():
  x = _points(2, 6, 6, 3)
  tiled = hyperbolic.avg_pool(x, 1.0, (2, 3), strides=(2, 3))
  slid = hyperbolic.avg_pool(x, 1.0, (2, 3), strides=1)[:, ::2, ::3]
  np.testing.assert_allclose(tiled, slid, rtol=1e-6)


def test_the_lorentz_head_is_half_the_poincare_head():
  x = _points(4, 3)
  kernel = jnp.asarray(
    np.random.default_rng(0).normal(size=(3, 2)), jnp.float32
  )
  r = jnp.array([0.3, -0.5])
  poincare, lorentz_ = (
    layer.apply({"params": {"kernel": kernel, "bias": bias}}, x, 0.7)
    for layer, bias in (
      (hyperbolic.PoincareMLR(2), r),
      (hyperbolic.LorentzMLR(2), 2 * r),
    )
  )
  np.testing.assert_allclose(poincare, 2 * lorentz_, rtol=1e-5)


def test_curvature_starts_as_written():
  for positive in ("softplus", "exp"):
    for c in (0.01, 1.0, 30.0):
      module = hyperbolic.Curvature(c, positive)
      found, _ = _run(module)
      np.testing.assert_allclose(found, c, rtol=1e-5)
  with pytest.raises(ValueError, match="positive"):
    hyperbolic.Curvature(0.0).init(jax.random.key(0))


def test_attention_of_one_key_is_its_value():
  q, k, v = _points(2, 5, 3), _points(2, 1, 3, seed=1), _points(2, 1, 4, seed=2)
  y = jax.jit(hyperbolic.lorentz_attention)(q, k, v, 0.7, 1.0)
  np.testing.assert_allclose(y, jnp.broadcast_to(v, (2, 5, 4)), rtol=1e-5)


def test_each_example_may_have_a_mask():
  x = _points(2, 5, 4)
  masks = jnp.stack([jnp.tril(jnp.ones((5, 5), bool)), jnp.ones((5, 5), bool)])
  for layer in (hyperbolic.LorentzAttention(2), hyperbolic.LorentzBlock(2)):
    variables = _run(layer, x, 1.0)[1]
    both = layer.apply(variables, x, 1.0, masks)
    for found, one, mask in zip(both, x, masks, strict=True):
      alone = layer.apply(variables, one, 1.0, mask)
      np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-5)


def test_attention_is_the_centroid_of_its_weights():
  q, k, v = (_points(4, 3, seed=s) for s in range(3))
  mask = jnp.tril(jnp.ones((4, 4), bool))
  y = jax.jit(hyperbolic.lorentz_attention)(q, k, v, 0.7, 2.0, mask)
  d2 = 2 * (-1 / 0.7 - lorentz.inner(q[:, None], k[None], 0.7))
  weights = jax.nn.softmax(jnp.where(mask, -2.0 * d2, -jnp.inf), axis=-1)
  values = jnp.broadcast_to(v, (4, 4, 3))
  np.testing.assert_allclose(
    y, lorentz.centroid(values, 0.7, weights), rtol=1e-4, atol=1e-5
  )


def test_a_block_is_causal():
  block = hyperbolic.LorentzBlock(2)
  x, mask = _points(2, 5, 4), jnp.tril(jnp.ones((5, 5), bool))
  y, variables = _run(block, x, 1.0, mask)
  changed = block.apply(variables, x.at[:, 3:].add(1), 1.0, mask)
  np.testing.assert_allclose(y[:, :3], changed[:, :3], rtol=1e-5)
  assert jnp.all(jnp.isfinite(y))


class _Net(nn.Module):
  """Tables in a module, in a scanned module, and a trained curvature."""

  @nn.compact
  def __call__(self, ids):
    c = hyperbolic.Curvature(0.5, name="curvature")()
    x = hyperbolic.Embedding(7, 3, name="table")(ids, c)
    layers = nn.scan(
      lambda layer, x, _: (hyperbolic.residual(layer(ids, c), x, c), None),
      variable_axes={"params": 0},
      split_rngs={"params": True},
      length=2,
    )
    x, _ = layers(hyperbolic.Embedding(7, 3, name="stack"), x, None)
    return hyperbolic.PoincareMLR(2, name="head")(x, c)


def test_labels():
  ids = jnp.arange(4)
  point = manifolds.Lorentz(0.5)
  found = hyperbolic.labels(_Net(), 0.5, ids)
  assert found == {
    "curvature": {"raw": None},
    "table": {"embedding": point},
    "stack": {"embedding": point},
    "head": {"kernel": None, "bias": None},
  }
  variables = _Net().init(jax.random.key(0), ids)
  assert set(variables) == {"params"}
  assert all(isinstance(a, jax.Array) for a in jax.tree.leaves(variables))


def test_labels_of_a_module_with_a_switch():
  class Net(nn.Module):
    @nn.compact
    def __call__(self, ids, train):
      x = hyperbolic.Embedding(7, 2, name="table")(ids, 1.0)
      return hyperbolic.BatchNorm(name="norm")(x, 1.0, not train)

  ids = jax.ShapeDtypeStruct((3,), jnp.int32)
  found = hyperbolic.labels(Net(), 1.0, ids, True)
  assert found == hyperbolic.labels(Net(), 1.0, ids, train=True)
  assert found["table"] == {"embedding": manifolds.Lorentz(1.0)}
  assert found["norm"] == {"bias": None, "scale": None}


def test_a_net_with_points_and_a_curvature_learns(standard_promotion):
  ids, classes = jnp.arange(7), jnp.array([0, 1, 0, 1, 1, 0, 1])
  params = _Net().init(jax.random.key(0), ids)["params"]

  def curv(params):
    raw = {"params": params["curvature"]}
    return hyperbolic.Curvature(0.5).apply(raw)

  labels = hyperbolic.labels(_Net(), curv, ids)
  optimizer = riemannian.riemannian_adam(0.05, labels)

  def loss(params):
    logits = _Net().apply({"params": params}, ids)
    return optax.softmax_cross_entropy_with_integer_labels(
      logits, classes
    ).mean()

  @jax.jit
  def step(params, state):
    grads = jax.grad(loss)(params)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  state, start = optimizer.init(params), loss(params)
  for _ in range(30):
    params, state = step(params, state)
  assert loss(params) < start / 10


LAYERS = {
  "dense": hyperbolic.PoincareDense(4),
  "wide dense": hyperbolic.PoincareDense(2),
  "lorentz dense": hyperbolic.LorentzDense(4),
  "mlr": hyperbolic.PoincareMLR(2),
  "conv": hyperbolic.PoincareConv(3, (3, 3), strides=2),
  "lorentz conv": hyperbolic.LorentzConv(3, (3, 3)),
  "norm": hyperbolic.BatchNorm(use_running_average=False),
  "max separation": hyperbolic.MaxSeparationMLR(4),
  "ideal": hyperbolic.MaxSeparationMLR(4, ideal=True),
  "block": hyperbolic.LorentzBlock(1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_finite_to_second_order(name):
  """Of a batch of one too, of zeros, and far from the root."""
  layer = LAYERS[name]
  u = np.random.default_rng(0).normal(size=(1, 2, 2, 3))
  u /= np.linalg.norm(u, axis=-1, keepdims=True)
  u = jnp.asarray(u[:, :1, :1] if name == "norm" else u, jnp.float32)
  variables = _run(layer, u, 1.0)[1]

  def loss(params, x, c):
    values = {**variables, "params": params}
    y = layer.apply(values, x, c, mutable=["batch_stats"])[0]
    return jnp.sum(jnp.tanh(y))

  @jax.jit
  def second(*primals):
    ones = jax.tree.map(jnp.ones_like, primals)
    return jax.jvp(jax.value_and_grad(loss, (0, 1, 2)), primals, ones)

  params = variables.get("params", {})
  zeros = jax.tree.map(jnp.zeros_like, params)
  for size in (0.0, 1e-6, 1.0, 10.0):
    x = lorentz.expmap0(size * u, 1.0)
    for values in (params, zeros):
      found = jax.tree.leaves(second(values, x, jnp.float32(1.0)))
      assert all(jnp.all(jnp.isfinite(leaf)) for leaf in found), size


@pytest.mark.parametrize("wrong", [(2, 3), (2, 3, 4)])
def test_what_does_not_fit_is_named(wrong):
  with pytest.raises(ValueError, match=r"expected 2|at least 3 axes"):
    hyperbolic.PoincareConv(2, (3, 3), strides=(1, 1, 1)[: len(wrong)]).init(
      jax.random.key(0), jnp.zeros(wrong), 1.0
    )


def test_outputs_that_start_at_zero_are_trained(standard_promotion):
  """More outputs than inputs: the identity leaves some normals at 0."""
  layer, x = hyperbolic.PoincareDense(4), jnp.array([[1.0, 2.0], [3.0, -1.0]])
  params = layer.init(jax.random.key(0), x, 0.5)
  np.testing.assert_array_equal(params["params"]["kernel"][:, 2:], 0)

  def last(params):
    return jnp.sum(layer.apply(params, x, 0.5)[:, 3])

  assert last(params) == 0
  grads = jax.grad(last)(params)["params"]["kernel"]
  np.testing.assert_allclose(grads[:, 3], 2 * x.sum(axis=0), rtol=1e-5)
  np.testing.assert_array_equal(grads[:, :3], 0)
