"""Sections of settings: frozen dataclasses that check themselves.

Each field declares its valid values, so that constructing a section checks it.
A `ConfigDict` or JSON object is its `dataclasses.asdict`:

  @dataclasses.dataclass(frozen=True)
  class Options(Section):
    factors: int = number(64, least=1, most=4096)
    pool: str = choice("mean", ("mean", "max"))

    def problems(self):
      if self.factors % 2:
        yield f"factors must be even, found {self.factors}"
"""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from hyperclip_jax.files import shown

MOST_INT = 2**63 - 1
ALIKE = 0.65  # smallest difflib ratio of a name that is suggested
WANTED = {
  bool: "true or false",
  int: "a whole number",
  float: "a number",
  str: "a text",
  tuple: "numbers in brackets, such as (8, 16)",
}

S = TypeVar("S", bound="Section")


class SectionError(ValueError):
  """Invalid values of a section.

  Attributes:
    problems: one sentence for each, which starts with the name of the field.
  """

  def __init__(self, problems: Iterable[str]):
    """Joins the problems to a message."""
    self.problems = list(problems)
    super().__init__("\n".join(self.problems))


def number(
  default: Any,
  least: float | int | None = None,
  above: float | int | None = None,
  most: float | int = math.inf,
  training: bool = False,
) -> Any:
  """Declares a field for a finite number, by default a positive one.

  Args:
    default: an int for whole numbers, or a float.
    least: smallest value.
    above: exclusive lower bound; 0 if `least` is not given either.
    most: largest value.
    training: whether it only matters in training.

  Returns:
    Dataclass field.
  """
  if least is None and above is None:
    above = 0
  bounds = {"least": least, "above": above, "most": most}
  meta = {"bounds": bounds, "training": training}
  return dataclasses.field(default=default, metadata=meta)


def choice(default: str, choices: Iterable[str], training: bool = False) -> Any:
  """Declares a field for one of several texts.

  Args:
    default: default text.
    choices: valid texts.
    training: whether it only matters in training.

  Returns:
    Dataclass field.
  """
  meta = {"choices": tuple(choices), "training": training}
  return dataclasses.field(default=default, metadata=meta)


def switch(default: bool, training: bool = False) -> Any:
  """Declares a field for true or false.

  Args:
    default: default value.
    training: whether it only matters in training.

  Returns:
    Dataclass field.
  """
  return dataclasses.field(default=default, metadata={"training": training})


def path(default: str = "", several: bool = False) -> Any:
  """Declares a field for a path; see `paths`.

  Args:
    default: default path.
    several: whether it may be several globs, joined by commas.

  Returns:
    Dataclass field.
  """
  return dataclasses.field(default=default, metadata={"several": several})


def file(name: str, default: str = "") -> Any:
  """Declares a field for a file that is part of a model, or "".

  A run or release keeps a copy of the file next to its model.json.

  Args:
    name: name of the copy, such as "tokenizer.json".
    default: path, or "hf-hub:org/name" of a repository with such a file.

  Returns:
    Dataclass field.
  """
  return dataclasses.field(default=default, metadata={"file": name})


@dataclasses.dataclass(frozen=True)
class Section:
  """Base of all sections."""

  def __post_init__(self):
    """Checks every field; converts whole numbers to floats and lists to tuples.

    Raises:
      SectionError: lists every bad field with the value found and what is
        wanted.
    """
    for name, kind in get_type_hints(type(self)).items():
      object.__setattr__(self, name, _settled(getattr(self, name), kind))
    found = list(_field_problems(self)) or list(self.problems())
    if found:
      raise SectionError(found)

  def problems(self) -> Iterable[str]:
    """Yields problems beyond single fields, once each field is valid."""
    return ()


def build(cls: type[S], values: Any) -> S:
  """Builds a section from a tree of values; missing ones take their defaults.

  Args:
    cls: class of the section.
    values: dict or ConfigDict, field -> value, with a tree for a nested
      section.

  Returns:
    Section.

  Raises:
    SectionError: a name is unknown or a value invalid; the message has dotted
      names.
  """
  fields = {f.name: f for f in dataclasses.fields(cls)}
  hints = get_type_hints(cls)
  wrong: list[str] = []
  given: dict[str, Any] = {}
  for name, value in values.items():
    if name not in fields:
      wrong.append(unknown(str(name), names(cls)))
      continue
    kind = hints[name]
    if not dataclasses.is_dataclass(kind):
      value = _settled(value, kind)
      if _fits(value, kind) or not _supported(kind):
        given[name] = value
      else:
        wrong.append(_misfit(name, value, kind))
    elif not hasattr(value, "items"):
      wrong.append(f"{name} must be a section, found {shown(repr(value))}")
    else:
      try:
        given[name] = build(kind, value)  # type: ignore[arg-type]
      except SectionError as error:
        wrong += (f"{name}.{line}" for line in error.problems)
  try:
    section = cls(**given)
  except SectionError as error:
    raise SectionError([*wrong, *error.problems]) from None
  if wrong:
    raise SectionError(wrong)
  return section


def names(cls: type[Section], prefix: str = "") -> list[str]:
  """Lists the dotted names of all values of a section.

  Args:
    cls: class of the section.
    prefix: text before each name.

  Returns:
    Names in the order of the fields.
  """
  hints = get_type_hints(cls)
  found = []
  for field in dataclasses.fields(cls):
    kind = hints[field.name]
    if dataclasses.is_dataclass(kind):
      found += names(kind, f"{prefix}{field.name}.")  # type: ignore[arg-type]
    else:
      found.append(prefix + field.name)
  return found


def lasting(section: Any) -> dict[str, Any]:
  """Returns the values that also matter after training, by dotted name."""
  found = {}
  for field in dataclasses.fields(section):
    value = getattr(section, field.name)
    if field.metadata.get("training"):
      continue
    if dataclasses.is_dataclass(value):
      inside = lasting(value)
      found |= {f"{field.name}.{name}": inside[name] for name in inside}
    else:
      found[field.name] = value
  return found


def paths(cls: type[Section]) -> dict[str, bool]:
  """Maps fields of a section that are paths to whether they may be several."""
  return {
    field.name: field.metadata["several"]
    for field in dataclasses.fields(cls)
    if "several" in field.metadata
  }


def files(section: Any) -> dict[str, str]:
  """Fields of a section, or its class, that name files -> names of copies."""
  return {
    field.name: field.metadata["file"]
    for field in dataclasses.fields(section)
    if "file" in field.metadata
  }


def unknown(name: str, known: Iterable[str]) -> str:
  """Formats an error for an unknown name.

  Args:
    name: name as written.
    known: names that exist.

  Returns:
    Message, with a suggestion if a name is similar.
  """
  guess = closest(name, known)
  hint = f", did you mean {guess}?" if guess else ""
  return f"{shown(name)}: no such value{hint}"


def closest(name: str, names: Iterable[str]) -> str | None:
  """Finds the name that was probably meant.

  Initials count as a match (`lr` for `learning_rate`), and names of the same
  section come first.

  Args:
    name: name as written, dotted or plain.
    names: names that exist.

  Returns:
    The name, or None if no name is similar.
  """
  section, _, key = name.rpartition(".")
  names = list(names)
  siblings = [n for n in names if n.rpartition(".")[0] == section]
  for pool in (siblings, names):
    keys = sorted({n.rpartition(".")[2] for n in pool})
    alike = [k for k in keys if key in (k, _initials(k))]
    alike = alike or difflib.get_close_matches(key, keys, 1, ALIKE)
    found = [n for n in pool if n.rpartition(".")[2] in alike[:1]]
    if found:
      return max(found, key=lambda n: _likeness(n, name))
  return next(iter(difflib.get_close_matches(name, names, 1, ALIKE)), None)


def _initials(key: str) -> str:
  return "".join(word[:1] for word in key.split("_"))


def _likeness(a: str, b: str) -> float:
  return difflib.SequenceMatcher(None, a, b).ratio()


def _field_problems(section: Section) -> Iterator[str]:
  hints = get_type_hints(type(section))
  for field in dataclasses.fields(section):
    name, value = field.name, getattr(section, field.name)
    kind = hints[name]
    if dataclasses.is_dataclass(kind):
      if type(value) is not kind:
        yield f"{name} must be a section, found {shown(repr(value))}"
      continue
    if not _supported(kind):
      yield (
        f"{name} is declared as {shown(str(kind))}: a field may be bool, int, "
        "float, str, a tuple[..., ...] of one of these, or a Section"
      )
      continue
    if not _fits(value, kind):
      yield _misfit(name, value, kind)
      continue
    meta = field.metadata
    if "bounds" in meta:
      yield from _range_problems(name, value, **meta["bounds"])
    elif "choices" in meta and value not in meta["choices"]:
      yield (
        f"{name} must be one of {', '.join(meta['choices'])}, "
        f"found {shown(repr(value))}"
      )


def _range_problems(
  name: str,
  value: float | int,
  least: float | int | None,
  above: float | int | None,
  most: float | int,
) -> Iterator[str]:
  large = above is None or value > above
  if not (large and (least is None or value >= least) and value < math.inf):
    wanted = f"more than {above}" if above is not None else f"at least {least}"
    yield f"{name} must be finite and {wanted}, found {value}"
  elif value > min(most, MOST_INT):
    yield f"{name} must be at most {min(most, MOST_INT)}, found {shown(value)}"


def _settled(value: Any, kind: Any) -> Any:
  """Converts whole numbers to floats and lists to tuples, as in fields."""
  if isinstance(value, (list, tuple)):
    (item, *_) = get_args(kind) or (None,)
    return tuple(_settled(one, item) for one in value)
  whole = type(value) is int and abs(value) < 2**63  # larger have no float
  return float(value) if kind is float and whole else value


def _supported(kind: Any) -> bool:
  """Whether values of a type can be checked, and set by flags."""
  if get_origin(kind) is tuple:
    (item, *rest) = get_args(kind)
    return all(one in (item, ...) for one in rest) and _supported(item)
  return isinstance(kind, type) and kind in WANTED and kind is not tuple


def _fits(value: Any, kind: Any) -> bool:
  if get_origin(kind) is tuple:
    (item, *_) = get_args(kind)
    return isinstance(value, tuple) and all(_fits(one, item) for one in value)
  return type(value) is kind


def _misfit(name: str, value: Any, kind: Any) -> str:
  wanted = WANTED[get_origin(kind) or kind]
  return f"{name} must be {wanted}, found {shown(repr(value))}"
