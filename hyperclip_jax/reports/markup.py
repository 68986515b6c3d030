"""Builds HTML that is always escaped, and the style of the pages."""

import base64
import hashlib
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image

from hyperclip_jax.files import shown

LONG_SIDE = 320  # Pixels to which pictures are reduced.
LONGEST = 300  # Characters of a text from data to show.


class Markup(str):
  """String that is HTML; `tag` escapes all other strings."""


def tag(name: str, /, *children: str, **attributes: str) -> Markup:
  """Makes an element.

  Args:
    name: name of the element.
    *children: contents; plain strings are escaped, `Markup` is not.
    **attributes: attributes by name, escaped; `cls` stands for "class".

  Returns:
    HTML of the element.
  """
  inside = "".join(
    child if isinstance(child, Markup) else html.escape(child)
    for child in children
  )
  inner = "".join(
    f' {"class" if key == "cls" else key}="{html.escape(value)}"'
    for key, value in attributes.items()
  )
  end = "" if name in ("img", "br", "input") else f"</{name}>"
  return Markup(f"<{name}{inner}>{inside}{end}")


def inline_image(pixels: np.ndarray, alt: str) -> Markup:
  """Embeds an image into the page as a JPEG data URI.

  Args:
    pixels: uint8 array (height, width, 3).
    alt: alternative text.

  Returns:
    HTML of the image, at most LONG_SIDE pixels on a side.
  """
  image = PIL.Image.fromarray(pixels)
  image.thumbnail((LONG_SIDE, LONG_SIDE))
  buffer = io.BytesIO()
  image.save(buffer, "JPEG", quality=90, subsampling=0)
  encoded = base64.b64encode(buffer.getvalue()).decode()
  return tag("img", src=f"data:image/jpeg;base64,{encoded}", alt=alt)


def note(text: str) -> Markup:
  """Makes a paragraph that explains what follows it."""
  return tag("p", text, cls="note")


def figure(uri: str, title: str, alt: str, *caption: str) -> Markup:
  """Makes a figure with a title and a caption.

  Args:
    uri: data URI of the plot.
    title: title in bold.
    alt: alternative text.
    *caption: caption after the title.

  Returns:
    HTML of the figure.
  """
  return tag(
    "figure",
    tag("img", src=uri, alt=alt),
    tag("figcaption", tag("b", title), " ", *caption),
  )


def facts(known: Mapping[str, str]) -> Markup:
  """Makes a line of names and values."""
  spans = (tag("span", tag("b", k), f" {v}") for k, v in known.items())
  return tag("p", *spans, cls="facts")


def counts(
  rows: Mapping[str, str | Sequence[str]], head: Sequence[str] = ()
) -> Markup:
  """Makes a table of numbers.

  Args:
    rows: name of each row -> its number, or its numbers by column.
    head: names of the columns, the first of which is above the names; none for
      a table without a head.

  Returns:
    HTML of the table.
  """
  cells = [[v] if isinstance(v, str) else v for v in rows.values()]
  body = [
    tag(
      "tr",
      tag("th", name, scope="row"),
      *(tag("td", cell, cls="number") for cell in row),
    )
    for name, row in zip(rows, cells, strict=True)
  ]
  if head:
    columns = (tag("th", name, scope="col") for name in head)
    body.insert(0, tag("tr", *columns))
  return tag("table", tag("tbody", *body), cls="counts")


def shortened(text: str, longest: int = LONGEST) -> str:
  """Formats a text from data on one line, escaped as by `files.shown`.

  Args:
    text: caption, phrase or name.
    longest: characters to keep; a caption may have 100 kB.

  Returns:
    Text of at most `longest` characters, before escapes.
  """
  line = " ".join(text.split())
  line = line if len(line) <= longest else line[: longest - 1] + "…"
  return shown(line, longest)


def document(title: str, *children: Markup, script: str = "") -> str:
  """Returns the HTML of a complete page.

  Args:
    title: title of the page.
    *children: contents.
    script: JavaScript of the page's own, the only one that may run in it.
  """
  body, policy = tag("main", *children), ""
  if script:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest())
    policy = f"; script-src 'sha256-{digest.decode()}'"
    body = Markup(f"{body}<script>{script}</script>")
  return PAGE.format(
    title=html.escape(title), style=STYLE, body=body, policy=policy
  )


# The policy forbids scripts and external resources, whatever the data hold.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>{body}</body>
</html>
"""

STYLE = """
:root { color-scheme: light; --ink: #2b2f36; --soft: #6b7280; --line: #e5e7eb; }
* { box-sizing: border-box; }
body {
  margin: 0; background: #f6f7f8; color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: anywhere;
}
main { max-width: 1120px; margin: auto; padding: 2.5rem 1rem 4rem; }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; }
h2 { margin: 0 0 .25rem; font-size: 1.3rem; }
h3 { margin: .75rem 0 0; font-size: .85rem; color: var(--soft); }
section {
  margin-top: 1.5rem; padding: 1.5rem; background: #fff;
  border: 1px solid var(--line); border-radius: 12px;
}
img { display: block; max-width: 100%; height: auto; }
small, .note, .facts, figcaption { color: var(--soft); }
.note { margin: 0 0 1rem; max-width: 72ch; }
.facts + .note { margin-top: 1rem; }
.facts {
  margin: .5rem 0 0; display: flex; flex-wrap: wrap; gap: .25rem 1.5rem;
}
.facts b, figcaption b { color: var(--ink); font-weight: 600; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .4rem .75rem .4rem 0; text-align: left; vertical-align: top; }
tr + tr > * { border-top: 1px solid var(--line); }
th { font-weight: 600; }
td small, li > small { white-space: nowrap; }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.panels {
  display: grid; gap: 2rem 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr));
}
.wide {
  grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr));
}
figure { margin: 0; }
figure img { width: 100%; }
figcaption { margin-top: .25rem; font-size: .9rem; }
.walk { display: flex; gap: 1rem; padding: 1rem 0; }
.walk + .walk { border-top: 1px solid var(--line); }
.walk > div { flex: none; width: 104px; }
.walk > div img { width: 100%; border-radius: 6px; }
.walk ol {
  list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap;
  align-content: center; gap: .5rem;
}
.walk li { display: flex; align-items: center; gap: .5rem; max-width: 100%; }
.walk li::before { content: "\\2192"; color: var(--soft); }
.walk span { padding: .2rem .7rem; background: #f1f3f5; border-radius: 1rem; }
.walk li:last-child span { background: var(--ink); color: #fff; }
.walk li img { height: 56px; border-radius: 6px; }
.walk small { flex: none; font-variant-numeric: tabular-nums; }
.walk > div small { display: block; line-height: 1.3; }
.boxes { position: relative; }
.boxes img { width: 100%; border-radius: 6px; }
.boxes i {
  position: absolute; border: 2.5px solid var(--c); border-radius: 3px;
  box-shadow: 0 0 0 1px #fffc, inset 0 0 0 1px #fffc;
}
.boxes b {
  position: absolute; padding: 0 .4em; border-radius: 3px; background: #fff;
  border-bottom: 2.5px solid var(--c); font-size: .75rem; line-height: 1.3;
}
article p { margin: .5rem 0 0; }
article ol { margin: .25rem 0 0; padding-left: 1.4rem; font-size: .9rem; }
.phrases li { margin: .2rem 0; padding-left: .2rem; }
.phrases li::marker { font-weight: 600; }
.phrases span { padding-left: .4rem; border-left: 4px solid var(--c); }
.phrases img {
  display: inline-block; vertical-align: middle; height: 56px; width: auto;
  margin-right: .4rem; border-radius: 6px;
}
.columns { columns: 3 220px; gap: 3rem; padding-left: 2rem; margin: 0; }
.columns li { padding: 0 1rem 0 .2rem; break-inside: avoid; }
.counts { width: auto; min-width: min(32rem, 100%); }
.panels > .counts { width: 100%; min-width: 0; align-self: center; }
.counts td, .counts th + th { text-align: right; }
.measures small { display: block; font-weight: 400; max-width: 26rem; }
.measures tr:first-child th { white-space: nowrap; }
.scroll { overflow-x: auto; }
.measures th:first-child { min-width: 11rem; }
.measures .group { padding-top: 1.2rem; }
.named { padding-left: 1.2rem; font-size: .9rem; }
summary { cursor: pointer; color: var(--soft); }
pre { overflow-x: auto; font-size: .85rem; }
@media (max-width: 560px) {
  section { padding: 1rem; }
  .walk > div { width: 72px; }
}
"""
