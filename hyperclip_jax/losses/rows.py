"""Rows of a batch, some of which may not count."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def blank(
  points: Float[Array, "rows dim"], where: Bool[Array, " rows"] | None
) -> Float[Array, "rows dim"]:
  """Zeros, with zero gradients, in the rows where `where` does not hold.

  To leave a row out of a mean is not enough: if it holds inf, NaN or numbers
  that overflow, its zero cotangent becomes NaN on the way back, and reaches
  the rows it was paired with. Zeros are safe in every loss.

  Args:
    points: embeddings.
    where: rows to keep; None keeps all.

  Returns:
    Points like those given.
  """
  return points if where is None else jnp.where(where[:, None], points, 0)


def both(
  a: Bool[Array, " rows"] | None, b: Bool[Array, " rows"] | None
) -> Bool[Array, " rows"] | None:
  """Rows that both hold; None holds all rows."""
  if a is None or b is None:
    return b if a is None else a
  return a & b


def mean(
  values: Float[Array, " rows"], where: Bool[Array, " rows"] | None = None
) -> Float[Array, ""]:
  """Mean over the rows where `where` holds, all by default; 0 if none does."""
  if where is None:
    return jnp.mean(values)
  count = jnp.maximum(jnp.sum(where), 1).astype(values.dtype)
  return jnp.sum(jnp.where(where, values, 0.0)) / count
