"""Hyper3-CLIP: what parts of a caption say, and where in the image.

Sentences and phrases of a caption are queries: each pools the image's patches,
and what it pools lies between the query and the image in the hierarchy. Pooling
is for training; images and texts are encoded as UNCHA's.

  queries  rules that make queries of a caption
  loss     contrast, and cones with those of queries
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from hyperclip_jax.data.feed import views
from hyperclip_jax.data.feed.views import Display, Shown, View
from hyperclip_jax.data.records.boxes import WHOLE
from hyperclip_jax.data.records.record import Part, Record
from hyperclip_jax.losses import tiled
from hyperclip_jax.losses.entailment import KINDS
from hyperclip_jax.nn.pooling import QueryPooling
from hyperclip_jax.sections import choice, number, switch
from hyperclip_jax.systems import dual_encoder, hycoclip, meru, uncha
from hyperclip_jax.systems.dual_encoder import at_least_float32
from hyperclip_jax.systems.hyper3.loss import terms
from hyperclip_jax.systems.hyper3.queries import queries
from hyperclip_jax.systems.task import Encoder, Task

__all__ = ["TITLE", "Options", "encoder", "queries", "show", "task", "terms"]

TITLE = "Hyper3-CLIP"


@dataclasses.dataclass(frozen=True)
class Options(uncha.Options):
  """Options of UNCHA, with hard cones and without the entropy, and of queries.

  Attributes:
    queries: most queries of an example, its caption among them.
    pool_heads: attention heads of the pooling.
    query_weight: weight of the cones from queries to what they pool.
    visual_weight: weight of those between pooled and whole images.
    text_weight: weight of those from queries to their parents.
    reverse_visual_order: whether images entail what is pooled of them.
  """

  cones: str = choice("hard", KINDS, training=True)
  entropy: bool = switch(False, training=True)
  queries: int = number(6, training=True)
  pool_heads: int = number(8)
  query_weight: float = number(1.0, least=0, training=True)
  visual_weight: float = number(1.0, least=0, training=True)
  text_weight: float = number(1.0, least=0, training=True)
  reverse_visual_order: bool = switch(False, training=True)

  def problems(self):
    yield from super().problems()
    if self.vision.width % self.pool_heads:
      yield (
        f"pool_heads must divide vision.width {self.vision.width}, found "
        f"{self.pool_heads}"
      )


class Towers(dual_encoder.DualEncoder):
  """The towers with biases in their projections, and the pooling.

  Attributes:
    pool_heads: attention heads of the pooling.
  """

  pool_heads: int = 8

  def setup(self):
    super().setup()
    self.pool = QueryPooling(self.pool_heads)

  def __call__(
    self, images: Float[Array, "b h w 3"], tokens: Int[Array, "c l"]
  ) -> tuple[Float[Array, "b dim"], Float[Array, "c dim"]]:
    """Embeds images and texts; used to initialise all parameters."""
    self.encode_with_queries(images, tokens)
    return self.encode_image(images), self.encode_text(tokens)

  def encode_with_queries(
    self, images: Float[Array, "b h w 3"], tokens: Int[Array, "q l"]
  ) -> tuple[
    Float[Array, "b dim"], Float[Array, "q dim"], Float[Array, "q dim"]
  ]:
    """Embeds images, texts of queries, and what these pool of their images.

    Args:
      images: pixels in [0, 1].
      tokens: token ids of q / b queries for each image.

    Returns:
      Features of images, of what is pooled, and of texts.
    """
    tokens_BLD = at_least_float32(self.vision(self.scaled(images), True))
    texts_QT = at_least_float32(self.text(tokens))
    texts_BQT = texts_QT.reshape(len(images), -1, texts_QT.shape[1])
    pooled_BQD = self.pool(texts_BQT, tokens_BLD[:, 1:])
    pooled_QD = pooled_BQD.reshape(-1, pooled_BQD.shape[-1])
    return (
      self.visual_proj(tokens_BLD[:, 0]),
      self.visual_proj(pooled_QD),
      self.textual_proj(texts_QT),
    )


def _module(o: Options) -> Towers:
  plain = dual_encoder.module(o, uncha.scalars(o))
  return Towers(
    vision=plain.vision.clone(parent=None),
    text=plain.text.clone(parent=None, activation="quick_gelu"),
    embed_dim=plain.embed_dim,
    scalars=plain.scalars,
    pixel_mean=plain.pixel_mean,
    pixel_std=plain.pixel_std,
    bias=True,
    pool_heads=o.pool_heads,
  )


def encoder(o: Options) -> Encoder:
  """Makes the encoder: two towers onto a hyperboloid."""
  scalars = uncha.scalars(o)
  return dual_encoder.encoder(o, meru.space_of(o), scalars, _module(o))


def task(o: Options, view: View, mesh: Mesh) -> Task:
  """Makes the task: images, captions, `view.count` boxes, and queries.

  Args:
    o: options of the system.
    view: boxes an example, crops, distortions and lengths of texts.
    mesh: devices that share a batch.

  Returns:
    Task for the trainer.
  """
  e, towers = encoder(o), _module(o)
  contrast = tiled.on(mesh, o.contrast)
  query = View(
    o.queries,
    crop=None,
    lengths=view.lengths,
    extra={"parent": np.int32, "weight": np.float32},
  )

  def loss(params, outputs, step):
    space, scales = e.space(params), uncha.scales(params)
    value, found = terms(space, scales, outputs, o, contrast)
    return hycoclip.held(o, params, outputs, step, value, found)

  made = dual_encoder.with_loss(
    e,
    loss,
    uncha.scalars(o),
    Display(
      {"whole": view._replace(count=1), "part": view, "query": query},
      view.count,
      lambda record, numbers: show(record, numbers, o.queries),
    ),
  )

  def embed(variables, batch, key):
    whole, asked = dict(batch["whole"]), dict(batch["query"])
    found: Any = towers.apply(
      variables,
      whole.pop("image"),
      asked.pop("text"),
      method="encode_with_queries",
    )
    outputs, variables = made.embed(
      variables, {"whole": whole, "part": batch["part"]}, key
    )
    params = variables["params"]
    space = e.space(params)
    visual, textual = (
      jnp.exp(params[name]) for name in ("visual_alpha", "textual_alpha")
    )
    image, pooled, text = found
    lifted = space.lift(visual * pooled), space.lift(textual * text)
    asked |= dict(zip(("image", "text"), lifted, strict=True))
    whole = outputs["whole"] | {"image": space.lift(visual * image)}
    return outputs | {"whole": whole, "query": asked}, variables

  return hycoclip.with_distinct(made._replace(embed=embed))


def show(
  record: Record, numbers: Float[np.ndarray, " k"], most: int
) -> dict[str, Sequence[Part] | Shown]:
  """Chooses boxes at random, in the order of the file, and makes queries.

  Args:
    record: record of the example.
    numbers: random numbers in [0, 1), one for each part to choose.
    most: most queries.

  Returns:
    Parts of "whole" and "part", and the queries. A record without boxes is its
    own part.
  """
  whole = views.whole(record)
  parts = list(record.parts)
  chosen = views.choose(range(len(parts)), numbers) if parts else []
  boxes = [parts[i] for i in sorted(chosen)]
  found = queries(record.caption, [part.text for part in boxes], most)
  return {
    "whole": [whole],
    "part": boxes or [whole],
    "query": Shown(
      [Part(query.text, WHOLE) for query in found],
      {
        "parent": [query.parent for query in found],
        "weight": [query.weight for query in found],
      },
    ),
  }
