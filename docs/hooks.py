"""Hooks of the documentation's build: links to the API, and formulas."""

import html
import re

import latex2mathml.converter


def on_page_markdown(markdown: str, **_) -> str:
  """Links the names of `hyperclip_jax` to the API pages."""
  return re.sub(r"`(hyperclip_jax(?:\.\w+)+)`", r"[`\1`][\1]", markdown)


def on_page_content(page_html: str, **_) -> str:
  """Converts LaTeX, as arithmatex marks it, to MathML: no script is needed."""

  def convert(found):
    display = "block" if found["open"] == "[" else "inline"
    latex = html.unescape(found["latex"])
    return latex2mathml.converter.convert(latex, display=display)

  marked = (
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])'
    r"(?P<latex>.*?)\\[)\]]</(?P=tag)>"
  )
  return re.sub(marked, convert, page_html, flags=re.DOTALL)
