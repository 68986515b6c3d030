"""Emoji drawn with the font of the machine."""

import numpy as np
import pytest
from PIL import ImageFont

from hyperclip_jax.data.emoji import font


def test_without_a_font_there_is_no_picture(monkeypatch):
  monkeypatch.setattr(font, "FONTS", {"no such font.ttf": 109})
  monkeypatch.setattr(font, "fonts", font.fonts.__wrapped__)
  assert font.fonts() == []
  assert font.draw("🐈") is None


@pytest.mark.skipif(not font.fonts(), reason="needs a colour font of emoji")
def test_an_emoji_is_drawn_on_a_white_square():
  cat, apple = (font.draw(text) for text in "🐈🍎")
  assert cat is not None
  assert apple is not None
  assert cat.shape[0] == cat.shape[1] >= 64
  assert (cat[0] == 255).all()  # the margin
  assert (cat < 200).any()
  assert apple[..., 0].sum() > apple[..., 1].sum()  # it is red
  assert font.draw(" ") is None


def test_a_font_in_black_is_drawn_in_black(monkeypatch):
  """Here Pillow's own; a glyph fills the square to the margin."""
  own = ImageFont.load_default(40)
  monkeypatch.setattr(font, "fonts", lambda: [own])
  drawn = font.draw("W")
  assert drawn.min() < 20
  assert ((drawn < 128).any(axis=(0, 2)).sum()) > 0.8 * len(drawn)
  assert font.draw(" ") is None


def test_what_a_font_lacks_is_not_drawn(monkeypatch):
  """Pillow's own has a box for it."""
  own = ImageFont.load_default(40)
  monkeypatch.setattr(font, "fonts", lambda: [own])
  assert font._glyph(own, "🐈") is not None
  assert font.draw("🐈") is None
  assert font.draw(font.NOBODY) is None


@pytest.mark.skipif(not font.fonts(), reason="needs a colour font of emoji")
def test_sequences_are_joined_or_left_out(monkeypatch):
  bear = "🐻\u200d❄"  # a polar bear
  whole = font.draw(bear)
  if whole is not None:
    assert whole.shape[0] < 200  # not two pictures side by side
  assert np.array_equal(font.draw("♦"), font.draw("♦\ufe0f"))
  monkeypatch.setattr(font.features, "check", lambda name: False)
  assert font.draw(bear) is None
  assert font.draw("🐻") is not None
