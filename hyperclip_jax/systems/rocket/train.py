"""The training of CLIP-Rocket: what a batch shows, and the losses."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from hyperclip_jax.data.feed import views as views_lib
from hyperclip_jax.data.feed.text_edits import Edits
from hyperclip_jax.data.feed.views import Display, View
from hyperclip_jax.data.records.record import Part, Record
from hyperclip_jax.losses import contrastive, selfsup, tiled
from hyperclip_jax.losses.contrastive import Contrast
from hyperclip_jax.losses.selfsup import Pair
from hyperclip_jax.systems import dual_encoder
from hyperclip_jax.systems.rocket.options import BYOL, SIAMESE, Options
from hyperclip_jax.systems.rocket.towers import (
  Embedded,
  Towers,
  Views,
  encoder,
  scalars,
)
from hyperclip_jax.systems.task import Batch, Rules, Task, Variables

STRONG = ("strong", "strong_2")  # names of strong views
# Weight decay spares what has one dimension in PyTorch, where the CLS token and
# the positions have three.
MATRICES = (*dual_encoder.MATRICES, "cls", "prototypes")


def task(o: Options, view: View, mesh: Mesh) -> Task:
  """Makes the task: losses of one weak and several strong views.

  Args:
    o: options of the system.
    view: crops, distortions and lengths of texts of the weak view.
    mesh: devices that share a batch.

  Returns:
    Task for the trainer.
  """
  e, contrast = encoder(o), tiled.on(mesh, o.contrast)
  shown = scalars(o)
  devices = mesh.shape["data"]

  def loss(params, outputs, step):
    value, found = terms(o, params, outputs, step, contrast, devices)
    return value, found | {name: jnp.exp(params[name]) for name in shown}

  return Task(
    **display(o, view)._asdict(),
    init=e.init,
    embed=functools.partial(embed, o),
    loss=loss,
    project=functools.partial(project, o),
    rules=Rules(
      matrices=MATRICES,
      scalars=tuple(shown),
      split=dual_encoder.MODEL_PARALLEL,
      bounds={name: (s.low, s.high) for name, s in shown.items()},
    ),
    micro_batches=not o.keeps_statistics,
  )


def display(o: Options, view: View) -> Display:
  """Makes the views "weak" and "strong", crops of one picture, and `show`.

  Args:
    o: options of the system.
    view: crops, distortions and lengths of texts of the weak view.

  Returns:
    Display of a record; two strong views that are not alike are "strong" and
    "strong_2".
  """
  count, edits = o.strong_count, Edits(o.edits)
  strong = strong_views(o, view)

  def show(
    record: Record, numbers: Float[np.ndarray, " draws"]
  ) -> dict[str, Sequence[Part]]:
    found = captions(record, o.captions.fields)
    whole = views_lib.whole(record)
    which, seeds = numbers[: 1 + count].tolist(), numbers[1 + count :].tolist()
    if o.captions.draw == "single":
      which = which[:1] * (1 + count)
    texts = [found[int(number * len(found))] for number in which]
    parts = [
      whole._replace(text=(edits.strong if i else edits.weak)(text, seed))
      for i, (text, seed) in enumerate(zip(texts, seeds, strict=True))
    ]
    shown: dict[str, Sequence[Part]] = {"weak": parts[:1]}
    start = 1
    for name, kind in strong.items():
      shown[name] = parts[start : start + kind.count]
      start += kind.count
    return shown

  views = {"weak": view._replace(count=1)} | strong
  return Display(views, 2 * (1 + count), show)


def strong_views(o: Options, view: View) -> dict[str, View]:
  """Makes the strong views, one of all that are alike.

  Args:
    o: options of the system.
    view: weak view.

  Returns:
    Views by name; none if the variant has none.
  """
  if not o.strong_count:
    return {}
  strong = view._replace(
    count=o.strong_count,
    crop=o.strong.crop_scale,
    distortions=o.strong.distortions,
    canvas="weak",
    image_size=o.strong.image_size or None,
  )
  if o.strong.kind == "alike":
    return {"strong": strong}
  return {
    name: strong._replace(count=1, distortions=kind)
    for name, kind in zip(STRONG, BYOL, strict=True)
  }


def captions(record: Record, fields: Sequence[str]) -> list[str]:
  """Lists the captions of a record.

  Args:
    record: record of an example.
    fields: fields of its JSON that hold a caption, or a list of them.

  Returns:
    Captions that are not blank; that of the record if there are none.
  """
  found: list[str] = []
  for name in fields:
    value = record.meta.get(name)
    values = value if isinstance(value, list) else [value]
    found += (x for x in values if isinstance(x, str) and x.strip())
  return found or [record.caption]


def embed(
  o: Options, variables: Variables, batch: Batch, key: PRNGKeyArray
) -> tuple[dict[str, Any], Variables]:
  """Embeds the views of a batch, with the target model of BYOLIP if it is one.

  Args:
    o: options of the system.
    variables: of the towers, and "ema" of BYOLIP's target.
    batch: views "weak" and, if there are strong views, those of `STRONG`.
    key: of the dropout of strong texts.

  Returns:
    `Embedded` under "online", and under "target" what BYOLIP's predictions are
    compared with; new statistics in the variables.
  """
  rows = {
    kind: [batch["weak"][kind], *_strong(batch, kind)]
    for kind in ("image", "text")
  }
  own = {name: tree for name, tree in variables.items() if name != "ema"}
  ours, theirs = jax.random.split(key)
  online, new = _embedded(o, own, rows, ours)
  outputs: dict[str, Any] = {"online": online}
  variables = {**variables, **new}
  if o.variant == "byolip":
    target, new = _embedded(o, variables["ema"], rows, theirs)
    outputs["target"] = jax.lax.stop_gradient(target.heads)
    variables = {**variables, "ema": {**variables["ema"], **new}}
  return outputs, variables


def _strong(batch: Batch, kind: str) -> list[Array]:
  """Rows of each strong view."""
  found, examples = [], len(batch["weak"][kind])
  for name in STRONG:
    if name in batch:
      rows = batch[name][kind]
      by_example = rows.reshape(examples, -1, *rows.shape[1:])
      found += [by_example[:, number] for number in range(by_example.shape[1])]
  return found


def _embedded(
  o: Options,
  variables: Variables,
  rows: Mapping[str, Sequence[Array]],
  key: PRNGKeyArray,
) -> tuple[Embedded, Variables]:
  towers: Any = Towers(o)
  found, new = towers.apply(
    variables,
    rows["image"],
    rows["text"],
    method="in_training",
    rngs={"dropout": key},
    mutable=["batch_stats"],
  )
  return found, new


def terms(
  o: Options,
  params: PyTree,
  outputs: Mapping[str, Any],
  step: Array,
  contrast: Contrast = contrastive.cross_entropy,
  devices: int = 1,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Computes the contrast of views and the loss of the variant.

  Args:
    o: options of the system.
    params: trained variables.
    outputs: those of `embed`.
    step: updates so far.
    contrast: implementation of the cross entropy.
    devices: number of devices, by which the published code divides Barlow's
      gradient.

  Returns:
    Loss, a scalar, and its terms.
  """
  online: Embedded = outputs["online"]
  z: Views = jax.tree.map(selfsup.unit, online.projected)
  v: Any = online.heads
  scale = jnp.exp(params["logit_scale"])
  strong_scale = jnp.exp(
    params.get("strong_logit_scale", params["logit_scale"])
  )
  query_only = o.gather_grad == "query"
  contrastive_loss, found = selfsup.weak_and_strong(
    contrast, z.weak, z.strong, scale, strong_scale, o.smoothing, query_only
  )
  found["contrastive_loss"] = contrastive_loss
  loss = contrastive_loss * (2 if o.reduction == "sum" else 1)
  if o.variant == "barlip":
    extra = barlow(o, v, devices)
    found["barlow_loss"] = extra
    loss += extra
  elif o.variant in SIAMESE:
    p: Any = online.predicted
    target = outputs.get("target", v)
    extra = selfsup.siam_of_views(p.weak, p.strong, target.weak, target.strong)
    found["siam_loss"] = extra
    loss += extra
  elif o.variant == "swalip":
    extra = selfsup.swapped(
      z.strong, strong_scale, o.swap.epsilon, o.swap.iterations, query_only
    )
    found["swap_loss"] = extra
    loss += o.swap.weight * extra
  elif o.variant == "swalip_v1":
    extra = prototypes(o, v.weak, params["prototypes"], step)
    found["swap_loss"] = extra
    loss += o.swap.weight * extra
  return loss, found


def barlow(o: Options, heads: Views, devices: int) -> Float[Array, ""]:
  """Computes BarLIP's loss, with the gradient that is asked for."""
  loss = selfsup.barlow_of_views(*heads, o.barlow.off_diagonal, o.barlow.weight)
  official = o.barlow.grad == "official"
  return selfsup.scaled_gradient(loss, 1 / devices) if official else loss


def prototypes(
  o: Options, heads: Pair, rows: Float[Array, "k dim"], step: Array
) -> Float[Array, ""]:
  """Computes the loss of SwALIP's first version.

  Args:
    o: options of the system.
    heads: features of the weak view.
    rows: prototypes of any length; constants in the first steps.
    step: updates so far.

  Returns:
    Loss, a scalar.
  """
  moving = (step >= o.swap.frozen).astype(rows.dtype)
  rows = jax.lax.stop_gradient(rows) * (1 - moving) + rows * moving
  cosines = Pair(*(selfsup.prototype_cosines(x, rows) for x in heads))
  return selfsup.swapped_prototypes(
    cosines, cosines, o.swap.scale, o.swap.epsilon, o.swap.iterations
  )


def project(o: Options, variables: Variables) -> Variables:
  """Moves BYOLIP's target towards the model, then bounds the scales.

  Args:
    o: options of the system.
    variables: after an update.

  Returns:
    Variables for the next step.
  """
  params, found = variables["params"], dict(variables)
  if o.variant == "byolip":
    ema, decay = variables["ema"], o.siam.decay
    moved = jax.tree.map(
      lambda old, new: decay * old + (1 - decay) * new, ema["params"], params
    )
    found["ema"] = {**ema, "params": moved}
  bounded = {
    name: jnp.clip(params[name], math.log(s.low), math.log(s.high))
    for name, s in scalars(o).items()
  }
  return {**found, "params": {**params, **bounded}}
