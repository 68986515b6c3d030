"""What an objective sees of a batch."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float


class Embeddings(NamedTuple):
  """Lifted embeddings of one global batch: row i belongs to example i.

  Attributes:
    image: whole images.
    text: whole captions.
    box_image: one box image an example; None for objectives without boxes.
    box_text: that box's phrase; None likewise.
    distinct: false where the phrase is the whole caption; such a pair says
      nothing about text under text. None likewise.
  """

  image: Float[Array, "b dim"]
  text: Float[Array, "b dim"]
  box_image: Float[Array, "b dim"] | None = None
  box_text: Float[Array, "b dim"] | None = None
  distinct: Bool[Array, " b"] | None = None
