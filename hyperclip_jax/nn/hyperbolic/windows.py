"""Windows of images: strides, padding and dilation as in `flax.linen`."""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Sizes = int | Sequence[int]
Padding = str | int | Sequence[int | tuple[int, int]]


def sizes(value: Sizes, rank: int) -> tuple[int, ...]:
  """Repeats one number for each spatial axis.

  Args:
    value: number for all axes, or one for each.
    rank: number of spatial axes.

  Returns:
    Numbers, one for each axis.

  Raises:
    ValueError: there are more or fewer numbers than axes.

  Examples:
    >>> sizes(2, rank=2)
    (2, 2)
  """
  found = (value,) * rank if isinstance(value, int) else tuple(value)
  if len(found) != rank:
    raise ValueError(f"expected {rank} sizes, one an axis, found {found}")
  return found


def pads(
  padding: Padding,
  spatial: Sequence[int],
  window: Sequence[int],
  strides: Sequence[int],
  dilation: Sequence[int],
) -> list[tuple[int, int]]:
  """Computes how many places each axis gets before and after.

  Args:
    padding: "SAME", "VALID", one number for all axes, or for each axis a number
      or a pair.
    spatial: lengths of the axes.
    window: lengths of the window.
    strides: steps of the window.
    dilation: distances of its places.

  Returns:
    Pairs, one for each axis.

  Examples:
    >>> pads("SAME", (8,), (3,), (1,), (1,))
    [(1, 1)]
  """
  if isinstance(padding, str):
    wide = [(w - 1) * d + 1 for w, d in zip(window, dilation, strict=True)]
    return list(jax.lax.padtype_to_pads(spatial, wide, strides, padding))
  each = sizes(padding, len(window)) if isinstance(padding, int) else padding
  if len(each) != len(window):
    raise ValueError(
      f"expected {len(window)} paddings, one an axis, found {padding}"
    )
  return [(p, p) if isinstance(p, int) else (p[0], p[1]) for p in each]


def stack(
  x: Float[Array, "batch *spatial dim"],
  window: Sequence[int],
  strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
) -> Float[Array, "batch *out places dim"]:
  """Stacks the places of each window along a new axis; outside is 0.

  Args:
    x: images.
    window: lengths of the window.
    strides: steps of the window.
    padding: places before and after each axis.

  Returns:
    Windows, their places in row-major order.

  Examples:
    >>> x = jnp.arange(4.0).reshape(1, 4, 1)
    >>> stack(x, (2,), (2,), [(0, 0)])[0, :, :, 0]
    Array([[0., 1.],
           [2., 3.]], dtype=float32)
  """
  x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
  lengths = x.shape[1:-1]
  if all(
    w == s and n % s == 0
    for w, s, n in zip(window, strides, lengths, strict=True)
  ):
    return _blocks(x, window)
  places = itertools.product(*map(range, window))
  return jnp.stack(
    [
      x[
        (
          slice(None),
          *(
            slice(start, max(n - w + start + 1, start), s)
            for start, n, w, s in zip(
              place, lengths, window, strides, strict=True
            )
          ),
        )
      ]
      for place in places
    ],
    axis=-2,
  )


def _blocks(x, window):
  """Returns the windows of an image that they tile."""
  rank = len(window)
  split = [
    n
    for length, w in zip(x.shape[1:-1], window, strict=True)
    for n in (length // w, w)
  ]
  x = x.reshape(x.shape[0], *split, x.shape[-1])
  order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
  x = x.transpose(order)
  return x.reshape(*x.shape[: rank + 1], math.prod(window), x.shape[-1])
