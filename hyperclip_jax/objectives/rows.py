"""Means over the rows of a batch."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def mean(
  values: Float[Array, " rows"], where: Bool[Array, " rows"] | None = None
) -> Float[Array, ""]:
  """Mean over the rows where `where` holds, all by default; 0 if none does."""
  if where is None:
    return jnp.mean(values)
  count = jnp.maximum(jnp.sum(where), 1).astype(values.dtype)
  return jnp.sum(jnp.where(where, values, 0.0)) / count
