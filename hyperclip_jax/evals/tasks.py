"""Evaluation tasks: each measures a model on one public data set."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hyperclip_jax.inference.protocol import Model

# Numbers by name (see `rates`). A list holds the bins of a histogram (see
# `norms.bins`); LEFT_OUT maps each image left out to the reason.
Results = Mapping[str, float | list[float] | dict[str, str]]
LEFT_OUT = "left_out"


class Task(NamedTuple):
  """A named evaluation on one data set.

  Attributes:
    name: name for `--tasks`.
    run: function of a model and the folder of all data sets that returns
      results; rates are fractions. It raises MissingData if its data set is
      missing, and ValueError or OSError if it is damaged.
    paper: published numbers, metric -> {name of the model: value}.
    version: number to raise with every change of the results, so that cached
      ones are not reused.
  """

  name: str
  run: Callable[[Model, pathlib.Path], Results]
  paper: Mapping[str, Mapping[str, float]]
  version: int = 1


def left(out: Mapping[Any, str]) -> dict[str, dict[str, str]]:
  """Returns the results entry that lists the images left out.

  Args:
    out: reason for each image left out, by its name or path.

  Returns:
    {LEFT_OUT: reasons by name}, or an empty dict if no image was left out.
  """
  names = {str(name): reason for name, reason in out.items()}
  return {LEFT_OUT: names} if names else {}


def within(
  folder: str, run: Callable[[Model, pathlib.Path], Results]
) -> Callable[[Model, pathlib.Path], Results]:
  """Makes the `run` of a task from an evaluation on one data set's folder.

  Args:
    folder: name of the data set's folder in the folder of all data sets.
    run: function of a model and the data set's folder that returns results.

  Returns:
    Function of a model and the folder of all data sets.
  """
  return lambda model, data: run(model, data / folder)


class MissingData(FileNotFoundError):
  """A data set or one of its files is missing.

  Attributes:
    name: name of the data set.
    where: where to download it.
    layout: files wanted, one per line, relative to the folder of all data sets.
    lacks: missing file, if not all are missing.
    brief: message on one line, with the first layout if there are several.
  """

  def __init__(self, name: str, where: str, layout: str, lacks: str = ""):
    problem = f"lacks\n{lacks}\n" if lacks else "was not found. "
    super().__init__(
      f"the data set {name!r} {problem}Get it from\n"
      f"{where}\n"
      f"and arrange it as\n"
      f"{layout}"
    )
    self.name, self.where, self.layout = name, where, layout
    self.lacks = lacks
    wanted = layout.partition(", or\n")[0].replace("\n", ", ")
    self.brief = f"needs {lacks or wanted}, from {where}"
