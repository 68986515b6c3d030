"""Counts of whole numbers, whose size does not grow with the data."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hyperclip_jax.reports import plots

Tally = Counter[int]
BINS = 40
COLOURS = ("#0072b2", "#e69f00")  # Okabe and Ito's; for one or two tallies


def quantile(tally: Tally, share: float) -> int:
  """Finds the smallest number with at least a share of the tally up to it.

  Args:
    tally: tally that is not empty.
    share: share above 0 and at most 1.

  Returns:
    Quantile of the tally.
  """
  numbers = sorted(tally)
  upto = itertools.accumulate(tally[number] for number in numbers)
  wanted = share * tally.total()
  return next(
    n for n, count in zip(numbers, upto, strict=True) if count >= wanted
  )


def share_within(tally: Tally, most: int) -> float:
  """Computes the share of a tally up to a number.

  Args:
    tally: tally, which may be empty.
    most: largest number to include.

  Returns:
    Share from 0 to 1; 0 for an empty tally.
  """
  within = sum(count for number, count in tally.items() if number <= most)
  return within / max(tally.total(), 1)


def mean(tally: Tally) -> float:
  """Computes the mean of a tally that is not empty."""
  return sum(n * count for n, count in tally.items()) / tally.total()


def even_bins(tallies: Mapping[str, Tally]) -> np.ndarray:
  """Makes edges of up to BINS bins from 0 to the 99% quantile of all tallies.

  All bins have the same whole width, so that each covers as many numbers.
  """
  everything = sum(tallies.values(), Counter())
  top = quantile(everything, 0.99) if everything else 1
  width = max(1, -(-(top + 1) // BINS))
  return np.arange(0, top + width + 1, width) - 0.5


@matplotlib.rc_context(plots.STYLE)
def histogram(
  tallies: Mapping[str, Tally],
  edges: np.ndarray,
  xlabel: str,
  *,
  ticks: Mapping[int, str] | None = None,
  marks: Sequence[float] = (),
) -> Figure:
  """Draws a histogram of one or two tallies, as shares of each tally.

  Args:
    tallies: tallies by label; the legend shows the labels of two.
    edges: edges of the bins, (bins + 1,). Numbers outside count in the
      outermost bins.
    xlabel: label of the horizontal axis, with the unit.
    ticks: labels by place on the axis; None for round numbers.
    marks: places of vertical lines.

  Returns:
    Figure of the histogram.
  """
  figure = Figure(figsize=(4, 2.6))
  axes = figure.subplots()
  for (label, tally), colour in zip(tallies.items(), COLOURS, strict=False):
    numbers = np.clip(list(tally), edges[0], edges[-1])
    counts, _ = np.histogram(numbers, edges, weights=list(tally.values()))
    shares = counts / max(tally.total(), 1)
    axes.stairs(shares, edges, fill=True, color=colour, alpha=0.45)
    axes.stairs(shares, edges, color=colour, linewidth=1.2, label=label)
  for mark in marks:
    axes.axvline(mark, color=plots.INK, linewidth=1.2, linestyle="--")
  axes.set_xlim(edges[0], edges[-1])
  axes.set_ylim(bottom=0)
  axes.set_xlabel(xlabel)
  axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.4g}%")
  if ticks is None:
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
  else:
    axes.set_xticks(list(ticks), list(ticks.values()))
  if len(tallies) > 1:
    figure.legend(loc="outside upper left", ncols=2)
  return figure
