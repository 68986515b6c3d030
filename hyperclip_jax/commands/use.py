"""Commands on a trained model: classify, search, traverse."""

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hyperclip_jax import files
from hyperclip_jax.commands import lists
from hyperclip_jax.commands.door import fail
from hyperclip_jax.data.records.images import ImageError
from hyperclip_jax.evals import encoding
from hyperclip_jax.files import shown
from hyperclip_jax.inference import pretrained, reading
from hyperclip_jax.inference.classify import prompts
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.inference.progress import bar
from hyperclip_jax.inference.search import Index
from hyperclip_jax.inference.walk import ROOT
from hyperclip_jax.training import cluster

MOST_SHOWN = 1000  # characters of a name on the terminal
MOST_NAMED = 20  # images that were left out

Rows = list[dict[str, Any]]


def classify(options: argparse.Namespace) -> int:
  """The likeliest labels of each image."""
  return _answer(options, _classify)


def search(options: argparse.Namespace) -> int:
  """What is nearest to each query."""
  return _answer(options, _search)


def traverse(options: argparse.Namespace) -> int:
  """What is met on the way from each image."""
  return _answer(options, _traverse)


def _answer(
  options: argparse.Namespace,
  rows_of: Callable[[argparse.Namespace, list[str]], Rows],
) -> int:
  """Prints answers; the exit code is 1 if --strict and images were left out."""
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
  if left_out:
    rest = len(left_out) - MOST_NAMED
    more = [f"and {rest} more"] if rest > 0 else []
    lines = "\n  ".join([*left_out[:MOST_NAMED], *more])
    print(f"left out {len(left_out)} images:\n  {lines}", file=sys.stderr)
  return int(options.strict and bool(left_out))


def _classify(options: argparse.Namespace, left_out: list[str]) -> Rows:
  images = _images("images", options.images, left_out)
  labels = lists.texts("labels", options.labels)
  templates = _templates(options.templates)
  found = _model(options).classify(images, labels, templates).top(options.top)
  return [
    {
      "image": str(image),
      "found": [{"label": name, "probability": p} for name, p in best],
    }
    for image, best in zip(images, found, strict=True)
  ]


def _search(options: argparse.Namespace, left_out: list[str]) -> Rows:
  if bool(options.query) == bool(options.query_images):
    raise ValueError("give one of --query and --query_images")
  if options.query:
    queries: list[Any] = lists.texts("query", options.query)
  else:
    queries = _images("query_images", options.query_images, left_out)
  index_of = _index(options.index, _things(options, left_out))
  model = _model(options)
  search_in = model.search_text if options.query else model.search_image
  hits = search_in(queries, index_of(model), options.top)
  return [
    {
      "query": str(query),
      "found": [
        {"row": hit.row, "name": hit.name, "score": hit.score} for hit in best
      ],
    }
    for query, best in zip(queries, hits, strict=True)
  ]


def _traverse(options: argparse.Namespace, left_out: list[str]) -> Rows:
  images = _images("images", options.images, left_out)
  to: pathlib.Path | None = None
  if options.to != ROOT:
    to = files.expanded(options.to)
    encoding.decode_file(to)  # The walks have nowhere to go without it.
  texts = lists.texts("texts", options.texts) if options.texts else []
  index_of = _index(options.index, texts)
  model = _model(options)
  walks = model.traverse(images, index_of(model), to, options.steps)
  return [
    {
      "image": str(image),
      "to": str(to or ROOT),
      "found": [{"name": point.name, "t": point.t} for point in walk],
    }
    for image, walk in zip(images, walks, strict=True)
  ]


def _model(options: argparse.Namespace) -> HyperCLIP:
  """Loaded after all else is checked, for it takes the longest."""
  source = os.path.expanduser(options.model)
  return pretrained.load(source, options.vision_heads, options.text_heads)


def _things(options: argparse.Namespace, left_out: list[str]) -> list[Any]:
  """What --images and --texts name, to be searched."""
  if options.images and options.texts:
    raise ValueError("give one of --images and --texts to search in")
  if options.images:
    return _images("images", options.images, left_out)
  return lists.texts("texts", options.texts) if options.texts else []


def _index(file: str | None, things: list[Any]) -> Callable[[HyperCLIP], Index]:
  """Model -> the index: of `things`, written to a file, or read from it."""
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
  if path:  # Now, as embedding the things may take hours.
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
      raise PermissionError(f"--index={path}: its folder cannot be written to")

  def make(model: HyperCLIP) -> Index:
    images = isinstance(things[0], pathlib.Path)
    index = (model.index_images if images else model.index_texts)(things)
    if path:
      index.save(path)
    return index

  return make


def _images(
  flag: str, given: list[str], left_out: list[str]
) -> list[pathlib.Path]:
  """The image files of a list that can be decoded.

  Args:
    flag: name of the flag.
    given: its values.
    left_out: what is wrong with each of the others is added here.

  Raises:
    ValueError, OSError: there is no good image.
  """
  paths = lists.paths(flag, given)
  groups = [paths[i : i + 64] for i in range(0, len(paths), 64)]
  good: list[pathlib.Path] = []
  bad: list[str] = []
  with ThreadPoolExecutor(reading.THREADS) as pool:
    for group in bar(groups, "checking", len(groups)):
      for path, problem in zip(group, pool.map(_problem, group), strict=True):
        if problem is None:
          good.append(path)
        else:
          bad.append(problem)
  if not good:
    raise ValueError(f"--{flag}: no image is good: {bad[0]}")
  left_out += bad
  return good


def _problem(path: pathlib.Path) -> str | None:
  try:
    encoding.decode_file(path)
  except (ImageError, OSError) as error:
    return shown(error, MOST_SHOWN)
  return None


def _templates(given: list[str]) -> list[str]:
  """The prompts of --templates."""
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
  """JSON, with escapes for what a terminal would act on or cannot show."""
  utf = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
  text = json.dumps(rows, ensure_ascii=not utf, indent=2)
  return "".join(
    c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text
  )
