"""Compositional accuracy: is the true caption nearer than an altered one?

SugarCrepe: Hsieh et al., NeurIPS 2023. VL-CheckList: Zhao et al., 2022, its
evaluation "itc". Both compare captions as their authors' code does.
"""

import pathlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from hyperclip_jax.data.records.images import center_square
from hyperclip_jax.evals.datasets.files import Source, require, unique
from hyperclip_jax.evals.encoding import encode_files
from hyperclip_jax.evals.rates import CHANCE, halves
from hyperclip_jax.evals.tasks import MissingData, Results, Task, left, within
from hyperclip_jax.files import inside, read_json, shown
from hyperclip_jax.inference.protocol import Model

BATCH = 128  # pairs scored at once: all their captions against all their images

SUGAR_CREPE = (
  "add_att",
  "add_obj",
  "replace_att",
  "replace_obj",
  "replace_rel",
  "swap_att",
  "swap_obj",
)

SUGAR_CREPE_WANTED = Source(
  "sugar_crepe",
  "https://github.com/RAIVNLab/sugar-crepe (the folder data), "
  "https://cocodataset.org/#download (2017 Val images)",
  "".join(f"sugar_crepe/data/{kind}.json\n" for kind in SUGAR_CREPE)
  + "sugar_crepe/val2017/*.jpg, which may be a link to coco/val2017",
)

VL_CHECKLIST_WANTED = Source(
  "vl_checklist",
  "https://github.com/om-ai-lab/VL-CheckList (the folder data; its DATASETS.md "
  "lists the images)",
  "vl_checklist/data/{Attribute,Object,Relation}/**/*.json\n"
  "vl_checklist/vg/{VG_100K,VG_100K_2}/*.jpg\n"
  "vl_checklist/swig/*.jpg\n"
  "vl_checklist/hake/**/*.jpg\n"
  "If some images are missing, remove the lists that name them from data.",
)


class Pair(NamedTuple):
  """An image with a true and a false caption."""

  image: pathlib.Path
  true: str
  false: str


def sugar_crepe(model: Model, folder: pathlib.Path) -> Results:
  """Measures the seven kinds of SugarCrepe.

  Args:
    model: model to measure.
    folder: folder with data and val2017.

  Returns:
    Accuracy of each kind (add_att, add_obj, ..., swap_obj) with error and
    chance (see `rates`); of the groups add, replace and swap, the means of
    their kinds; `mean` over the kinds; and counts. Pairs whose image cannot be
    read are left out.

  Raises:
    MissingData: a file is missing; the message says where to get it.
    ValueError: a record is damaged; the message names the file and its key.
  """
  lists = {kind: folder / "data" / f"{kind}.json" for kind in SUGAR_CREPE}
  require([*lists.values(), folder / "val2017"], SUGAR_CREPE_WANTED)
  pairs = {
    kind: _sugar_crepe(path, folder / "val2017") for kind, path in lists.items()
  }
  found = _accuracies(model, pairs, SUGAR_CREPE_WANTED)
  result: dict[str, float] = {}
  for kind in SUGAR_CREPE:
    result |= halves(kind, found.rates[kind], found.pairs[kind])
  for group in ("add", "replace", "swap"):
    result[group] = _mean(
      result[kind] for kind in SUGAR_CREPE if kind.startswith(group)
    )
  result["mean"] = _mean(result[kind] for kind in SUGAR_CREPE)
  return {**result, **_counts(found), **left(found.left_out)}


def vl_checklist(model: Model, folder: pathlib.Path) -> Results:
  """Measures objects, attributes and relations of VL-CheckList.

  As in the authors' code, the lists of one source of images (vg, vaw, swig or
  hake) are averaged first, then the sources. Their code skips missing images;
  here they are an error.

  Args:
    model: model to measure.
    folder: folder with data, and the images in vg, swig and hake.

  Returns:
    Accuracies such as object_location_center, object_size_small,
    attribute_color and relation_action, for the lists that exist; their means
    object, attribute and relation; and chance and counts. Pairs whose image
    cannot be read are left out.

  Raises:
    MissingData: a file is missing; the message says where to get it.
    ValueError: a record is damaged; the message names the file and its number.
  """
  require([folder / "data"], VL_CHECKLIST_WANTED)
  lists = sorted((folder / "data").rglob("*.json"))
  if not lists:
    raise MissingData(*VL_CHECKLIST_WANTED, lacks=f"{folder / 'data'}/*.json")
  named = [_aspect(path.relative_to(folder / "data"), path) for path in lists]
  pairs = {
    path: _vl_checklist(path, folder / ("vg" if source == "vaw" else source))
    for path, (_, source) in zip(lists, named, strict=True)
  }
  found = _accuracies(model, pairs, VL_CHECKLIST_WANTED)
  sources: dict[str, dict[str, list[float]]] = {}
  for path, (aspect, source) in zip(lists, named, strict=True):
    rates = sources.setdefault(aspect, {}).setdefault(source, [])
    rates.append(found.rates[path])
  result = {
    aspect: _mean(map(_mean, of.values())) for aspect, of in sources.items()
  }
  for kind in ("object", "attribute", "relation"):
    values = [v for aspect, v in result.items() if aspect.startswith(kind)]
    if values:
      result[kind] = _mean(values)
  chance = {f"{name}{CHANCE}": 0.5 for name in result}
  return {**result, **chance, **_counts(found), **left(found.left_out)}


def accuracy(
  model: Model,
  images: Float[np.ndarray, "pairs dim"],
  true: Float[np.ndarray, "pairs dim"],
  false: Float[np.ndarray, "pairs dim"],
) -> float:
  """Computes how often an image is nearer to the true caption.

  Ties and NaN count as errors.

  Args:
    model: model that made the embeddings.
    images: one row for each pair.
    true: embeddings of the true captions.
    false: embeddings of the false captions.

  Returns:
    Accuracy, a fraction.
  """
  right = []
  for start in range(0, len(images), BATCH):
    rows = slice(start, start + BATCH)
    nearness = [
      np.diagonal(model.similarity(images[rows], captions[rows]))
      for captions in (true, false)
    ]
    right.append(nearness[0] > nearness[1])
  return float(np.mean(np.concatenate(right)))


class _Accuracies(NamedTuple):
  """Accuracy and size of each list of pairs, and why images were left out."""

  rates: dict[Any, float]
  pairs: dict[Any, int]
  left_out: dict[pathlib.Path, str]


def _accuracies(
  model: Model, pairs: dict[Any, list[Pair]], source: Source
) -> _Accuracies:
  """Embeds each image once; leaves out pairs with a bad image."""
  paths, _ = unique([pair.image for of in pairs.values() for pair in of])
  require(paths, source)
  images, good, left_out = encode_files(model, paths, center_square)
  row = {paths[i]: place for place, i in enumerate(good)}
  rates, counts = {}, {}
  for name, everything in pairs.items():
    of = [pair for pair in everything if pair.image in row]
    if not of:
      raise ValueError(f"{name}: none of its images can be read")
    texts, rows = unique([text for pair in of for text in pair[1:]])
    captions = model.encode_text(texts)
    own = images[[row[pair.image] for pair in of]]
    rates[name] = accuracy(
      model, own, captions[rows[0::2]], captions[rows[1::2]]
    )
    counts[name] = len(of)
  return _Accuracies(rates, counts, left_out)


def _counts(found: _Accuracies) -> dict[str, float]:
  return {"pairs": float(sum(found.pairs.values()))}


def _sugar_crepe(path: pathlib.Path, photos: pathlib.Path) -> list[Pair]:
  """Reads {"0": {"filename", "caption", "negative_caption"}, ...}."""
  content = read_json(path)
  if not isinstance(content, dict) or not content:
    raise ValueError(f"{path}: not a JSON object of records")
  pairs = []
  for key, record in content.items():
    match record:
      case {
        "filename": name,
        "caption": str(true),
        "negative_caption": str(false),
      }:
        pairs.append(
          _pair(f"{path}: record {shown(repr(key))}", photos, name, true, false)
        )
      case _:
        raise ValueError(
          f"{path}: record {shown(repr(key))} lacks a filename, caption or "
          f"negative_caption: {record!r:.200}"
        )
  return pairs


def _vl_checklist(path: pathlib.Path, photos: pathlib.Path) -> list[Pair]:
  """Reads [["a/b.jpg", {"POS": [caption], "NEG": [caption]}], ...]."""
  content = read_json(path)
  if not isinstance(content, list) or not content:
    raise ValueError(f"{path}: not a list of records")
  pairs = []
  for number, record in enumerate(content):
    match record:
      case [name, {"POS": [str(true), *_], "NEG": [str(false), *_]}]:
        where = f"{path}: record number {number}"
        pairs.append(_pair(where, photos, name, true, false))
      case _:
        raise ValueError(
          f"{path}: record number {number} is not an image with POS and NEG "
          f"captions: {record!r:.200}"
        )
  return pairs


def _pair(
  where, photos: pathlib.Path, name: Any, true: str, false: str
) -> Pair:
  try:
    return Pair(inside(photos, name), true, false)
  except ValueError as error:
    raise ValueError(f"{where}: {error}") from error


def _aspect(name: pathlib.Path, path: pathlib.Path) -> tuple[str, str]:
  """Returns the aspect that a list of VL-CheckList tests, and its image source.

  Attribute/vg/color.json, Object/Size/hake_size/hake_obj_small.json and
  Relation/swig_action.json test attribute_color, object_size_small and
  relation_action.
  """
  words = name.with_suffix("").as_posix().lower().replace("/", "_").split("_")
  known = [word for word in words if word in ("vg", "vaw", "swig", "hake")]
  if not known or words[0] not in ("object", "attribute", "relation"):
    raise ValueError(
      f"{path}: not a list of VL-CheckList: its path in data must start with "
      f"Object, Attribute or Relation, and contain vg, vaw, swig or hake"
    )
  kind = words[:2] if words[0] == "object" else words[:1]
  return "_".join([*kind, words[-1]]), known[0]


def _mean(values: Iterable[float]) -> float:
  return float(np.mean(list(values)))


TASKS = (
  Task("sugar_crepe", within("sugar_crepe", sugar_crepe), {}),
  Task("vl_checklist", within("vl_checklist", vl_checklist), {}),
)
