"""Layers against HypLL's in float64: values and gradients, also of c."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import poincare
from hyperclip_jax.nn import hyperbolic
from tests import golden_files

CURVS = ("0.3", "1")


def _channels_last(x):
  return jnp.moveaxis(x, 1, -1) if x.ndim == 4 else x


def _of_balls(function):
  """Wraps a function of our points for arrays of the file."""

  def wrapped(params, x, c):
    y = function(params, poincare.to_lorentz(_channels_last(x), c), c)
    y = poincare.from_lorentz(y, c)
    return jnp.moveaxis(y, -1, 1) if y.ndim == 4 else y

  return wrapped


def _dense(params, x, c):
  layer = hyperbolic.PoincareDense(4, use_bias="bias" in params)
  ours = {"kernel": params["z"]}
  ours |= {"bias": params["bias"]} if "bias" in params else {}
  return layer.apply({"params": ours}, x, c)


def _conv(size, strides, params, x, c):
  layer = hyperbolic.PoincareConv(
    4, (size, size), strides, size // 2, use_bias="bias" in params
  )
  kernel = params["weights"].reshape(3, size, size, 4)
  ours = {"kernel": jnp.moveaxis(kernel, 0, 2)}
  ours |= {"bias": params["bias"]} if "bias" in params else {}
  return layer.apply({"params": ours}, x, c)


def _norm(mean, params, x, c):
  params = {name.removeprefix("norm."): p for name, p in params.items()}
  layer = hyperbolic.BatchNorm(use_running_average=False, mean=mean)
  ours = {"bias": params["bias"], "scale": params["weight"]}
  stats = {"mean": jnp.zeros(x.shape[-1]), "var": jnp.ones(())}
  return layer.apply(
    {"params": ours, "batch_stats": stats}, x, c, mutable=["batch_stats"]
  )[0]


def _pool(function, params, x, c):
  return function(x, c, (2, 2), strides=2)


def _flatten(params, x, c):
  flat = hyperbolic.flatten(x, c, axes=2)
  # The file's vectors are channel-major.
  return flat.reshape(2, -1, x.shape[-1]).swapaxes(1, 2).reshape(2, -1)


def _sequential(params, x, c):
  def function(u):
    bias = params["0.bias"].reshape((1,) * (u.ndim - 1) + (-1,))
    return jnp.tanh(u @ params["0.weight"].T + bias)

  return hyperbolic.in_tangent(function, x, c)


def _change(params, x, c):
  p = hyperbolic.change_curvature(poincare.to_lorentz(x, c), c, 0.7)
  return poincare.from_lorentz(p, 0.7)


def _to_euclidean(params, x, c):
  return hyperbolic.to_tangent(poincare.to_lorentz(x, c), c)


def _embed(params, ids, c):
  table = poincare.to_lorentz(params["weight"], c)
  layer = hyperbolic.Embedding(*table.shape)
  ids = ids.astype(int)  # the file has all in float64
  y = layer.apply({"params": {"embedding": table}}, ids, c)
  return poincare.from_lorentz(y, c)


LAYERS = {
  "hlinear": _of_balls(_dense),
  "hlinear_nobias": _of_balls(_dense),
  "hconv_k3_p1": _of_balls(functools.partial(_conv, 3, 1)),
  "hconv_k3_p1_s2": _of_balls(functools.partial(_conv, 3, 2)),
  "hconv_k1_nobias": _of_balls(functools.partial(_conv, 1, 2)),
  "hbatchnorm_midpoint": _of_balls(functools.partial(_norm, "midpoint")),
  "hbatchnorm_frechet": _of_balls(functools.partial(_norm, "frechet")),
  "hbatchnorm2d_midpoint": _of_balls(functools.partial(_norm, "midpoint")),
  "hbatchnorm2d_frechet": _of_balls(functools.partial(_norm, "frechet")),
  "hrelu": _of_balls(lambda params, x, c: hyperbolic.relu(x, c)),
  "hrelu_2d": _of_balls(lambda params, x, c: hyperbolic.relu(x, c)),
  "havgpool2d_without_beta_midpoint": _of_balls(
    functools.partial(_pool, hyperbolic.avg_pool)
  ),
  "hmaxpool2d": _of_balls(functools.partial(_pool, hyperbolic.max_pool)),
  "hembedding": _embed,
  "tangent_sequential_linear_tanh": _of_balls(_sequential),
  "change_manifold_to_c0.7": _change,
  "change_manifold_to_euclidean": _to_euclidean,
  "hflatten": _of_balls(_flatten),
}
# HypLL's pooling as it is pulls constants to the root: the file has it to show
# the difference.
FAULTY = {"havgpool2d_official_midpoint", "havgpool2d_official_frechet"}


@pytest.fixture(scope="module")
def golden():
  return golden_files.arrays("hyperbolic_layers/layers_float64")


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def test_every_layer_is_tested(golden):
  found = {key.split("/")[0].rsplit("_c", 1)[0] for key in golden}
  curvature = {name for name in found if name.startswith("curvature")}
  assert found - curvature == {*LAYERS, *FAULTY}


@functools.cache
def _value_and_gradients(name):
  def compute(cotangent, params, x, c):
    out, pull = jax.vjp(LAYERS[name], params, x, c)
    return out, pull(cotangent)

  return jax.jit(compute)


@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients(golden, name):
  rtol = 1e-8 if "frechet" in name else 1e-9
  for curv in CURVS:
    prefix = f"{name}_c{curv}/"
    arrays = {
      key.removeprefix(prefix): jnp.asarray(value)
      for key, value in golden.items()
      if key.startswith(prefix)
    }
    params = {
      key.removeprefix("param_"): value
      for key, value in arrays.items()
      if key.startswith("param_")
    }
    c = jnp.asarray(float(curv))
    out, (grads, grad_in, grad_c) = _value_and_gradients(name)(
      arrays["cot"], params, arrays["in"], c
    )
    found = {"out": out, "grad_in": grad_in, "grad_c": grad_c}
    found |= {f"grad_{key}": value for key, value in grads.items()}
    assert found.keys() == {k for k in arrays if k.startswith(("out", "grad_"))}
    for key, value in found.items():
      # A gradient of 0 has no scale.
      atol = max(rtol * float(jnp.abs(arrays[key]).max()), 1e-13)
      np.testing.assert_allclose(
        value, arrays[key], rtol=0, atol=atol, err_msg=f"{key} {curv}"
      )


@pytest.mark.parametrize("raw", ["0.1", "1", "-2"])
def test_curvature(golden, raw):
  expected = {
    key: golden[f"curvature_softplus_{raw}/{key}"]
    for key in ("value", "c", "grad")
  }

  def curvature(value):
    variables = {"params": {"raw": value}}
    return hyperbolic.Curvature().apply(variables)

  c, grad = jax.value_and_grad(curvature)(jnp.asarray(expected["value"]))
  np.testing.assert_allclose(c, expected["c"], rtol=1e-14)
  np.testing.assert_allclose(grad, expected["grad"], rtol=1e-14)
