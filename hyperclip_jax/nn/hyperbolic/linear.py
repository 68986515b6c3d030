"""Dense layers and heads.

Layers take and return points by their space components along the last axis,
after any others, and the curvature as their second argument. Matrix products
are computed in `dtype`; all else, and the points, in float32 or better.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hyperclip_jax.geometry import hyperplanes, numerics, stable
from hyperclip_jax.geometry.numerics import Scalar
from hyperclip_jax.nn.separation import prototypes

Init = Callable[..., Array]


def half_identity(
  key: Array, shape: tuple[int, int], dtype: DTypeLike = jnp.float32
) -> Array:
  """Initialises a Poincare kernel as HypLL does.

  Args:
    key: random key.
    shape: (inputs, outputs).
    dtype: dtype of the kernel.

  Returns:
    I / 2, which makes the layer the identity, if there are at least as many
    outputs as inputs; else normal numbers of variance 1 / (2 inputs outputs).

  Examples:
    >>> half_identity(jax.random.key(0), (2, 3)).tolist()
    [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]
  """
  inputs, outputs = shape
  if inputs <= outputs:
    return jnp.eye(inputs, outputs, dtype=dtype) / 2
  return (2 * inputs * outputs) ** -0.5 * jax.random.normal(key, shape, dtype)


class PoincareDense(nn.Module):
  """Maps points to points: the fully connected layer of the Poincare ball.

  `hyperplanes.fully_connected` (Shimizu et al., 2021), HypLL's HLinear.

  Attributes:
    features: dimension of the output.
    use_bias: whether hyperplanes have offsets.
    dtype: dtype of the matrix product; None for that of the points.
    kernel_init: initialiser of the normals (inputs, features).
    bias_init: initialiser of the offsets.

  Examples:
    >>> layer, x = PoincareDense(3), jnp.array([3.0, 4.0])
    >>> y, _ = layer.init_with_output(jax.random.key(0), x, 1.0)
    >>> y.round(4)
    Array([3., 4., 0.], dtype=float32)
  """

  features: int
  use_bias: bool = True
  dtype: DTypeLike | None = None
  kernel_init: Init = half_identity
  bias_init: Init = nn.initializers.zeros

  @nn.compact
  def __call__(
    self, x: Float[Array, "*batch dim"], curv: Scalar
  ) -> Float[Array, "*batch features"]:
    v = _hyperplanes(self, wide(x), curv)
    return hyperplanes.at_logits(v, curv)


class PoincareMLR(nn.Module):
  """Maps points to logits: 2 |z| times signed distances to hyperplanes.

  `hyperplanes.logits` (Shimizu et al., 2021).

  Attributes:
    features: number of classes.
    use_bias: whether hyperplanes have offsets.
    dtype: dtype of the matrix product; None for that of the points.
    kernel_init: initialiser of the normals (inputs, features).
    bias_init: initialiser of the offsets.

  Examples:
    >>> layer, x = PoincareMLR(10), jnp.ones((5, 2))
    >>> layer.init_with_output(jax.random.key(0), x, 1.0)[0].shape
    (5, 10)
  """

  features: int
  use_bias: bool = True
  dtype: DTypeLike | None = None
  kernel_init: Init = nn.initializers.lecun_normal()
  bias_init: Init = nn.initializers.zeros

  @nn.compact
  def __call__(
    self, x: Float[Array, "*batch dim"], curv: Scalar
  ) -> Float[Array, "*batch features"]:
    return _hyperplanes(self, wide(x), curv)


class LorentzMLR(nn.Module):
  """Maps points to logits: |z| times signed distances to hyperplanes.

  That of the Lorentz model (Bdeir et al., Fully Hyperbolic Convolutional Neural
  Networks for Computer Vision, ICLR 2024), whose offsets are signed distances
  from the root: half of `PoincareMLR` with half the offsets.

  Attributes:
    features: number of classes.
    use_bias: whether hyperplanes have offsets.
    dtype: dtype of the matrix product; None for that of the points.
    kernel_init: initialiser of the normals (inputs, features).
    bias_init: initialiser of the offsets.

  Examples:
    >>> layer, x = LorentzMLR(10), jnp.ones((5, 2))
    >>> layer.init_with_output(jax.random.key(0), x, 1.0)[0].shape
    (5, 10)
  """

  features: int
  use_bias: bool = True
  dtype: DTypeLike | None = None
  kernel_init: Init = nn.initializers.lecun_normal()
  bias_init: Init = nn.initializers.zeros

  @nn.compact
  def __call__(
    self, x: Float[Array, "*batch dim"], curv: Scalar
  ) -> Float[Array, "*batch features"]:
    return _hyperplanes(self, wide(x), curv, offset_scale=0.5) / 2


class LorentzDense(nn.Module):
  """Maps points to points by a linear map of all their components.

  The space components are W [t; x] + b, and the time follows from them (Chen et
  al., Fully Hyperbolic Neural Networks, ACL 2022; Bdeir et al., 2024).

  Attributes:
    features: dimension of the output.
    use_bias: whether to add b.
    dtype: dtype of the matrix product; None for that of the points.
    kernel_init: initialiser of the kernel of the space components.
    time_init: initialiser of the kernel of the time.
    bias_init: initialiser of b.

  Examples:
    >>> layer, x = LorentzDense(10), jnp.ones((5, 2))
    >>> layer.init_with_output(jax.random.key(0), x, 1.0)[0].shape
    (5, 10)
  """

  features: int
  use_bias: bool = True
  dtype: DTypeLike | None = None
  kernel_init: Init = nn.initializers.lecun_normal()
  time_init: Init = nn.initializers.zeros
  bias_init: Init = nn.initializers.zeros

  @nn.compact
  def __call__(
    self, x: Float[Array, "*batch dim"], curv: Scalar
  ) -> Float[Array, "*batch features"]:
    x = wide(x)
    shape = (x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape)
    row = self.param("time_kernel", self.time_init, shape[1:]).astype(x.dtype)
    lead = (None,) * (x.ndim - 1)
    y = product(x, kernel, self.dtype)
    y = y + stable.time(x, curv)[..., None] * row[lead]
    if self.use_bias:
      bias = self.param("bias", self.bias_init, shape[1:])
      y = y + bias.astype(x.dtype)[lead]
    return y


class MaxSeparationMLR(nn.Module):
  """Maps points to logits of classes that are separated as far as can be.

  The normals of the hyperplanes, or the ideal points, are the columns of
  `separation.prototypes`; there are no parameters.

  Attributes:
    num_classes: C, at least 2; the points have C - 1 dimensions.
    radius: scale of the logits.
    ideal: whether logits are minus Busemann functions of ideal points instead
      of distances to hyperplanes through the root.

  Examples:
    >>> head = MaxSeparationMLR(num_classes=3)
    >>> head.apply({}, jnp.array([jnp.sinh(1.0), 0.0]), 1.0).round(2)
    Array([ 2.  , -1.12, -1.12], dtype=float32)
  """

  num_classes: int
  radius: float = 1.0
  ideal: bool = False

  @nn.compact
  def __call__(
    self, x: Float[Array, "*batch dim"], curv: Scalar
  ) -> Float[Array, "*batch c"]:
    x = wide(x)
    columns = jnp.asarray(prototypes(self.num_classes), x.dtype)
    if x.shape[-1] != len(columns):
      raise ValueError(
        f"{self.num_classes} classes take points of {len(columns)} dimensions, "
        f"found {x.shape[-1]}"
      )
    if self.ideal:
      return -self.radius * hyperplanes.busemann(x, columns, curv)
    return self.radius * hyperplanes.logits(x, columns, None, curv)


def wide(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
  """Returns points in float32 or better."""
  return x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)


def product(
  x: Float[Array, "*batch dim"],
  kernel: Float[Array, "dim out"],
  dtype: DTypeLike | None,
) -> Float[Array, "*batch out"]:
  """Multiplies by a kernel in a dtype, and returns the dtype of x.

  Args:
    x: rows.
    kernel: matrix.
    dtype: dtype of the factors; None for that of x.

  Returns:
    Product.

  Examples:
    >>> product(jnp.ones((5, 2)), jnp.ones((2, 3)), jnp.bfloat16).dtype
    dtype('float32')
  """
  factors = (a.astype(dtype or x.dtype) for a in (x, kernel))
  return jnp.matmul(*factors, preferred_element_type=x.dtype)


def _hyperplanes(module, x, curv, offset_scale=1.0):
  """Computes the logits of a module's hyperplanes."""
  shape = (x.shape[-1], module.features)
  kernel = module.param("kernel", module.kernel_init, shape)
  r = None
  if module.use_bias:
    bias = module.param("bias", module.bias_init, shape[1:])
    r = offset_scale * bias.astype(x.dtype)
  rc = jnp.sqrt(curv)
  along = rc * product(x, kernel, module.dtype)
  k_t = rc * stable.time(x, curv)
  lengths = numerics.norm(kernel.astype(x.dtype).T)
  return hyperplanes.from_projections(along, k_t, lengths, r, curv)
