"""Draws the histograms of a data report."""

from collections.abc import Mapping

import numpy as np

from hyperclip_jax.reports import census as census_lib
from hyperclip_jax.reports.census import Census
from hyperclip_jax.reports.markup import Markup, figure
from hyperclip_jax.reports.plots import data_uri
from hyperclip_jax.reports.tallies import (
  Tally,
  even_bins,
  histogram,
  mean,
  quantile,
  share_within,
)

CONTEXT = 77  # tokens; CLIP truncates longer texts
BUCKETS = (8, 16, 24, 32, CONTEXT)  # `data.text_buckets` of the paper's recipe
LONGEST = CONTEXT + 11  # tokens; the last bar counts longer texts
MOST_PARTS = 20  # the last bar counts records with more
ASPECTS = {-2: "1:4", -1: "1:2", 0: "1:1", 1: "2:1", 2: "4:1"}  # by log2


def panels(census: Census) -> list[Markup]:
  """Draws a figure for each histogram that is not empty."""
  sizes = {"width": census.image_widths, "height": census.image_heights}
  found = [_parts(census.parts), _lengths("Caption", census.caption_tokens)]
  if census.phrase_tokens:
    found.append(_lengths("Phrase", census.phrase_tokens))
  found.append(_pixels("Image sizes", "pixels", sizes))
  if census.box_areas:
    sides = {"width": census.box_widths, "height": census.box_heights}
    found += [
      _pixels("Box sides", "pixels of the image", sides),
      _areas(census.box_areas),
      _aspects(census.box_aspects),
    ]
  if len(census.scores) > 1:
    found.append(_scores(census.scores))
  return found


def _scores(tally: Tally) -> Markup:
  plot = histogram({"": tally}, np.arange(102) - 0.5, "score in percent")
  text = f"{_summary(tally)}. Of the rows of raw records, repeated ones too."
  return figure(data_uri(plot), "Scores", "Histogram of scores", text)


def _parts(tally: Tally) -> Markup:
  last = min(max(tally), MOST_PARTS)
  plot = histogram({"": tally}, np.arange(last + 2) - 0.5, "parts")
  text = f"{_summary(tally)}."
  if max(tally) > last:
    text += f" The last bar counts {last} and more."
  return figure(data_uri(plot), "Parts per image", "Histogram of parts", text)


def _lengths(what: str, tally: Tally) -> Markup:
  plot = histogram(
    {"": tally},
    np.arange(LONGEST + 1) + 0.5,
    "tokens, including start and end",
    ticks={bucket: str(bucket) for bucket in BUCKETS},
    marks=[CONTEXT + 0.5],
  )
  cut = 1 - share_within(tally, CONTEXT)
  more = " or more" if max(tally) == census_lib.MOST_TOKENS else ""
  text = (
    f"{_summary(tally)}{more}. {cut:.2%} are longer than {CONTEXT} tokens "
    "(dashed) and are truncated; the last bar counts the longest."
  )
  title = f"{what} lengths"
  return figure(data_uri(plot), title, f"Histogram of {title.lower()}", text)


def _pixels(title: str, unit: str, tallies: Mapping[str, Tally]) -> Markup:
  plot = histogram(tallies, even_bins(tallies), unit)
  text = ". ".join(
    f"{name.capitalize()}: {_summary(tally).lower()}"
    for name, tally in tallies.items()
  )
  alt = f"Histogram of {title.lower()}"
  return figure(data_uri(plot), title, alt, f"{text}.")


def _areas(tally: Tally) -> Markup:
  unit = "percent of the image"
  plot = histogram({"": tally}, np.arange(0.0, 101, 5), unit)
  text = f"{_summary(tally)} percent."
  return figure(data_uri(plot), "Box areas", "Histogram of box areas", text)


def _aspects(tally: Tally) -> Markup:
  octave = census_lib.OCTAVE
  width = octave // 4
  plot = histogram(
    {"": tally},
    np.arange(-10.5, 11) * width,  # one bin is around 1:1
    "width : height",
    ticks={octave * place: label for place, label in ASPECTS.items()},
  )
  wide = 1 - share_within(tally, octave)
  tall = share_within(tally, -octave - 1)
  text = (
    f"{tall:.1%} are more than twice as tall as wide, {wide:.1%} more than "
    "twice as wide as tall. The outermost bars count all slimmer ones."
  )
  alt = "Histogram of box aspect ratios"
  return figure(data_uri(plot), "Box aspect ratios", alt, text)


def _summary(tally: Tally) -> str:
  return (
    f"Median {quantile(tally, 0.5):,}, mean {mean(tally):,.4g}, 95% at most "
    f"{quantile(tally, 0.95):,}, largest {max(tally):,}"
  )
