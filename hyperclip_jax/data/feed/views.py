"""Views: what a batch shows of each record, named by the system that asks.

The host fills these leaves of a view, with B * count rows:

  leaf   shape                             there where
  image  (rows, canvas, canvas, 3) uint8   `crop` is set, `canvas` is not
  crop   (rows, 4) float32: x0, y0, x1, y1 `crop` is set
  seed   (rows,) uint32                    `crop` is set
  text   (rows, length) int32              `lengths` is set
  valid  (rows,) bool                      `count` is more than 1
  NAME   (rows, ...)                       `extra` has NAME

`augment` makes pixels of the first three, on the device.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float64, Int

from hyperclip_jax.data.feed import distortions
from hyperclip_jax.data.feed.augment import crop_resize
from hyperclip_jax.data.feed.distortions import Options
from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.boxes import WHOLE
from hyperclip_jax.data.records.record import Part, Record

T = TypeVar("T")
LEAVES = ("image", "crop", "seed", "text", "valid")


class View(NamedTuple):
  """One way of showing a record; a batch has `count` rows of it per example.

  Rows of example i are i * count to (i + 1) * count - 1.

  Attributes:
    count: rows of an example. With more than one, the leaf "valid" marks the
      rows of parts; the others repeat the last part of an example.
    crop: smallest and largest share of a picture that a random resized crop
      keeps; None for a view without pictures.
    distortions: random changes of the pixels, on the device.
    lengths: lengths to which token ids may be cut, ascending; texts are
      truncated to the last. None for a view without texts.
    canvas: view whose decoded pictures this one crops again, each as often as
      this view has more rows; None decodes its own. The boxes of its parts are
      then ignored.
    extra: name -> dtype of further numbers of each row, such as
      {"label": np.int32}; `show` returns `Shown` for such a view.
    image_size: side of the resized images; None for that of the system.
  """

  count: int = 1
  crop: tuple[float, float] | None = (0.5, 1.0)
  distortions: Options = Options()
  lengths: tuple[int, ...] | None = (8, 16, 24, 32, 77)
  canvas: str | None = None
  extra: Mapping[str, Any] = {}
  image_size: int | None = None


class Shown(NamedTuple):
  """Result of `show` for a view with `extra`.

  Attributes:
    parts: 1 to `count` parts, a row each.
    extra: name -> a number for each part, or arrays of one shape.
  """

  parts: Sequence[Part]
  extra: Mapping[str, Sequence[Any]] = {}


Views = Mapping[str, View]
# A view without `extra` may return its parts without `Shown`.
Show = Callable[[Record, np.ndarray], Mapping[str, Sequence[Part] | Shown]]
Batch = Mapping[str, Mapping[str, Any]]


class Display(NamedTuple):
  """What a batch shows of a record, and the function that chooses it.

  Attributes:
    views: views by name, in the order of their random numbers.
    draws: number of random numbers in [0, 1) that `show` gets for a record.
    show: (record, numbers (draws,)) -> 1 to `count` parts of each view. It runs
      in threads. A record for which it raises is bad.
  """

  views: Views
  draws: int
  show: Show


class ShowError(ValueError):
  """Raised when `show` returns something that its views do not allow.

  It ends the run, while other errors of `show` only replace the record.
  """


def whole(record: Record) -> Part:
  """Makes the part of the caption and the full image."""
  return Part(record.caption, WHOLE)


def choose(
  parts: Sequence[T], numbers: Float64[np.ndarray, " draws"]
) -> list[T]:
  """Chooses parts at random, without replacement.

  Args:
    parts: parts to choose from.
    numbers: random numbers in [0, 1), one for each part to choose.

  Returns:
    As many parts as there are numbers, or all.
  """
  left = list(parts)
  picks = numbers[: len(left)].tolist()
  return [left.pop(int(pick * len(left))) for pick in picks]


def whole_only(view: View) -> Display:
  """Makes a display of full images with their captions, a view "whole"."""
  return Display(
    {"whole": view}, 0, lambda record, _: {"whole": [whole(record)]}
  )


def check(views: Views) -> None:
  """Checks that views are valid and consistent.

  Raises:
    ValueError: they are not; the message names the view and the value found.
  """
  for name, view in views.items():
    where = f"view {name!r}"
    if view.count < 1:
      raise ValueError(f"{where}: count is {view.count}, want 1 or more")
    if view.crop is None and view.lengths is None and not view.extra:
      raise ValueError(f"{where} shows nothing: give crop, lengths or extra")
    taken = sorted(set(view.extra) & set(LEAVES))
    if taken:
      raise ValueError(f"{where}: extra has {taken}, names of the batch's own")
    if view.canvas is not None:
      _check_canvas(where, view, views.get(view.canvas))


def _check_canvas(where: str, view: View, other: View | None) -> None:
  if other is None or other.crop is None or other.canvas is not None:
    raise ValueError(
      f"{where}: canvas is {view.canvas!r}, want a view that decodes pictures "
      "of its own"
    )
  if view.crop is None:
    raise ValueError(f"{where} has a canvas: give it a crop, too")
  if view.count % other.count:
    raise ValueError(
      f"{where}: count is {view.count}, want a multiple of the {other.count} "
      f"of its canvas {view.canvas!r}"
    )


def checked(
  views: Views, found: Mapping[str, Sequence[Part] | Shown]
) -> dict[str, Shown]:
  """Checks the result of `show`, and puts it into the order of the views.

  Args:
    views: views of a batch.
    found: result of `show`.

  Returns:
    Parts and extra numbers of each view.

  Raises:
    ShowError: there are missing or excess views, parts or extra numbers.
  """
  if not isinstance(found, Mapping):
    raise ShowError(f"show returned {type(found).__name__}, want a mapping")
  if found.keys() != views.keys():
    raise ShowError(f"show returned {sorted(found)}, want {sorted(views)}")
  shown: dict[str, Shown] = {}
  for name, view in views.items():
    given: Any = found[name]
    rows = given if view.extra else Shown(given)
    if not isinstance(rows, Shown):
      raise ShowError(f"view {name!r} has extra: show must return a Shown")
    count = len(rows.parts)
    if not 1 <= count <= view.count:
      raise ShowError(
        f"show returned {count} parts for view {name!r}, want 1 to {view.count}"
      )
    if view.extra:
      lengths = {extra: len(values) for extra, values in rows.extra.items()}
      wanted = dict.fromkeys(view.extra, count)
      if lengths != wanted:
        raise ShowError(
          f"show returned extra of lengths {lengths} for view {name!r}, want "
          f"{wanted}"
        )
    shown[name] = rows
  return shown


def draws(view: View) -> int:
  """Counts the random numbers for the seeds and crops of an example."""
  return 0 if view.crop is None else view.count * (1 + images.DRAWS)


def of_one_length(views: Views) -> dict[str, View]:
  """Restricts texts to their last length, for several processes.

  Otherwise processes would have to agree on a length at every step.
  """
  return {
    name: view._replace(lengths=view.lengths and view.lengths[-1:])
    for name, view in views.items()
  }


def augment(
  views: Views, batch: Batch, image_size: int
) -> dict[str, dict[str, Array]]:
  """Crops, resizes and distorts the pictures of a batch, on the device.

  Args:
    views: views of the batch.
    batch: leaves of each view, as listed at the top of this module.
    image_size: side of the resized images in pixels, for views that give none.

  Returns:
    Leaves of each view, without "crop" and "seed"; "image" holds pixels (rows,
    side, side, 3) in [0, 1].
  """
  made = {}
  for name, view in views.items():
    leaves = dict(batch[name])
    if view.crop is not None:
      crops, seeds = leaves.pop("crop"), leaves.pop("seed")
      canvases = batch[view.canvas or name]["image"]
      pixels = _cropped(canvases, crops, view.image_size or image_size)
      leaves["image"] = distortions.augment(pixels, seeds, view.distortions)
    made[name] = leaves
  return made


def _cropped(canvases: Array, crops: Array, image_size: int) -> Array:
  """Crops one or several regions of each canvas, without copying canvases."""
  if len(crops) == len(canvases):
    return crop_resize(canvases, crops, image_size)
  several = jax.vmap(lambda own: crop_resize(canvases, own, image_size), 1, 1)
  pixels = several(crops.reshape(len(canvases), -1, 4))
  return pixels.reshape(-1, *pixels.shape[2:])


def differs(
  text: Int[Array, "rows length"], of: Int[Array, "examples context"]
) -> Bool[Array, " rows"]:
  """Compares texts with the texts of their examples.

  Args:
    text: token ids, rows / examples of them for each example.
    of: token ids of the examples. Both are padded with zeros, and may differ in
      length.

  Returns:
    Whether each text differs from that of its example.
  """
  length = max(text.shape[1], of.shape[1])
  text, of = (
    jnp.pad(ids, ((0, 0), (0, length - ids.shape[1]))) for ids in (text, of)
  )
  rows = text.reshape(len(of), -1, length)
  return jnp.any(rows != of[:, None], axis=2).reshape(-1)
