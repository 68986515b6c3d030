"""Image classification, with hyperbolic networks and heads or without.

A label is a text: the class that a caption or phrase names (`labels.Labels`).
An image is embedded as its logits, and a text as the unit vector of its class,
so that the softmax of nearness over classes is that of the logits: search,
evaluation and reports use a classifier like any other system. Text that names
no class is the root.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hyperclip_jax.data.feed import views as views_lib
from hyperclip_jax.data.feed.views import View
from hyperclip_jax.data.records.record import Part, Record
from hyperclip_jax.geometry.spaces import Euclid
from hyperclip_jax.systems import dual_encoder
from hyperclip_jax.systems.classifier import labels, model
from hyperclip_jax.systems.classifier.labels import Labels
from hyperclip_jax.systems.task import Encoder, Rules, Task, Variables

TITLE = "Classifier"

Options = model.Options


def encoder(o: Options) -> Encoder:
  """Makes the encoder: logits of images, and unit vectors of classes.

  Squared distances are |logits|^2 - 2 logits[class] + 1, of which the first and
  the last are equal for all classes.

  Args:
    o: options.

  Returns:
    Encoder.
  """
  classes, net = len(o.classes), model.Classifier(o)

  def init(key: PRNGKeyArray) -> Variables:
    shape = (1, o.image_size, o.image_size, 3)
    return net.init(key, jnp.zeros(shape), train=False)

  def image(variables: Variables, x: Array) -> Float[Array, "n width"]:
    logits: Any = net.apply(variables, x, train=False)
    return logits

  def text(
    variables: Variables, tokens: Int[Array, "n length"]
  ) -> Float[Array, "n width"]:
    del variables
    return jax.nn.one_hot(tokens[:, 0] - 1, classes)

  return Encoder(
    init=init,
    image=image,
    text=text,
    space=lambda params: Euclid(),
    # The space divides by the square root of the width.
    scale=lambda params: jnp.float32(classes / 2),
    tokenizer=functools.partial(Labels, o.classes, o.parents),
    context=1,
    image_size=o.image_size,
    width=classes,
    classes=o.classes,
    parents=labels.parents(o.classes, o.parents),
  )


def task(o: Options, view: View, mesh: Mesh) -> Task:
  """Makes the task: cross entropy of the classes that texts name.

  Args:
    o: options.
    view: crops and distortions.
    mesh: devices that share a batch.

  Returns:
    Task for the trainer.
  """
  del mesh
  e, net = encoder(o), model.Classifier(o)
  statistics = o.backbone != "vit"

  def embed(variables, batch, key):
    del key
    x = batch["whole"]
    logits, changed = net.apply(
      variables, x["image"], train=True, mutable=["batch_stats"]
    )
    outputs = {"logits": logits, "class": x["text"][:, 0] - 1}
    return outputs, {**variables, **changed}

  def loss(params, outputs, step):
    del params, step
    return terms(outputs["logits"], outputs["class"])

  return Task(
    views={"whole": view._replace(count=1)},
    draws=1,
    show=functools.partial(show, Labels(o.classes, o.parents)),
    init=e.init,
    embed=embed,
    loss=loss,
    rules=Rules(
      matrices=dual_encoder.MATRICES, split=dual_encoder.MODEL_PARALLEL
    ),
    micro_batches=not statistics,
  )


def terms(
  logits: Float[Array, "b classes"], truth: Int[Array, "b"]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Computes the mean cross entropy of the labelled examples.

  Args:
    logits: logits of the examples.
    truth: number of the class of each; -1 for an example without one.

  Returns:
    Loss, 0 if no example has a label, and "accuracy" and "labelled", the shares
    of right answers and of examples with a label.
  """
  known = truth >= 0
  count = jnp.maximum(jnp.sum(known), 1).astype(logits.dtype)

  def mean(x):
    return jnp.sum(jnp.where(known, x, 0)) / count

  losses = optax.softmax_cross_entropy_with_integer_labels(
    logits, jnp.maximum(truth, 0)
  )
  right = (jnp.argmax(logits, axis=1) == truth).astype(logits.dtype)
  return mean(losses), {
    "accuracy": mean(right),
    "labelled": jnp.mean(known.astype(logits.dtype)),
  }


def show(
  names: Labels, record: Record, numbers: Float[np.ndarray, " 1"]
) -> dict[str, Sequence[Part]]:
  """Chooses what to classify: the whole image, or a part that names a class.

  Args:
    names: finds the class that a text names.
    record: record of the example.
    numbers: a random number in [0, 1).

  Returns:
    One of the parts that name a class, the whole image among them; the whole
    image if there are none.
  """
  whole = views_lib.whole(record)
  named = [p for p in (whole, *record.parts) if names.number(p.text)]
  return {"whole": views_lib.choose(named or [whole], numbers)}
