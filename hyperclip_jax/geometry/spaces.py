"""All spaces of embeddings, and how files describe them.

`space.Space` is their interface.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hyperclip_jax.files import shown
from hyperclip_jax.geometry import gaussian
from hyperclip_jax.geometry.angular import Angular
from hyperclip_jax.geometry.ensemble import Ensemble
from hyperclip_jax.geometry.euclid import NEARNESS, Euclid
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.geometry.hyperboloid import Lorentz
from hyperclip_jax.geometry.product import NORMS, SCORES, Product
from hyperclip_jax.geometry.space import Space, alike, on_host
from hyperclip_jax.geometry.sphere import Sphere

__all__ = [
  "KINDS",
  "Angular",
  "Ensemble",
  "Euclid",
  "Gaussian",
  "Lorentz",
  "Product",
  "Space",
  "Sphere",
  "alike",
  "from_json",
  "on_host",
  "to_json",
]

# Numbers that a file may ask for. Training keeps curvatures within 0.1 and 10.
NUMBERS = (1e-6, 1e6)
MOST_FACTORS = 65_536
OPTIONAL = {"min_radius"}  # files of earlier versions lack it, and have 0.1


def to_json(space: Space) -> dict[str, Any]:
  """Describes a space for a file, such as {"name": "sphere"}.

  Raises:
    ValueError: the space is none of `KINDS`.

  Examples:
    >>> from_json(to_json(Lorentz(0.9)))
    Lorentz(curv=0.9, min_radius=0.1)
  """
  for name, (kind, fields) in KINDS.items():
    if type(space) is kind:
      values = {field: getattr(space, field) for field in fields}
      return {"name": name} | {
        field: value if isinstance(value, str) else np.asarray(value).tolist()
        for field, value in values.items()
      }
  raise ValueError(
    f"files know no space {type(space).__name__}, only {', '.join(KINDS)}: "
    "keep the embeddings in a file of your own"
  )


def from_json(value: Any) -> Space:
  """Makes the space that `to_json` described.

  Args:
    value: description from a file, of any type.

  Returns:
    Space whose parameters are Python floats, or float64 arrays.

  Raises:
    ValueError: the description is malformed or out of range.
  """
  name = value.get("name") if isinstance(value, dict) else None
  if isinstance(name, str) and name in KINDS:
    kind, fields = KINDS[name]
    values = {n: value[n] for n in fields if n in value}
    needed = {"name", *fields} - OPTIONAL
    if needed <= value.keys() <= {"name", *fields}:
      return kind(**{n: fields[n](n, given) for n, given in values.items()})
  raise ValueError(
    f"the space is {shown(value)}: expected such as "
    '{"name": "lorentz", "curv": NUMBER} or {"name": "sphere"}'
  )


def _number(name: str, value: Any) -> float:
  least, most = NUMBERS
  number = isinstance(value, int | float) and not isinstance(value, bool)
  if not (number and least <= value <= most):
    raise ValueError(
      f"the space's {name} is {shown(value)}: expected {least:g} to {most:g}"
    )
  return float(value)


def _fraction(name: str, value: Any) -> float:
  number = isinstance(value, int | float) and not isinstance(value, bool)
  if not (number and 0 <= value <= 1):
    raise ValueError(f"the space's {name} is {shown(value)}: expected 0 to 1")
  return float(value)


def _numbers(name: str, value: Any) -> np.ndarray:
  if not isinstance(value, list) or not 1 <= len(value) <= MOST_FACTORS:
    raise ValueError(f"the space's {name} is {shown(value)}: expected numbers")
  return np.array([_number(name, number) for number in value])


def _one_of(*choices: str) -> Callable[[str, Any], str]:
  def read(name: str, value: Any) -> str:
    if not isinstance(value, str) or value not in choices:
      raise ValueError(
        f"the space's {name} is {shown(value)}: expected one of "
        f"{', '.join(choices)}"
      )
    return value

  return read


# Name in files -> the space, and how its parameters are read.
KINDS: Mapping[str, tuple[Any, Mapping[str, Callable[[str, Any], Any]]]] = {
  "sphere": (Sphere, {}),
  "lorentz": (Lorentz, {"curv": _number, "min_radius": _number}),
  "angular": (Angular, {"curv": _number, "min_radius": _number}),
  "euclid": (
    Euclid,
    {"nearness": _one_of(*NEARNESS), "min_radius": _number},
  ),
  "gaussian": (Gaussian, {"score": _one_of(*gaussian.SCORES)}),
  "ensemble": (Ensemble, {"weight": _fraction}),
  "product": (
    Product,
    {
      "curv": _numbers,
      "norm": _one_of(*NORMS),
      "score": _one_of(*SCORES),
      "min_radius": _number,
    },
  ),
}
