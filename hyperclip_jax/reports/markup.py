"""HTML that cannot forget to escape, and the look of the page."""

import base64
import html
import io

import numpy as np
import PIL.Image

LONG_SIDE = 320  # Pictures are shrunk to it.


class Markup(str):
  """Text that is HTML already. Everything else is escaped by `tag`."""


def tag(name: str, *children: str, **attributes: str) -> Markup:
  """An element; `cls` is the attribute class. Plain strings are escaped."""
  inside = "".join(
    child if isinstance(child, Markup) else html.escape(child)
    for child in children
  )
  inner = "".join(
    f' {"class" if key == "cls" else key}="{html.escape(value)}"'
    for key, value in attributes.items()
  )
  end = "" if name in ("img", "br") else f"</{name}>"
  return Markup(f"<{name}{inner}>{inside}{end}")


def inline_image(pixels: np.ndarray, alt: str) -> Markup:
  """An image (height, width, 3) uint8 inside the page itself."""
  image = PIL.Image.fromarray(pixels)
  image.thumbnail((LONG_SIDE, LONG_SIDE))
  buffer = io.BytesIO()
  image.save(buffer, "JPEG", quality=90, subsampling=0)
  encoded = base64.b64encode(buffer.getvalue()).decode()
  return tag("img", src=f"data:image/jpeg;base64,{encoded}", alt=alt)


def document(title: str, *children: Markup) -> str:
  """The whole page, as text."""
  body = tag("main", *children)
  return PAGE.format(title=html.escape(title), style=STYLE, body=body)


# The policy forbids scripts and anything from outside, whatever a caption says.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
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
.facts {
  margin: .5rem 0 0; display: flex; flex-wrap: wrap; gap: .25rem 1.5rem;
}
.facts b, figcaption b { color: var(--ink); font-weight: 600; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .4rem .75rem .4rem 0; text-align: left; vertical-align: top; }
tr + tr > * { border-top: 1px solid var(--line); }
th { font-weight: 600; }
td small { white-space: nowrap; }
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
.walk > img { width: 104px; align-self: flex-start; border-radius: 6px; }
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
.boxes { position: relative; }
.boxes img { width: 100%; border-radius: 6px; }
.boxes i { position: absolute; border: 2.5px solid; border-radius: 3px; }
.boxes i b {
  position: absolute; top: 0; left: 0; padding: 0 .4em; background: #fffd;
  font: 600 .8rem/1.4 system-ui, sans-serif;
}
article p { margin: .5rem 0 0; }
article ol { margin: .25rem 0 0; padding-left: 1.4rem; font-size: .9rem; }
.phrases li { font-weight: 600; }
.phrases span { font-weight: 400; color: var(--ink); }
summary { cursor: pointer; color: var(--soft); }
pre { overflow-x: auto; font-size: .85rem; }
@media (max-width: 560px) {
  section { padding: 1rem; }
  table, tbody, tr { display: block; }
  tr { display: grid; grid-template-columns: 1fr auto; padding: .3rem 0; }
  tr + tr { border-top: 1px solid var(--line); }
  tr + tr > * { border: 0; }
  th, td { padding: 0; }
  .walk > img { width: 72px; }
  td:last-child { grid-column: 1 / -1; font-size: .9rem; }
}
"""
