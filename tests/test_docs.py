"""The pages of docs/ name what exists, and docs/method.md names all of it."""

import inspect
import pathlib
import pkgutil
import re

import pytest

from hyperclip_jax.geometry import (
  beta,
  boosts,
  gaussian,
  hyperplanes,
  klein,
  lorentz,
  means,
  poincare,
  wrapped_normal,
)
from hyperclip_jax.losses import (
  contrastive,
  entailment,
  inclusion,
  selfsup,
  sigmoid,
  tiled,
)

DOCS = pathlib.Path(__file__).parents[1] / "docs"
NAMES = {
  page.name: sorted(
    set(re.findall(r"`(hyperclip_jax(?:\.\w+)+)`", page.read_text("utf-8")))
  )
  for page in sorted(DOCS.glob("*.md"))
}


@pytest.mark.parametrize(
  "name", sorted({name for names in NAMES.values() for name in names})
)
def test_what_a_page_names_exists(name):
  assert pkgutil.resolve_name(name) is not None


def test_the_method_page_maps_equations_to_functions():
  found = [pkgutil.resolve_name(name) for name in NAMES["method.md"]]
  assert len(found) > 30
  assert all(callable(function) for function in found)


@pytest.mark.parametrize(
  "module",
  [
    beta,
    boosts,
    gaussian,
    hyperplanes,
    klein,
    lorentz,
    means,
    poincare,
    wrapped_normal,
    contrastive,
    entailment,
    inclusion,
    selfsup,
    sigmoid,
    tiled,
  ],
)
def test_the_method_page_has_every_function_of(module):
  functions = {
    f"{module.__name__}.{name}"
    for name, value in vars(module).items()
    if inspect.isfunction(value)
    and value.__module__ == module.__name__
    and not name.startswith("_")
  }
  assert functions
  assert functions <= set(NAMES["method.md"])
