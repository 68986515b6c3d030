"""The data sets of three zero-shot benchmarks, and means over them.

DataComp's 38 (Gadre et al., NeurIPS 2023, arXiv 2304.14108), with its five mean
scores, the 26 of SLIP (Mu et al., ECCV 2022, arXiv 2112.12750), and the 23 of
them by which CLIP-Rocket is evaluated (Fini et al., TMLR 2023, arXiv
2305.08675). `datasets/assets/benchmarks.json` lists them; one that is in
several is one row.
"""

import functools
import math
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

from hyperclip_jax.files import read_json

FILE = pathlib.Path(__file__).parent / "datasets" / "assets" / "benchmarks.json"


class DataSet(NamedTuple):
  """A data set of a benchmark.

  Attributes:
    name: name of the task, and of its folder.
    title: name for readers.
    kind: "classification", "retrieval" or "associations".
    metric: measure that counts in the benchmark.
    images: number of images as published; 0 if unknown.
    classes: number of classes, if it has any.
    groups: means that it is a part of.
  """

  name: str
  title: str
  kind: str
  metric: str
  images: int
  classes: int
  groups: tuple[str, ...]


class Mean(NamedTuple):
  """Mean over the data sets of a group.

  Attributes:
    title: what they have in common.
    value: mean of their metrics; NaN until all are measured.
    measured: number of them that are measured.
    count: number of them.
  """

  title: str
  value: float
  measured: int
  count: int


@functools.cache
def data_sets() -> tuple[DataSet, ...]:
  """Lists the data sets."""
  rows = read_json(FILE)["data_sets"]
  return tuple(
    DataSet(**{**row, "groups": tuple(row["groups"])}) for row in rows
  )


@functools.cache
def groups() -> dict[str, str]:
  """Titles of the groups, by their names."""
  return read_json(FILE)["groups"]


def members(group: str) -> tuple[DataSet, ...]:
  """Lists the data sets of a group, such as "datacomp"."""
  return tuple(d for d in data_sets() if group in d.groups)


def means(results: Mapping[str, Mapping[str, float]]) -> dict[str, Mean]:
  """Averages the metrics of each group.

  Args:
    results: measures of each task, by its name.

  Returns:
    Means by NAME; by NAME_cosine for models that are measured by cosines, too,
    and by NAME_z and NAME_h for those with two projectors. Groups of which
    nothing is measured are left out.
  """
  found = {}
  for group, title in groups().items():
    of = members(group)
    for ending in ("", "_cosine", "_z", "_h"):
      values = [
        value
        for d in of
        if (value := results.get(d.name, {}).get(f"{d.metric}{ending}"))
        is not None
      ]
      if values:
        whole = len(values) == len(of)
        value = math.fsum(values) / len(of) if whole else math.nan
        by = ending.replace("_", ", by ")
        mean = Mean(f"{title}{by}", value, len(values), len(of))
        found[f"{group}{ending}"] = mean
  return found
