"""Systems: encoders with their losses, each a module that is found by its name.

`task` defines the interface of a system.
"""

import importlib
import pkgutil
import re
from types import ModuleType

from hyperclip_jax.files import shown
from hyperclip_jax.sections import Section

NAME = re.compile(r"[a-z][a-z0-9_]*")
DOTTED = re.compile(r"\w+(\.\w+)+", re.ASCII)
OFFERS = ("Options", "encoder", "task")


def find(name: str, trust: bool = False) -> ModuleType:
  """Imports the module of a system.

  Args:
    name: module of this package, such as "hycoclip"; or, with `trust`, a dotted
      name of a module anywhere, such as "package.module".
    trust: whether to import a module of another package, which runs its code.

  Returns:
    Module of the system.

  Raises:
    ValueError: there is no such system, it is not trusted, or it lacks a name.
  """
  own, dotted = NAME.fullmatch(name) is not None, foreign(name)
  if dotted and not trust:
    raise ValueError(
      f"system {shown(name)!r} is a module of another package, which may run "
      "any code: allow it by --config.trust_system in training, --trust_system "
      "of other commands, or load(..., trust_system=True)"
    )
  if own or dotted:
    full = f"{__name__}.{name}" if own else name
    try:
      module = importlib.import_module(full)
    except ModuleNotFoundError as error:
      if error.name is None or not f"{full}.".startswith(f"{error.name}."):
        raise
      module = None
    lacks = _lacks(module)
    if module and not lacks:
      return module
    if dotted:
      raise ValueError(
        f"system {shown(name)!r}: "
        + (
          f"the module lacks {', '.join(lacks)} (docs/extend.md)"
          if module
          else "Python finds no such module: install its package, or put its "
          "folder on PYTHONPATH"
        )
      )
  raise ValueError(
    f"system must be one of {', '.join(names())}, found {shown(name)!r}"
  )


def foreign(name: str) -> bool:
  """Whether a system is a module of another package, by its name."""
  return DOTTED.fullmatch(name) is not None


def names() -> list[str]:
  """Lists the systems of this package, sorted."""
  found = [module.name for module in pkgutil.iter_modules(__path__)]
  return sorted(
    name
    for name in found
    if not _lacks(importlib.import_module(f"{__name__}.{name}"))
  )


def _lacks(module: ModuleType | None) -> list[str]:
  """Lists what a module lacks to be a system."""
  lacks = [name for name in OFFERS if not callable(getattr(module, name, None))]
  options = getattr(module, OFFERS[0], None)
  if options and not (
    isinstance(options, type) and issubclass(options, Section)
  ):
    lacks.append("Options that is a dataclass derived from sections.Section")
  return lacks
