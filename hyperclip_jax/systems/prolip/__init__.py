"""ProLIP: images and texts as Gaussians (Chun et al., 2025, arXiv 2410.18857).

options     sizes, and weights of the loss
towers      Flax modules of the towers
model       the encoder
masking     random masks, which make an input more general
loss        pairs, inclusion, and a bottleneck
official    the published layout of arrays
hub_config  that of config.json
recipe      of the published models
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray, PyTree

from hyperclip_jax.data.feed import siglip, views
from hyperclip_jax.data.feed.views import View
from hyperclip_jax.losses import sigmoid
from hyperclip_jax.systems import dual_encoder
from hyperclip_jax.systems.prolip import (
  masking,
  official,
  positions,
  towers,
)
from hyperclip_jax.systems.prolip.loss import terms
from hyperclip_jax.systems.prolip.model import SCALARS, encoder, module
from hyperclip_jax.systems.prolip.options import Options
from hyperclip_jax.systems.task import Batch, Encoder, Rules, Task, Variables

__all__ = [
  "TITLE",
  "Options",
  "adapted",
  "encoder",
  "official",
  "task",
  "terms",
]

TITLE = "ProLIP"


def adapted(o: Options, variables: Variables, wanted: Options) -> Variables:
  """Variables of a model for other lengths of texts and sizes of images."""
  size, context = wanted.image_size, wanted.text.context
  return positions.resized(o, variables, context, size)[1]


def task(o: Options, view: View, mesh: Mesh) -> Task:
  """Makes the task: pairs of images and texts, of which some are masked.

  Args:
    o: options of the system.
    view: crops and distortions; texts always fill the context.
    mesh: devices that share a batch.

  Returns:
    Task for the trainer.
  """
  e, pairs = encoder(o), sigmoid.on(mesh, o.contrast)
  view = view._replace(count=1, lengths=(o.text.context,))

  def loss(params: PyTree, outputs: PyTree, step):
    del step
    scale, bias = e.scale(params), params["logit_bias"]
    value, found = terms(scale, bias, outputs, o, pairs)
    return value, found | {"logit_bias": bias}

  made = dual_encoder.with_loss(e, loss, SCALARS, views.whole_only(view))
  return made._replace(
    embed=functools.partial(_embed, o, e, module(o)),
    rules=Rules(
      matrices=dual_encoder.MATRICES,
      scalars=("logit_scale", "logit_bias"),
      split=dual_encoder.MODEL_PARALLEL,
      bounds=made.rules.bounds,
    ),
  )


def _embed(
  o: Options,
  e: Encoder,
  both: towers.Towers,
  variables: Variables,
  batch: Batch,
  key: PRNGKeyArray,
):
  """Gaussians of a batch, and of the masked forms of its first examples.

  Returns:
    {"whole": {"image", "text"}}, and "masked" with the same and "valid", as of
    `terms`: rows beyond the masked ones are zeros.
  """
  given = batch["whole"]
  lift = e.space(variables["params"]).lift
  outputs = {
    "whole": {
      "image": lift(e.image(variables, given["image"])),
      "text": lift(e.text(variables, given["text"])),
    }
  }
  examples = len(given["text"])
  count = masking.rows(examples, o.masked_share)
  if not count or not o.masked_weight:
    return outputs, variables
  text_key, image_key = jax.random.split(key)
  text = masking.masked_tokens(
    text_key,
    given["text"][:count],
    o.text_mask,
    o.text.mask_id,
    siglip.END if o.tokenizer else 0,
  )
  keep = masking.kept_patches(
    image_key, (o.image_size // o.vision.patch) ** 2, o.image_keep_ratio
  )
  image = both.apply(
    variables, given["image"][:count], keep, method="encode_image"
  )
  # Filled up to a row an example, as embedding in micro-batches needs.
  outputs["masked"] = {
    name: jnp.pad(lift(rows), ((0, examples - count), (0, 0)))
    for name, rows in (("image", image), ("text", e.text(variables, text)))
  }
  outputs["masked"]["valid"] = jnp.arange(examples) < count
  return outputs, variables
