"""Small loaders: what they show, and their first batches."""

import itertools

import jax.numpy as jnp
import numpy as np

from hyperclip_jax.data.feed import pipeline, views
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.data.feed.place import Form
from hyperclip_jax.data.feed.tokenizer import Tokenizer
from hyperclip_jax.data.feed.views import Display, View


def with_parts(count, lengths=(16, 77)):
  """Wholes and a random choice of parts; without parts where count is 0."""
  whole = View(lengths=lengths)
  if not count:
    return views.whole_only(whole)

  def show(record, numbers):
    one = views.whole(record)
    return {
      "whole": [one],
      "part": views.choose(record.parts or [one], numbers),
    }

  part = whole._replace(count=count)
  return Display({"whole": whole, "part": part}, count, show)


def take(
  *sources,
  count,
  display=None,
  batch_size=4,
  faults=None,
  form=Form(64),  # noqa: B008
  **options,
):
  """The first batches of a loader."""
  reading = {
    "weights": (1.0,) * len(sources),
    "seed": 0,
    "examples_seen": 0,
    "threads": 2,
    "prefetch": 2,
  }
  make = pipeline.MakeBatch(
    sources,
    faults or Faults(0.0),
    display or with_parts(1),
    form=form,
    tokenizer=Tokenizer(),
  )
  iterator = pipeline.batches(
    sources, make, batch_size=batch_size, **reading | options
  )
  try:
    return list(itertools.islice(iterator, count))
  finally:
    iterator.close()  # its threads would go on during later tests


def distinct(batch):
  """Whether a part's text is not the caption, of valid rows."""
  whole, part = batch["whole"], batch["part"]
  texts = (jnp.asarray(view["text"]) for view in (part, whole))
  return np.asarray(views.differs(*texts)) & part.get("valid", True)


def rows(batches):
  """Batches -> one list of examples, as comparable tuples."""
  found = []
  for batch in batches:
    leaves = [
      batch[view][name]
      for view in sorted(batch)
      for name in sorted(batch[view])
    ]
    examples = min(map(len, leaves))
    found += [
      tuple(
        part.tobytes()
        for leaf in leaves
        for part in leaf[i * len(leaf) // examples :][: len(leaf) // examples]
      )
      for i in range(examples)
    ]
  return found
