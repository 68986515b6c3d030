"""Commands on a trained model: classify, search, traverse."""

import csv
import glob
import json
import os
import pathlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from absl import flags

from hyperclip_jax import files
from hyperclip_jax.data.records.images import ImageError
from hyperclip_jax.evals import encoding
from hyperclip_jax.files import shown
from hyperclip_jax.inference import pretrained, reading
from hyperclip_jax.inference.classify import prompts
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.inference.progress import bar
from hyperclip_jax.inference.search import Index
from hyperclip_jax.inference.walk import ROOT

MODEL = flags.DEFINE_string(
  "model",
  None,
  "A workdir, a folder of save_pretrained, hf-hub:org/name or a .pth.",
)
IMAGES = flags.DEFINE_multi_string("images", [], "Images: paths and globs.")
TEXTS = flags.DEFINE_multi_string("texts", [], "Texts to search in or to meet.")
LABELS = flags.DEFINE_multi_string("labels", [], "Names of the classes.")
TEMPLATES = flags.DEFINE_multi_string(
  "templates", ["a photo of a {}."], "Prompts, each with {} for the name."
)
QUERY = flags.DEFINE_multi_string("query", [], "Texts to search for.")
QUERY_IMAGES = flags.DEFINE_multi_string(
  "query_images", [], "Images to search for."
)
INDEX = flags.DEFINE_string(
  "index", None, "An index file: read, or made of --images or --texts."
)
TOP = flags.DEFINE_integer("top", 5, "How many answers.", lower_bound=1)
TO = flags.DEFINE_string("to", ROOT, "Where a walk ends: root, or an image.")
STEPS = flags.DEFINE_integer("steps", 50, "Points of a walk.", lower_bound=2)
JSON = flags.DEFINE_bool("json", False, "Print JSON.")
STRICT = flags.DEFINE_bool(
  "strict", False, "End with exit code 1 if an image was left out."
)
VISION_HEADS = flags.DEFINE_integer(
  "vision_heads", None, "Of a .pth of no published width.", lower_bound=1
)
TEXT_HEADS = flags.DEFINE_integer(
  "text_heads", None, "Of a .pth of no published width.", lower_bound=1
)

# The flags of each command, beside those of all.
_ALL = ("model", "vision_heads", "text_heads", "json", "strict")
USES = {
  "classify": ("images", "labels", "templates", "top", *_ALL),
  "search": (
    *("query", "query_images", "images", "texts", "index", "top"),
    *_ALL,
  ),
  "traverse": ("images", "to", "texts", "index", "steps", *_ALL),
}
LISTS = (
  "In lists, commas separate values and double quotes keep a comma, as in\n"
  "--labels='\"a dog, sitting\",a cat'. @FILE stands for the lines of a file,\n"
  "and a flag may be repeated."
)
COMMAS = (
  "commas separate values: put one that holds a comma in double quotes, as in "
  "'\"a, b\",c', or on a line of @FILE"
)
MOST_SHOWN = 1000  # characters of a name on the terminal
MOST_NAMED = 20  # images that were left out

Rows = list[dict[str, Any]]


def run(mode: str) -> int:
  """Prints the answers that the flags ask for.

  Args:
    mode: a key of `COMMANDS`.

  Returns:
    The exit code: 1 if images were left out and --strict is given.

  Raises:
    ImportError, OSError, ValueError: with a message for the user.
  """
  left_out: list[str] = []
  rows = COMMANDS[mode](left_out)
  if JSON.value:
    print(_json(rows))
  else:
    for row in rows:
      _print_row(row)
  if left_out:
    rest = len(left_out) - MOST_NAMED
    more = [f"and {rest} more"] if rest > 0 else []
    lines = "\n  ".join([*left_out[:MOST_NAMED], *more])
    print(f"left out {len(left_out)} images:\n  {lines}", file=sys.stderr)
  return int(STRICT.value and bool(left_out))


def classify(left_out: list[str]) -> Rows:
  """--images and --labels: the likeliest labels of each image."""
  images, labels = _images(IMAGES, left_out), _values(LABELS)
  templates = _templates()
  found = _model().classify(images, labels, templates).top(TOP.value)
  return [
    {
      "image": str(image),
      "found": [{"label": name, "probability": p} for name, p in best],
    }
    for image, best in zip(images, found, strict=True)
  ]


def search(left_out: list[str]) -> Rows:
  """--query or --query_images in an index: the nearest to each."""
  if bool(QUERY.value) == bool(QUERY_IMAGES.value):
    raise ValueError("give one of --query and --query_images")
  if QUERY.value:
    queries: list[Any] = _values(QUERY)
  else:
    queries = _images(QUERY_IMAGES, left_out)
  index_of = _index(_things(left_out))
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


def traverse(left_out: list[str]) -> Rows:
  """--images to --to: what is met among --texts, or in an index."""
  images = _images(IMAGES, left_out)
  to: pathlib.Path | None = None
  if TO.value != ROOT:
    to = files.expanded(TO.value)
    encoding.decode_file(to)  # The walks have nowhere to go without it.
  index_of = _index(_values(TEXTS) if TEXTS.value else [])
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


COMMANDS: dict[str, Callable[[list[str]], Rows]] = {
  "classify": classify,
  "search": search,
  "traverse": traverse,
}


def _model() -> HyperCLIP:
  """Loaded after all else is checked, for it takes the longest."""
  if not MODEL.value:
    raise ValueError("give --model, such as a workdir or a .pth")
  source = os.path.expanduser(MODEL.value)
  return pretrained.load(source, VISION_HEADS.value, TEXT_HEADS.value)


def _things(left_out: list[str]) -> list[Any]:
  """What --images and --texts name, to be searched."""
  if IMAGES.value and TEXTS.value:
    raise ValueError("give one of --images and --texts to search in")
  if IMAGES.value:
    return _images(IMAGES, left_out)
  return _values(TEXTS) if TEXTS.value else []


def _index(things: list[Any]) -> Callable[[HyperCLIP], Index]:
  """Model -> the index: of `things`, written to --index, or read from it."""
  path = files.expanded(INDEX.value) if INDEX.value else None
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


def _images(flag: flags.FlagHolder, left_out: list[str]) -> list[pathlib.Path]:
  """The image files that a flag names and that can be decoded.

  Args:
    flag: one of paths and globs.
    left_out: what is wrong with each of the others is added here.

  Raises:
    ValueError, OSError: there is no good image.
  """
  paths = _paths(flag)
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
    raise ValueError(f"--{flag.name}: no image is good: {bad[0]}")
  left_out += bad
  return good


def _problem(path: pathlib.Path) -> str | None:
  try:
    encoding.decode_file(path)
  except (ImageError, OSError) as error:
    return shown(error, MOST_SHOWN)
  return None


def _paths(flag: flags.FlagHolder) -> list[pathlib.Path]:
  """The files that paths and globs name."""
  found = []
  for text in flag.value:
    whole = files.expanded(text)  # A file's own name may hold commas.
    names = [text] if whole.exists() else _parted(flag, text)
    for name in names:
      path = files.expanded(name)
      if path.is_dir():
        raise ValueError(f"--{flag.name}: {path} is a folder; want '{path}/*'")
      matches = [path]
      if not path.exists():
        matches = map(
          pathlib.Path, sorted(glob.glob(str(path), recursive=True))
        )
      matches = list(matches)
      if not matches:
        hint = f"; {COMMAS}" if "," in text else ""
        raise FileNotFoundError(
          f"--{flag.name}: no file matches {name!r}{hint}"
        )
      found += matches
  if not found:
    raise ValueError(f"give --{flag.name}, paths or globs joined by commas")
  return found


def _templates() -> list[str]:
  """The prompts of --templates."""
  templates = _values(TEMPLATES)
  try:
    prompts(["name"], templates)
  except ValueError as error:
    commas = any("," in text for text in TEMPLATES.value)
    raise ValueError(f"{error}; {COMMAS}" if commas else str(error)) from error
  return templates


def _values(flag: flags.FlagHolder) -> list[str]:
  """The values of a list of texts."""
  found = [value for text in flag.value for value in _parted(flag, text)]
  if not found:
    raise ValueError(f"give --{flag.name}, joined by commas or as @FILE")
  if any(", " in text and '"' not in text for text in flag.value):
    # It may be one text, which would be torn apart without a word.
    listed = " | ".join(found[:5]) + (" ..." if len(found) > 5 else "")
    print(
      f"--{flag.name}: {len(found)} values, {shown(listed)}; {COMMAS}",
      file=sys.stderr,
    )
  return found


def _parted(flag: flags.FlagHolder, text: str) -> list[str]:
  """The values that a flag's text holds, those of @FILEs too."""
  try:
    rows = [*csv.reader([text], skipinitialspace=True, strict=True)]
  except csv.Error as error:
    raise ValueError(
      f"--{flag.name}={shown(text)}: {error}; {COMMAS}"
    ) from error
  found: list[str] = []
  for value in (value.strip() for row in rows for value in row):
    if value.startswith("@"):
      found += files.lines(files.read_text(files.expanded(value[1:])))
    elif value:
      found.append(value)
  return found


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
