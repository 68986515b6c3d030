"""Commands that use a trained model: classify, search, encode and others."""

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from hyperclip_jax import files
from hyperclip_jax.commands import lists
from hyperclip_jax.commands.door import fail
from hyperclip_jax.evals.metrics.zero_shot import class_embeddings
from hyperclip_jax.files import shown
from hyperclip_jax.inference import bulk, onnx, pretrained, walk
from hyperclip_jax.inference.classify import Classification, prompts
from hyperclip_jax.inference.encoder import EncodedFiles
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.inference.search import Index
from hyperclip_jax.inference.walk import ROOT
from hyperclip_jax.training import cluster

MOST_SHOWN = 1000  # characters of a name on the terminal
MOST_NAMED = 20  # images that were left out

Rows = list[dict[str, Any]]


def classify(options: argparse.Namespace) -> int:
  """Prints the most probable labels of each image."""
  return _answer(options, _classify)


def search(options: argparse.Namespace) -> int:
  """Prints the nearest entries of an index to each query."""
  return _answer(options, _search)


def traverse(options: argparse.Namespace) -> int:
  """Prints the walk from each image."""
  return _answer(options, _traverse)


def encode(options: argparse.Namespace) -> int:
  """Embeds images or texts into a file."""
  try:
    bulk.check(options.output)
    if bool(options.images) == bool(options.texts):
      raise ValueError("give one of --images and --texts")
    if options.images:
      named = lists.pictures("images", options.images)
      names, images = [*named], [*named.values()]
    else:
      names, images = lists.texts("texts", options.texts), None
    model = _model(options)
    done = bulk.embed(model, options.output, names, images)
  except (ImportError, ValueError, OSError) as error:
    fail(error)
  print(f"{options.output}: {done.rows:,} x {model.width}, {model.space}")
  left_out = [
    shown(reason if name in reason else f"{name}: {reason}", MOST_SHOWN)
    for name, reason in done.left_out.items()
  ]
  return _reported(options, left_out)


def export(options: argparse.Namespace) -> None:
  """Writes the towers as ONNX files."""
  try:
    model = pretrained.load(
      os.path.expanduser(options.model),
      options.vision_heads,
      options.text_heads,
      options.trust_system,
    )
    for path in onnx.export(model, options.output):
      print(path)
  except (ImportError, ValueError, OSError) as error:
    fail(error)


def _answer(
  options: argparse.Namespace,
  rows_of: Callable[[argparse.Namespace, list[str]], Rows],
) -> int:
  """Prints answers; returns 1 if --strict and images were left out."""
  left_out: list[str] = []
  try:
    cluster.join(options.coordinator, options.processes, options.process)
    rows = rows_of(options, left_out)
  except (ImportError, ValueError, OSError) as error:
    fail(error)
  if options.json:
    print(_json(rows))
  else:
    for row in rows:
      _print_row(row)
  return _reported(options, left_out)


def _reported(options: argparse.Namespace, left_out: list[str]) -> int:
  """Prints what was left out; returns 1 if --strict and there is some."""
  if left_out:
    rest = len(left_out) - MOST_NAMED
    more = [f"and {rest} more"] if rest > 0 else []
    lines = "\n  ".join([*left_out[:MOST_NAMED], *more])
    print(f"left out {len(left_out)} images:\n  {lines}", file=sys.stderr)
  return int(options.strict and bool(left_out))


def _classify(options: argparse.Namespace, left_out: list[str]) -> Rows:
  paths = lists.paths("images", options.images)
  labels = lists.texts("labels", options.labels)
  templates = _templates(options.templates)
  model = _model(options)
  images = _encoded(model, "images", paths, left_out)
  classes = class_embeddings(model, labels, templates)
  found = model.probabilities(images.embeddings, classes)
  return [
    {
      "image": name,
      "found": [{"label": label, "probability": p} for label, p in best],
    }
    for name, best in zip(
      images.names, Classification(labels, found).top(options.top), strict=True
    )
  ]


def _search(options: argparse.Namespace, left_out: list[str]) -> Rows:
  if bool(options.query) == bool(options.query_images):
    raise ValueError("give one of --query and --query_images")
  if options.query:
    queries: list[Any] = lists.texts("query", options.query)
  else:
    queries = lists.paths("query_images", options.query_images)
  index_of = _index(options.index, _things(options), left_out)
  model = _model(options)
  index = index_of(model)
  if options.query:
    hits = model.search_text(queries, index, options.top)
  else:
    found = _encoded(model, "query_images", queries, left_out)
    queries = found.names
    hits = model.search(found.embeddings, index, options.top)
  return [
    {
      "query": query,
      "found": [
        {"row": hit.row, "name": hit.name, "score": hit.score} for hit in best
      ],
    }
    for query, best in zip(queries, hits, strict=True)
  ]


def _traverse(options: argparse.Namespace, left_out: list[str]) -> Rows:
  paths = lists.paths("images", options.images)
  to = files.expanded(options.to) if options.to != ROOT else None
  texts = lists.texts("texts", options.texts) if options.texts else []
  index_of = _index(options.index, texts, left_out)
  model = _model(options)
  end = None if to is None else model.encode_image(to)[0]
  index = index_of(model)
  model.check_index(index)
  images = _encoded(model, "images", paths, left_out)

  def walked(start: np.ndarray) -> tuple[walk.Stop, ...]:
    if end is None:
      return walk.to_root(start, model.root, index, options.steps)
    return walk.between(start, end, index, options.steps)

  return [
    {
      "image": name,
      "to": str(to or ROOT),
      "found": [{"name": stop.name, "t": stop.t} for stop in walked(start)],
    }
    for name, start in zip(images.names, images.embeddings, strict=True)
  ]


def _model(options: argparse.Namespace) -> HyperCLIP:
  """Loads the model, after all other checks since it takes longest."""
  return pretrained.load(
    os.path.expanduser(options.model),
    options.vision_heads,
    options.text_heads,
    options.trust_system,
    options.batch_size,
    options.dtype,
  )


def _things(options: argparse.Namespace) -> list[Any]:
  """Lists the images or texts to search in."""
  if options.images and options.texts:
    raise ValueError("give one of --images and --texts to search in")
  if options.images:
    return lists.paths("images", options.images)
  return lists.texts("texts", options.texts) if options.texts else []


def _index(
  file: str | None, things: list[Any], left_out: list[str]
) -> Callable[[HyperCLIP], Index]:
  """Makes a function from the model to an index, read or made and saved."""
  path = files.expanded(file) if file else None
  if not things:
    if path is None:
      raise ValueError(
        "give --texts (to search, or --images), or --index with an index"
      )
    index = Index.load(path)
    return lambda model: index
  if path and path.exists():
    raise ValueError(f"{path} exists: drop --images and --texts to read it")
  if path:  # Checked now, since embedding may take hours.
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
      raise PermissionError(f"--index={path}: its folder cannot be written to")

  def make(model: HyperCLIP) -> Index:
    if isinstance(things[0], pathlib.Path):
      images = _encoded(model, "images", things, left_out)
      index = model.index(images.embeddings, images.names)
    else:
      index = model.index_texts(things)
    if path:
      index.save(path)
    return index

  return make


def _encoded(
  model: HyperCLIP, flag: str, paths: list[pathlib.Path], left_out: list[str]
) -> EncodedFiles:
  """Embeds the image files that can be read.

  Args:
    model: model to embed with.
    flag: name of the flag that lists the files, for the message.
    paths: image files.
    left_out: list to which the faults of all other files are appended.

  Returns:
    Embeddings and paths of the good files.

  Raises:
    ValueError: no file can be read.
  """
  found = model.encode_files(paths)
  bad = [shown(reason, MOST_SHOWN) for reason in found.left_out.values()]
  if not found.names:
    raise ValueError(f"--{flag}: no image is good: {bad[0]}")
  left_out += bad
  return found


def _templates(given: list[str]) -> list[str]:
  """Parses the value of --templates."""
  templates = lists.texts("templates", given)
  try:
    prompts(["name"], templates)
  except ValueError as error:
    commas = any("," in text for text in given)
    raise ValueError(
      f"{error}; {lists.COMMAS}" if commas else str(error)
    ) from error
  return templates


def _print_row(row: dict[str, Any]) -> None:
  lines = [shown(next(iter(row.values())), MOST_SHOWN)]
  for answer in row["found"]:
    *name, number = answer.values()
    lines.append(f"  {number:8.4f}  {shown(name[-1], MOST_SHOWN)}")
  encoding = sys.stdout.encoding or "utf-8"
  text = "\n".join(lines)
  print(text.encode(encoding, "backslashreplace").decode(encoding))


def _json(rows: Rows) -> str:
  """Formats JSON, with escapes for what a terminal cannot or must not show."""
  utf = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
  text = json.dumps(rows, ensure_ascii=not utf, indent=2)
  return "".join(
    c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text
  )
