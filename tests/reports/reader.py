"""Reads a page back, as strictly as it was written."""

import html.parser

VOID = {"meta", "img", "br", "link"}


class Reader(html.parser.HTMLParser):
  """Collects the elements, the text and the rows of tables.

  Fails on unbalanced tags.
  """

  def __init__(self, text):
    super().__init__()
    self.elements, self.texts, self.open, self.rows = [], [], [], []
    self.marked = []  # (element, text) of each text
    self.source = text
    self.feed(text)
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    if tag not in VOID:
      self.open.append(tag)
    if tag == "tr":
      self.rows.append([])

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.texts.append(data)
    self.marked += [(self.open[-1], data)] if self.open else []
    if {"th", "td"} & {*self.open[-1:]} or self.open[-2:] == ["td", "b"]:
      self.rows[-1].append(data)

  @property
  def text(self):
    return " ".join(self.texts)

  @property
  def table(self):
    """First cell -> the others, of the rows of all tables."""
    return {first: rest for first, *rest in self.rows}


def assert_self_contained(page):
  """No script, nothing from outside."""
  for name, attrs in Reader(page).elements:
    assert name not in {"script", "link", "iframe", "object", "base"}
    for key in attrs.keys() & {"src", "href", "srcset", "data", "action"}:
      assert attrs[key].startswith("data:image/")
  assert "@import" not in page
  assert "url(" not in page
