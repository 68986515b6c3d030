"""The building blocks, at the places where they change branch."""

import jax
import jax.numpy as jnp
import numpy as np

from hyperclip_jax.geometry import numerics


def test_norm():
  x = jnp.asarray([[3.0, 4.0], [0.0, 0.0], [1e-15, 0.0]])
  np.testing.assert_allclose(numerics.norm(x), [5, 0, 1e-15], rtol=1e-6)
  grad = jax.grad(lambda x: numerics.norm(x).sum())(x)
  np.testing.assert_allclose(grad, [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-6)
  hessian = jax.jit(jax.hessian(numerics.norm))(jnp.zeros(2))
  np.testing.assert_array_equal(hessian, 0)


def test_atan2_at_every_scale():
  # x^2 + y^2 and its square leave float32 on both sides of this range.
  scale = jnp.asarray([1e-25, 1e-10, 1.0, 1e10, 1e25])
  y, x = 0.6 * scale, -0.8 * scale
  grad = jax.grad(numerics.atan2, (0, 1))
  np.testing.assert_allclose(numerics.atan2(y, x), np.arctan2(0.6, -0.8), 1e-6)
  for slope, expected in zip(jax.vmap(grad)(y, x), (-0.8, -0.6), strict=True):
    np.testing.assert_allclose(slope * scale, expected, rtol=1e-6)
  y, x, scale = y[1:4], x[1:4], scale[1:4]  # 1 / scale^2 is in float32
  hessian = jax.jit(jax.vmap(jax.jacobian(grad, (0, 1))))(y, x)
  expected = ((0.96, -0.28), (-0.28, -0.96))
  np.testing.assert_allclose(
    jnp.moveaxis(jnp.asarray(hessian), -1, 0) * (scale**2)[:, None, None],
    np.broadcast_to(expected, (3, 2, 2)),
    rtol=1e-5,
  )


def test_atan2_axes_and_origin():
  zero, one = jnp.zeros(()), jnp.ones(())
  assert numerics.atan2(zero, one) == 0
  assert numerics.atan2(zero, -one) == np.float32(np.pi)
  assert numerics.atan2(one, zero) == np.float32(np.pi / 2)
  for y, x in ((zero, zero), (zero, -zero)):
    value, grad = jax.value_and_grad(numerics.atan2, (0, 1))(y, x)
    assert (value, *grad) == (0, 0, 0)
