"""Commands on a trained model: classify, search, traverse."""

import glob
import json
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

from absl import flags

from hyperclip_jax import pretrained
from hyperclip_jax.hyperclip import HyperCLIP
from hyperclip_jax.search import Index
from hyperclip_jax.walk import ROOT

MODEL = flags.DEFINE_string(
  "model",
  None,
  "A workdir, a folder of save_pretrained, hf-hub:org/name or a .pth.",
)
IMAGES = flags.DEFINE_list("images", [], "Images: paths and globs.")
TEXTS = flags.DEFINE_list(
  "texts", [], "Texts to search or to meet; @FILE gives one a line."
)
LABELS = flags.DEFINE_list("labels", [], "Classes; @FILE gives one a line.")
TEMPLATES = flags.DEFINE_list(
  "templates", ["a photo of a {}."], "Prompts; @FILE gives one a line."
)
QUERY = flags.DEFINE_list("query", [], "Texts to search for, or @FILE.")
QUERY_IMAGES = flags.DEFINE_list("query_images", [], "Images to search for.")
INDEX = flags.DEFINE_string(
  "index", None, "An index file: read, or made of --images and --texts."
)
TOP = flags.DEFINE_integer("top", 5, "How many answers.", lower_bound=1)
TO = flags.DEFINE_string("to", ROOT, "Where a walk ends: root, or an image.")
STEPS = flags.DEFINE_integer("steps", 50, "Points of a walk.", lower_bound=2)
JSON = flags.DEFINE_bool("json", False, "Print JSON.")
VISION_HEADS = flags.DEFINE_integer(
  "vision_heads", None, "Of a .pth of no published width.", lower_bound=1
)
TEXT_HEADS = flags.DEFINE_integer(
  "text_heads", None, "Of a .pth of no published width.", lower_bound=1
)

Rows = list[dict[str, Any]]


def run(mode: str) -> None:
  """Answers by the flags, on stdout.

  Args:
    mode: of `COMMANDS`.

  Raises:
    ImportError, OSError, ValueError: with a message for the user.
  """
  rows = COMMANDS[mode]()
  if JSON.value:
    print(json.dumps(rows, ensure_ascii=False, indent=2))
    return
  for row in rows:
    print(next(iter(row.values())))
    for answer in row["found"]:
      *name, number = answer.values()
      print(f"  {number:8.4f}  {name[-1]}")


def classify() -> Rows:
  """--images and --labels: the likeliest labels of each image."""
  images = _paths("images", IMAGES.value)
  labels = _lines("labels", LABELS.value)
  templates = _lines("templates", TEMPLATES.value)
  found = _model().classify(images, labels, templates).top(TOP.value)
  return [
    {
      "image": str(image),
      "found": [{"label": name, "probability": p} for name, p in best],
    }
    for image, best in zip(images, found, strict=True)
  ]


def search() -> Rows:
  """--query or --query_images in an index: the nearest to each."""
  if bool(QUERY.value) == bool(QUERY_IMAGES.value):
    raise ValueError("give one of --query and --query_images")
  if QUERY.value:
    queries: list[Any] = _lines("query", QUERY.value)
  else:
    queries = _paths("query_images", QUERY_IMAGES.value)
  index_of = _index(_things())
  model = _model()
  search_in = model.search_text if QUERY.value else model.search_image
  hits = search_in(queries, index_of(model), TOP.value)
  return [
    {
      "query": str(query),
      "found": [
        {"row": hit.row, "name": hit.name, "score": hit.score} for hit in best
      ],
    }
    for query, best in zip(queries, hits, strict=True)
  ]


def traverse() -> Rows:
  """--images to --to: what is met among --texts, or in an index."""
  images = _paths("images", IMAGES.value)
  to = None if TO.value == ROOT else _paths("to", [TO.value])[0]
  index_of = _index(_lines("texts", TEXTS.value) if TEXTS.value else [])
  model = _model()
  walks = model.traverse(images, index_of(model), to, STEPS.value)
  return [
    {
      "image": str(image),
      "to": str(to or ROOT),
      "found": [{"name": point.name, "t": point.t} for point in walk],
    }
    for image, walk in zip(images, walks, strict=True)
  ]


COMMANDS: dict[str, Callable[[], Rows]] = {
  "classify": classify,
  "search": search,
  "traverse": traverse,
}


def _model() -> HyperCLIP:
  """Loaded after all else is checked, for it takes the longest."""
  if not MODEL.value:
    raise ValueError("give --model, such as a workdir or a .pth")
  return pretrained.load(MODEL.value, VISION_HEADS.value, TEXT_HEADS.value)


def _things() -> list[Any]:
  """What --images and --texts name, to be searched."""
  images = _paths("images", IMAGES.value) if IMAGES.value else []
  texts = _lines("texts", TEXTS.value) if TEXTS.value else []
  if images and texts:
    raise ValueError("give one of --images and --texts to search in")
  return images or texts


def _index(things: list[Any]) -> Callable[[HyperCLIP], Index]:
  """Model -> the index: of `things`, written to --index, or read from it."""
  path = pathlib.Path(INDEX.value) if INDEX.value else None
  if not things:
    if path is None:
      raise ValueError(
        "give --texts (to search, or --images), or --index with an index"
      )
    index = Index.load(path)
    return lambda model: index
  if path and path.exists():
    raise ValueError(f"{path} exists: drop --images and --texts to read it")

  def make(model: HyperCLIP) -> Index:
    images = isinstance(things[0], pathlib.Path)
    index = (model.index_images if images else model.index_texts)(things)
    if path:
      index.save(path)
    return index

  return make


def _paths(flag: str, patterns: Iterable[str]) -> list[pathlib.Path]:
  """The files that paths and globs name."""
  found = []
  for pattern in patterns:
    literal = pathlib.Path(pattern).exists()
    names = [pattern] if literal else sorted(glob.glob(pattern, recursive=True))
    if not names:
      raise FileNotFoundError(f"--{flag}: no file matches {pattern!r}")
    found += map(pathlib.Path, names)
  if not found:
    raise ValueError(f"give --{flag}, paths or globs joined by commas")
  return found


def _lines(flag: str, values: Iterable[str]) -> list[str]:
  """Values, and the lines of @FILEs."""
  found: list[str] = []
  for value in values:
    if value.startswith("@"):
      found += pathlib.Path(value[1:]).read_text(encoding="utf-8").splitlines()
    else:
      found.append(value)
  found = [value.strip() for value in found if value.strip()]
  if not found:
    raise ValueError(f"give --{flag}, joined by commas or as @FILE")
  return found
