"""Emoji drawn with the font of the machine."""

import pytest
from PIL import ImageFont

from hyperclip_jax.data.emoji import font


def test_without_a_font_there_is_no_picture(monkeypatch):
  monkeypatch.setattr(font, "FONTS", {"no such font.ttf": 109})
  assert font.draw("🐈") is None


def test_an_emoji_is_drawn_on_a_white_square():
  drawn = [font.draw(text) for text in "🐈🍎"]
  if any(picture is None for picture in drawn):
    pytest.skip("needs a colour font of emoji")
  cat, apple = drawn
  assert cat.shape[0] == cat.shape[1] >= 64
  assert (cat[0] == 255).all()  # the margin
  assert (cat < 200).any()
  assert apple[..., 0].sum() > apple[..., 1].sum()  # it is red


def test_a_font_of_any_kind_is_taken_for_what_it_draws(monkeypatch, tmp_path):
  """One in black, too: here Pillow's own."""
  drawn = ImageFont.load_default(40)
  monkeypatch.setattr(font, "FONTS", {"any": 40})
  monkeypatch.setattr(font.ImageFont, "truetype", lambda *_: drawn)
  assert font.draw("a").min() == 0
  assert font.draw(" ") is None
