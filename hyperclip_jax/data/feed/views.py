"""Views: what a batch shows of each record."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from hyperclip_jax.data.feed.distortions import Options


class View(NamedTuple):
  """One way of showing a record; a batch holds `count` rows of it an example.

  Rows of example i are i * count to (i + 1) * count - 1.

  Attributes:
    count: rows an example. With more than one the batch says which are "valid":
      the others fill up an example of fewer parts, and show its last one again.
    crop: least and greatest share of a picture that a random resized crop
      keeps; None for a view without pictures.
    distortions: random changes of the pixels, made on the device.
    lengths: what token ids may be cut to, ascending; None for a view without
      texts.
    canvas: view whose decoded picture this one crops again; None decodes its
      own.
    extra: name -> dtype of further numbers that the system gives for each row,
      such as {"label": np.int32}.
  """

  count: int = 1
  crop: tuple[float, float] | None = (0.5, 1.0)
  distortions: Options = Options()
  lengths: tuple[int, ...] | None = (8, 16, 24, 32, 77)
  canvas: str | None = None
  extra: Mapping[str, Any] = {}
