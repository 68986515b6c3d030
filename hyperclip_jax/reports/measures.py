"""Tabulates measures with readable names, errors, chance and paper numbers."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hyperclip_jax.evals.rates import CHANCE, COUNTS, ERROR, measured
from hyperclip_jax.reports import words
from hyperclip_jax.reports.markup import Markup, tag

Published = Mapping[str, Mapping[str, float]]


class Row(NamedTuple):
  """One measure as text.

  Attributes:
    name: readable name.
    meaning: explanation, with which way is better if one is; or "".
    value: value, with its standard error where there is one.
    chance: value of random guessing, or "".
    published: value of each model of the paper.
  """

  name: str
  meaning: str
  value: str
  chance: str
  published: Mapping[str, float]


class Group(NamedTuple):
  """Measures of one kind on one data set.

  Attributes:
    title: name of the data set and of the kind.
    counts: sizes, such as "1,000 classes, 50,000 images", or "".
    rows: measures of the group.
  """

  title: str
  counts: str
  rows: Sequence[Row]


def groups(
  title: str, results: Mapping[str, float], published: Published | None = None
) -> list[Group]:
  """Groups the measures of a task or run by kind.

  Args:
    title: name of the task, or "" for a run.
    results: values by the names of `evals.rates`; a kind may precede a slash,
      as in "retrieval/i2t_r1".
    published: measure -> value by model of the paper.

  Returns:
    Groups in the order of `results`.
  """
  kinds = dict.fromkeys(_split(name)[0] for name in measured(results))
  return [_group(title, kind, results, published or {}) for kind in kinds]


def models(found: Sequence[Group]) -> list[str]:
  """Lists the models of the paper that have a number for any measure."""
  rows = [row for group in found for row in group.rows]
  return list(dict.fromkeys(name for row in rows for name in row.published))


def table(found: Sequence[Group]) -> Markup:
  """Makes one table of all groups; each explanation appears once."""
  names = models(found)
  chance = any(row.chance for group in found for row in group.rows)
  head = ["", "this model", *(["chance"] if chance else []), *names]
  lines = [tag("tr", *(tag("th", name, scope="col") for name in head))]
  explained: set[str] = set()
  for group in found:
    if group.title:
      lines.append(_heading(group, len(head)))
    for row in group.rows:
      meaning = "" if row.meaning in explained else row.meaning
      explained.add(meaning)
      cells = [row.value, *([row.chance] if chance else [])]
      cells += [published(row.published.get(name)) for name in names]
      lines.append(
        tag(
          "tr",
          tag("th", row.name, tag("small", meaning), scope="row"),
          *(tag("td", cell, cls="number") for cell in cells),
        )
      )
  whole = tag("table", tag("tbody", *lines), cls="counts measures")
  return tag("div", whole, cls="scroll")  # wider than the screen of a phone


def counted(results: Mapping[str, float]) -> str:
  """Formats sizes, such as "1,000 classes, 50,000 images"."""
  return ", ".join(
    f"{results[name]:,.0f} {name}" for name in COUNTS if name in results
  )


def published(value: float | None) -> str:
  """Formats a published number with the digits of the paper; "" for None."""
  return "" if value is None else f"{value:g}"


def shown(value: float, error: float | None = None) -> str:
  """Formats a value and its standard error.

  Args:
    value: value of a measure; it may be infinite or NaN.
    error: standard error, if known.

  Returns:
    Text such as "0.412 ± 0.013".
  """
  if not math.isfinite(value):
    return "not finite"
  whole = value.is_integer() and abs(value) >= 1000
  text = f"{value:,.0f}" if whole else f"{value:.3f}"
  return text if error is None else f"{text} ± {error:.3f}"


def _group(
  title: str, kind: str, results: Mapping[str, float], paper: Published
) -> Group:
  prefix = f"{kind}/" if kind else ""
  own = {
    _split(name)[1]: value
    for name, value in results.items()
    if _split(name)[0] == kind
  }
  chances = {name: own.get(f"{name}{CHANCE}") for name in measured(own)}
  rows = [
    Row(
      *_words(f"{title}/{prefix}{name}"),
      shown(own[name], own.get(f"{name}{ERROR}")),
      "" if chance is None else f"{chance:.3g}",
      paper.get(f"{prefix}{name}", {}),
    )
    for name, chance in chances.items()
  ]
  titles = [part for part in (title, words.GROUPS.get(kind, kind)) if part]
  return Group(": ".join(titles), counted(own), rows)


def _split(name: str) -> tuple[str, str]:
  """Splits "retrieval/i2t_r1" into kind and measure."""
  kind, _, measure = name.rpartition("/")
  return kind, measure


def _words(name: str) -> tuple[str, str]:
  """Finds the readable name of a measure and its explanation."""
  for pattern, readable, meaning, better in words.MEANINGS:
    if match := re.search(pattern, name):
      found = [part.replace("_", " ") for part in match.groups()]
      text = readable.format(*found)
      if better:
        meaning += f"; {better} is better"
      return text[:1].upper() + text[1:], meaning.format(*found)
  plain = _split(name)[1].replace("_", " ")
  return plain[:1].upper() + plain[1:], ""


def _heading(group: Group, columns: int) -> Markup:
  counts = tag("small", group.counts)
  span = f"{columns}"
  return tag("tr", tag("th", group.title, counts, colspan=span, cls="group"))
