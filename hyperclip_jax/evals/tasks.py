"""What an evaluation on a public data set is: a task of the suite."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hyperclip_jax.inference.protocol import Model

# Named numbers (see `rates`). Lists of them are the bins of a histogram (see
# `norms.bins`); LEFT_OUT holds reasons by the names of what was left out.
Results = Mapping[str, float | list[float] | dict[str, str]]
LEFT_OUT = "left_out"


class Task(NamedTuple):
  """A named evaluation on data in a folder.

  Attributes:
    name: what `--tasks` calls it.
    run: (model, folder of all data sets) -> results; rates are fractions.
      Raises MissingData where its data set is not there, and ValueError or
      OSError where it is broken.
    paper: published numbers: metric -> {model of the paper: value}.
    version: raised with every change of what `run` answers, so that numbers
      kept from before are not taken for new ones.
  """

  name: str
  run: Callable[[Model, pathlib.Path], Results]
  paper: Mapping[str, Mapping[str, float]]
  version: int = 1


def left(out: Mapping[Any, str]) -> dict[str, dict[str, str]]:
  """The entry of results that names images left out; none if all are there.

  Args:
    out: why each was left out, by its name or path.
  """
  names = {str(name): reason for name, reason in out.items()}
  return {LEFT_OUT: names} if names else {}


def within(
  folder: str, run: Callable[[Model, pathlib.Path], Results]
) -> Callable[[Model, pathlib.Path], Results]:
  """The `run` of a task on one folder in that of all data sets."""
  return lambda model, data: run(model, data / folder)


class MissingData(FileNotFoundError):
  """A data set, or a file of it, is not there.

  Attributes:
    name: of the data set.
    where: it is to be had.
    layout: the files wanted, one a line, from the folder of all data sets.
    lacks: which file, if not all is missing.
    brief: all of that on one line, with the first layout if there are several.
  """

  def __init__(self, name: str, where: str, layout: str, lacks: str = ""):
    problem = f"lacks\n{lacks}\n" if lacks else "is not there. "
    super().__init__(
      f"the data set {name!r} {problem}Get it from\n"
      f"{where}\n"
      f"and lay it out as\n"
      f"{layout}"
    )
    self.name, self.where, self.layout = name, where, layout
    self.lacks = lacks
    wanted = layout.partition(", or\n")[0].replace("\n", ", ")
    self.brief = f"wants {lacks or wanted}, from {where}"
