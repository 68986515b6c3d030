"""Counts the floating-point operations of a program's matmuls."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax


def count(program: Callable[..., Any], *args: Any) -> int:
  """Counts two operations for each multiply-add, over all devices.

  Loops of unknown length count once. Work inside `shard_map` counts once for
  each device of the mesh.

  Args:
    program: function to trace.
    *args: its arguments, or their shapes.

  Returns:
    Number of operations.
  """
  return _count(jax.make_jaxpr(program)(*args).jaxpr)


def _count(jaxpr: Any) -> int:
  return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(equation: Any) -> int:
  params, name = equation.params, equation.primitive.name
  if name == "dot_general":
    (contracted, _), _ = params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    width = math.prod(left[axis] for axis in contracted)
    return 2 * width * math.prod(equation.outvars[0].aval.shape)
  if name == "conv_general_dilated":
    kernel = equation.invars[1].aval.shape
    outputs = params["dimension_numbers"].rhs_spec[0]
    each = math.prod(kernel) // kernel[outputs]
    return 2 * each * math.prod(equation.outvars[0].aval.shape)
  inside = [_count(jaxpr) for jaxpr in _jaxprs(params)]
  if name == "cond":
    return max(inside)
  times = params.get("length", 1) if name == "scan" else 1
  if name == "shard_map":
    times = params["mesh"].size
  return times * sum(inside)


def _jaxprs(params: dict[str, Any]) -> Iterator[Any]:
  for value in params.values():
    for one in value if isinstance(value, (tuple, list)) else (value,):
      one = getattr(one, "jaxpr", one)
      if hasattr(one, "eqns"):
        yield one
