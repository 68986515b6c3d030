"""Systems: encoders with their losses, each a module that is found by its name.

`task` defines the interface of a system.
"""

import importlib
import pkgutil
import re
from types import ModuleType

from hyperclip_jax.files import shown

NAME = re.compile(r"[a-z][a-z0-9_]*")
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
    ValueError: there is no such system, or it is not trusted.
  """
  own = NAME.fullmatch(name) is not None
  if not own and not trust and re.fullmatch(r"\w+(\.\w+)+", name, re.ASCII):
    raise ValueError(
      f"system {shown(name)!r} is a module of another package, which may run "
      "any code: allow it by --config.trust_system in training, --trust_system "
      "of other commands, or load(..., trust_system=True)"
    )
  if own or trust:
    full = f"{__name__}.{name}" if own else name
    try:
      module = importlib.import_module(full)
    except ModuleNotFoundError as error:
      if error.name is None or not f"{full}.".startswith(f"{error.name}."):
        raise
      module = None
    if module and _is_system(module):
      return module
  raise ValueError(
    f"system must be one of {', '.join(names())}, found {shown(name)!r}"
  )


def names() -> list[str]:
  """Lists the systems of this package, sorted."""
  found = [module.name for module in pkgutil.iter_modules(__path__)]
  return sorted(
    name
    for name in found
    if _is_system(importlib.import_module(f"{__name__}.{name}"))
  )


def _is_system(module: ModuleType) -> bool:
  return all(callable(getattr(module, name, None)) for name in OFFERS)
