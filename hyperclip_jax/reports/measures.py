"""Tabulates measures with readable names, errors, chance and paper numbers."""

import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hyperclip_jax.evals.rates import CHANCE, COUNTS, ERROR, measured
from hyperclip_jax.reports import words
from hyperclip_jax.reports.markup import Markup, tag

Published = Mapping[str, Mapping[str, float]]
ONE = "this model"  # heading of the values of a single model
SURE = 2  # standard errors of a difference that is more than chance


class Row(NamedTuple):
  """One measure as text.

  Attributes:
    name: readable name.
    meaning: explanation, with which way is better if one is; or "".
    values: value of each model that has one, with its standard error where
      there is one.
    best: models with the best value, and with those that do not differ from it
      by more than the errors; none where that is all, or no way is better.
    compared: whether two models or more have values, with an error and a better
      way.
    chance: value of random guessing, or "".
    published: value of each model of the paper.
  """

  name: str
  meaning: str
  values: Mapping[str, str]
  best: frozenset[str]
  compared: bool
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
  title: str,
  results: Mapping[str, Mapping[str, float]],
  published: Published | None = None,
) -> list[Group]:
  """Groups the measures of a task or run by kind.

  Args:
    title: name of the task, or "" for a run.
    results: model -> its values by the names of `evals.rates`; a kind may
      precede a slash, as in "retrieval/i2t_r1".
    published: measure -> value by model of the paper.

  Returns:
    Groups in the order of the first model that has them.
  """
  kinds = dict.fromkeys(
    _split(name)[0] for of in results.values() for name in measured(of)
  )
  return [_group(title, kind, results, published or {}) for kind in kinds]


def title(metric: str) -> str:
  """Makes a readable title of a metric.

  Examples:
    >>> title("eval/zero_shot/top1")
    'Zero-shot classification: top-1 accuracy'
  """
  kind, measure = _split(metric)
  kind = kind.partition("/")[2]
  readable, _, _ = _words(metric)
  group = words.GROUPS.get(kind, kind.replace("_", " "))
  first = f"{group}: " if group else ""
  return first + (readable[:1].lower() + readable[1:] if group else measure)


def explained(metric: str) -> str:
  """Explains a metric in sentences; "" if there is nothing to explain.

  Examples:
    >>> explained("eval/hierarchy/tie")[-16:]
    'Lower is better.'
  """
  _, meaning, _ = _words(metric)
  parts = [part[:1].upper() + part[1:] for part in meaning.split("; ") if part]
  return " ".join(f"{part}." for part in parts)


def labels(metrics: Sequence[str]) -> dict[str, str]:
  """Makes short labels of the lines of a plot, which say what differs.

  Args:
    metrics: names of metrics.

  Returns:
    metric -> label.

  Examples:
    >>> found = labels(["eval/zero_shot/top1", "eval/zero_shot_held_out/top1"])
    >>> [*found.values()]
    ['Top-1', 'Top-1, unseen classes']
    >>> pairs = "text_image", "box_text_text"
    >>> [*labels([f"eval/cones/{pair}/inside" for pair in pairs]).values()]
    ['caption > image', 'phrase > caption']
  """
  parts = {}
  for metric in metrics:
    kind = _split(metric)[0].partition("/")[2]
    readable = _words(metric)[0]
    if found := re.search(r"\((\w+)\)$", readable):
      readable = found[1]
    readable = re.sub(" accuracy| mean$|^Uncertainty of ", "", readable)
    parts[metric] = readable, words.KINDS.get(kind, kind.replace("_", " "))
  alike = len({measure for measure, _ in parts.values()}) == 1
  same = len({kind for _, kind in parts.values()}) == 1
  return {
    metric: ", ".join(
      filter(None, ("" if alike and kind else measure, "" if same else kind))
    )
    for metric, (measure, kind) in parts.items()
  }


def names(paths: Sequence[str]) -> list[str]:
  """Makes short names that differ: the last part of a path, or all of it.

  Args:
    paths: paths or addresses of models.

  Returns:
    One name each, in their order.
  """
  short = [pathlib.PurePath(path).name or path for path in paths]
  return [
    name if short.count(name) == 1 else path
    for name, path in zip(short, paths, strict=True)
  ]


def own(found: Sequence[Group]) -> list[str]:
  """Lists the models that have a value for any measure, in their order."""
  rows = [row for group in found for row in group.rows]
  return list(dict.fromkeys(name for row in rows for name in row.values))


def models(found: Sequence[Group]) -> list[str]:
  """Lists the models of the paper that have a number for any measure."""
  rows = [row for group in found for row in group.rows]
  return list(dict.fromkeys(name for row in rows for name in row.published))


def table(found: Sequence[Group]) -> Markup:
  """Makes one table of all groups; each explanation appears once."""
  ours, theirs = own(found), models(found)
  chance = any(row.chance for group in found for row in group.rows)
  head = ["", *ours, *(["chance"] if chance else []), *theirs]
  lines = [tag("tr", *(tag("th", name, scope="col") for name in head))]
  explained: set[str] = set()
  for group in found:
    if group.title:
      lines.append(_heading(group, len(head)))
    for row in group.rows:
      meaning = "" if row.meaning in explained else row.meaning
      explained.add(meaning)
      cells = [_cell(row, name) for name in ours]
      cells += [row.chance] if chance else []
      cells += [published(row.published.get(name)) for name in theirs]
      lines.append(
        tag(
          "tr",
          tag("th", row.name, tag("small", meaning), scope="row"),
          *(tag("td", cell, cls="number") for cell in cells),
        )
      )
  whole = tag("table", tag("tbody", *lines), cls="counts measures")
  return tag("div", whole, cls="scroll")  # wider than the screen of a phone


def verdict(found: Sequence[Group]) -> str:
  """Says in how many measures each model is ahead by more than the errors.

  Args:
    found: measures of two models or more.

  Returns:
    A sentence, or "" if no measure can be compared.
  """
  rows = [row for group in found for row in group.rows if row.compared]
  if not rows:
    return ""
  ahead = {name: sum(row.best == {name} for row in rows) for name in own(found)}
  said = [
    f"{name} in {count}"
    for name, count in sorted(ahead.items(), key=lambda pair: -pair[1])
    if count
  ]
  said.append(f"none in {len(rows) - sum(ahead.values())}")
  return (
    f"Of {len(rows)} measures with errors one is ahead of all others by more "
    f"than these: {', '.join(said)}. Measures are related, so that this is no "
    "vote."
  )


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
    error: standard error, if known; 0, of a rate of 0 or 1, is not shown.

  Returns:
    Text such as "0.412 ± 0.013".
  """
  if not math.isfinite(value):
    return "not finite"
  whole = value.is_integer() and abs(value) >= 1000
  text = f"{value:,.0f}" if whole else f"{value:.3f}"
  return f"{text} ± {error:.3f}" if error else text


def _group(
  title: str,
  kind: str,
  results: Mapping[str, Mapping[str, float]],
  paper: Published,
) -> Group:
  prefix = f"{kind}/" if kind else ""
  by_model = {
    model: {
      _split(name)[1]: value
      for name, value in of.items()
      if _split(name)[0] == kind
    }
    for model, of in results.items()
  }
  rows = [
    _row(f"{title}/{prefix}{name}", name, by_model, paper.get(prefix + name))
    for name in dict.fromkeys(n for of in by_model.values() for n in of)
    if name in measured({name: 0})
  ]
  titles = [part for part in (title, words.GROUPS.get(kind, kind)) if part]
  sizes = dict.fromkeys(filter(None, map(counted, by_model.values())))
  return Group(": ".join(titles), " or ".join(sizes), rows)


def _row(
  path: str,
  name: str,
  results: Mapping[str, Mapping[str, float]],
  paper: Mapping[str, float] | None,
) -> Row:
  readable, meaning, better = _words(path)
  found = {model: of[name] for model, of in results.items() if name in of}
  chances = [
    of[f"{name}{CHANCE}"] for of in results.values() if f"{name}{CHANCE}" in of
  ]
  errors = {
    model: results[model][f"{name}{ERROR}"]
    for model in found
    if f"{name}{ERROR}" in results[model]
  }
  return Row(
    readable,
    meaning,
    {model: shown(value, errors.get(model)) for model, value in found.items()},
    _best(found, errors, better),
    bool(better and errors) and len(found) > 1,
    f"{chances[0]:.3g}" if chances else "",
    paper or {},
  )


def _best(
  values: Mapping[str, float], errors: Mapping[str, float], better: str
) -> frozenset[str]:
  """Finds the best of several values, to the digits shown and the errors.

  A value without an error, as of older runs, gets the largest of the others.
  """
  finite = {m: round(v, 3) for m, v in values.items() if math.isfinite(v)}
  if not finite or not better:
    return frozenset()
  first = (max if better == "higher" else min)(finite, key=finite.__getitem__)
  unknown = max(errors.values(), default=0.0)

  def error(model: str) -> float:
    one, other = errors.get(first, unknown), errors.get(model, unknown)
    return SURE * math.hypot(one, other)

  best = {m for m, v in finite.items() if abs(v - finite[first]) <= error(m)}
  return frozenset(best if len(best) < len(finite) else ())


def _cell(row: Row, model: str) -> str:
  value = row.values.get(model, "")
  return tag("b", value) if model in row.best else value


def _split(name: str) -> tuple[str, str]:
  """Splits "retrieval/i2t_r1" into kind and measure."""
  kind, _, measure = name.rpartition("/")
  return kind, measure


def _words(name: str) -> tuple[str, str, str]:
  """Finds the readable name of a measure, its explanation, and what is better.

  Which way is better is "higher", "lower" or "".
  """
  for pattern, readable, meaning, better in words.MEANINGS:
    if match := re.search(pattern, name):
      found = [
        words.KINDS.get(f"cones/{part}", part.replace("_", " "))
        for part in match.groups()
      ]
      text = readable.format(*found)
      if better:
        meaning = "; ".join(filter(None, (meaning, f"{better} is better")))
      return text[:1].upper() + text[1:], meaning.format(*found), better
  plain = _split(name)[1].replace("_", " ")
  return plain[:1].upper() + plain[1:], "", ""


def _heading(group: Group, columns: int) -> Markup:
  counts = tag("small", group.counts)
  span = f"{columns}"
  return tag("tr", tag("th", group.title, counts, colspan=span, cls="group"))
