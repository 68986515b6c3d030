"""Model cards: the README.md of a released model, with the hub's header."""

import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from hyperclip_jax import files
from hyperclip_jax.checkpoints.hub import CARD
from hyperclip_jax.files import shown, write_whole

LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")
MOST = 1_000_000  # bytes of a config, of results or of a card
LONGEST = 2_000  # characters of what is told about data
# Spreads, counts and quantiles are no results that compare models.
LEFT_OUT = re.compile(
  r"root_distance/.*_(std|p5|p95|median)$|_(se|chance)$"
  r"|/(images|texts|pairs|classes)$"
)


class About(NamedTuple):
  """What a model card tells that a model's options do not.

  Attributes:
    data: what the model was trained on, and how long.
    numbers: results by the name of the measure.
    licence: identifier of the hub, such as "apache-2.0"; "" if not stated.
  """

  data: str = ""
  numbers: Mapping[str, float] = {}
  licence: str = ""


NOTHING = About()
UNSTATED = "Not stated."
SECTION = re.DOTALL | re.MULTILINE
ROW = r"^\| (\S+) \| (-?\d+(?:\.\d+)?(?:e[-+]?\d+)?) \|$"


def check(about: About) -> None:
  """Checks that the licence is an identifier of the hub, and the data a text.

  Raises:
    TypeError: one is not a text.
    ValueError: the licence is no identifier.
  """
  for name, given in (("licence", about.licence), ("data", about.data)):
    if not isinstance(given, str):
      raise TypeError(f"{name} is of type {type(given).__name__}: give a text")
  if about.licence and not LICENCE.fullmatch(about.licence):
    raise ValueError(
      f"licence is {shown(repr(about.licence))}: want an identifier of the "
      "hub, such as apache-2.0 or cc-by-nc-4.0"
    )


def of_run(workdir: pathlib.Path) -> About:
  """Reads what a run was trained on, and its last results.

  Args:
    workdir: folder of a run; what is missing or damaged is left out.

  Returns:
    Data and numbers.
  """
  config = _object(workdir / "config.json")
  numbers = {
    name.removeprefix("eval/"): float(value)
    for name, value in _object(workdir / "results.json").items()
    if isinstance(value, float) and not LEFT_OUT.search(name)
  }
  return About(_data(config), numbers)


def of_release(folder: pathlib.Path) -> About:
  """Reads what the card of a release tells, so that a copy tells it, too.

  Args:
    folder: folder of a release, with or without a card by `write`.

  Returns:
    Data, numbers to the digits printed, and licence.
  """
  try:
    text = files.read_bytes(folder / CARD, MOST).decode("utf-8")
  except (OSError, ValueError):
    return NOTHING
  parts = dict(re.findall(r"^## (\w+)\n\n(.*?)(?=\n\n|\Z)", text, SECTION))
  data = re.sub(r"\\(.)", r"\1", parts.get("Data", "").replace("\n", " "))
  rows = re.findall(ROW, parts.get("Results", ""), re.MULTILINE)
  licence = re.search(r"^license: (\S+)$", text.split("\n---\n")[0], re.M)
  return About(
    "" if data == UNSTATED else data,
    {re.sub(r"\\(.)", r"\1", name): float(value) for name, value in rows},
    licence[1] if licence and LICENCE.fullmatch(licence[1]) else "",
  )


def write(
  folder: pathlib.Path,
  title: str,
  facts: Mapping[str, str],
  about: About,
) -> None:
  """Writes the card of a released model, unless there is one.

  Args:
    folder: folder of the model.
    title: name of its system in texts.
    facts: descriptions of the model by subject.
    about: what else to tell.

  Raises:
    OSError: it cannot be written.
  """
  path = folder / CARD
  if not path.exists():
    text = card(folder.resolve().name, title, facts, about)
    write_whole(path, text, "replace")


def card(
  name: str,
  title: str,
  facts: Mapping[str, str],
  about: About,
) -> str:
  """Makes the text of a card.

  Args:
    name: name of the model's folder.
    title: name of its system in texts.
    facts: descriptions of the model by subject, one of them "system".
    about: what else to tell.

  Returns:
    Markdown with a header of YAML.
  """
  tags = ["vision-language", "hyperclip-jax", _word(facts["system"])]
  header = [
    "library_name: hyperclip-jax",
    "pipeline_tag: zero-shot-image-classification",
    "tags:",
    *(f"- {tag}" for tag in tags),
    *([f"license: {about.licence}"] if about.licence else []),
  ]
  numbers = {k: f"{value:.4g}" for k, value in about.numbers.items()}
  parts = [
    "\n".join(["---", *header, "---"]),
    f"# {_plain(title)}",
    "A vision-language model of "
    "[HyperCLIP-JAX](https://pypi.org/project/hyperclip-jax): images and texts "
    "are points of one space.",
    _table("", facts),
    "## Data",
    _plain(about.data, LONGEST) or UNSTATED,
    "## Results",
    _table("held-out data", numbers) if numbers else "None were measured.",
    "## Use",
    f"""```python
import hyperclip_jax

model = hyperclip_jax.load("{_word(name)}")  # its folder, or hf-hub:ORG/NAME
found = model.classify("picture.jpg", ["dog", "cat"])
print(found.top(1))
```""",
    "## Licence",
    _plain(about.licence) or UNSTATED,
  ]
  return "\n\n".join(parts) + "\n"


def _data(config: Mapping[str, Any]) -> str:
  """Describes the data of a run's config, without folders of its machine."""
  data, shapes = config.get("data"), config.get("shapes")
  if isinstance(shapes, Mapping):
    found = f"{shapes.get('train')} scenes of the embedded coloured shapes"
  elif isinstance(data, Mapping) and isinstance(data.get("shards"), str):
    globs = data["shards"].split(",")
    found = "shards " + ", ".join(
      "/".join(pathlib.PurePosixPath(glob).parts[-2:]) for glob in globs
    )
  else:
    return ""
  steps, batch = config.get("steps"), config.get("batch_size")
  return f"{found}; {steps} steps of {batch} examples."


def _object(path: pathlib.Path) -> dict[str, Any]:
  try:
    found = files.read_json(path, MOST)
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def _table(head: str, rows: Mapping[str, str]) -> str:
  lines = [f"| {_plain(k)} | {_plain(v)} |" for k, v in rows.items()]
  return "\n".join([f"| {head} | |", "|---|---|", *lines])


def _plain(text: str, most: int = 400) -> str:
  """Formats untrusted text on one line, without Markdown and HTML."""
  return re.sub(r"([\\`*_<>|\[\]#])", r"\\\1", shown(text, most))


def _word(text: str) -> str:
  """Keeps the letters of a name that mean nothing to YAML and Python."""
  return re.sub(r"[^\w.-]", "-", text)
