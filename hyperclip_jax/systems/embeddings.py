"""What an objective sees of a batch."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float


class Embeddings(NamedTuple):
  """Lifted embeddings of one global batch: row i belongs to example i.

  Boxes come K to an example, p = K b: row j belongs to example j // K.

  Attributes:
    image: whole images.
    text: whole captions.
    box_image: box images; None for objectives without boxes.
    box_text: their phrases; None likewise.
    distinct: rows whose phrase is not the whole caption, which would say
      nothing about text under text. Only valid ones count. None takes all.
    valid: false in rows that fill up an example of fewer boxes. They may hold
      anything and count nowhere. None takes all.
  """

  image: Float[Array, "b dim"]
  text: Float[Array, "b dim"]
  box_image: Float[Array, "p dim"] | None = None
  box_text: Float[Array, "p dim"] | None = None
  distinct: Bool[Array, " p"] | None = None
  valid: Bool[Array, " p"] | None = None
