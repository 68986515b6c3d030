"""Rows of a batch, some of which may be masked out."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def blank(
  points: Float[Array, "rows dim"], where: Bool[Array, " rows"] | None
) -> Float[Array, "rows dim"]:
  """Replaces masked rows by zeros with zero gradients.

  Leaving a row out of a mean is not enough: if it has inf, NaN or numbers that
  overflow, its zero cotangent becomes NaN in the backward pass and spreads to
  the rows that it is paired with. Zeros are safe in every loss.

  Args:
    points: embeddings.
    where: rows to keep; None for all.

  Returns:
    Embeddings of the same shape.

  Examples:
    >>> blank(jnp.array([[1.0], [jnp.nan]]), jnp.array([True, False])).tolist()
    [[1.0], [0.0]]
  """
  return points if where is None else jnp.where(where[:, None], points, 0)


def both(
  a: Bool[Array, " rows"] | None, b: Bool[Array, " rows"] | None
) -> Bool[Array, " rows"] | None:
  """Intersects two masks.

  Args:
    a: mask; None for all rows.
    b: mask; None for all rows.

  Returns:
    Rows in both masks; None for all rows.
  """
  if a is None or b is None:
    return b if a is None else a
  return a & b


def mean(
  values: Float[Array, " rows"], where: Bool[Array, " rows"] | None = None
) -> Float[Array, ""]:
  """Averages the rows of a mask.

  Args:
    values: one number a row; masked rows may be inf or NaN.
    where: rows to average over; None for all.

  Returns:
    Mean, a scalar; 0 if the mask is empty.

  Examples:
    >>> float(mean(jnp.array([1.0, jnp.nan]), jnp.array([True, False])))
    1.0
  """
  if where is None:
    return jnp.mean(values)
  count = jnp.maximum(jnp.sum(where), 1).astype(values.dtype)
  return jnp.sum(jnp.where(where, values, 0.0)) / count
