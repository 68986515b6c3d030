"""Adapts Grounding DINO and MM-Grounding-DINO of `transformers`.

The model reads all phrases of an image as one text, "a dog. a field. flowers.",
and scores each box for each token. The library's own post-processing makes up
labels of tokens that lie in different phrases and takes the best score of any
token, dots included; here a phrase's score is that of its own tokens.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hyperclip_jax.data.ground import detect
from hyperclip_jax.data.ground.select import Found
from hyperclip_jax.data.records.images import Pixels

GRID = 32  # sides are rounded to this, so that more images share a shape

# Dots and question marks end a phrase, and brackets make special tokens.
_SEPARATORS = re.compile(r"[.?\[\]\s]+")


class Prompt(NamedTuple):
  """A text with some phrases of an image.

  Attributes:
    text: phrases, lower-case, each with a dot.
    spans: number of each phrase -> its characters in the text.
  """

  text: str
  spans: dict[int, tuple[int, int]]


def prompts(phrases: Sequence[str], tokenizer: Any, room: int) -> list[Prompt]:
  """Joins phrases to as few texts as fit the model, in order.

  Args:
    phrases: phrases of an image.
    tokenizer: fast tokenizer of `transformers`.
    room: tokens of a text; more would be cut silently.

  Returns:
    Texts. A phrase of signs alone is in none.
  """
  found: list[Prompt] = []
  used = room  # no text yet
  for number, phrase in enumerate(phrases):
    text = _SEPARATORS.sub(" ", phrase).strip().lower()
    ends = tokenizer(
      text, add_special_tokens=False, return_offsets_mapping=True
    )
    ends = ends["offset_mapping"][: room - 3]  # but [CLS], dot and [SEP]
    if not ends:
      continue
    text = text[: ends[-1][1]]
    if used + len(ends) + 1 > room:
      found.append(Prompt("", {}))
      used = 2
    used += len(ends) + 1
    before = f"{found[-1].text} ".lstrip()
    found[-1].spans[number] = len(before), len(before) + len(text)
    found[-1] = found[-1]._replace(text=f"{before}{text}.")
  return found


def rounded(width: int, height: int, short: int, most: int) -> tuple[int, int]:
  """Computes the size to which an image is scaled.

  Args:
    width: width of the image in pixels.
    height: height of the image in pixels.
    short: short side to scale to.
    most: largest long side.

  Returns:
    Width and height, multiples of `GRID`. The aspect ratio changes by a few
    percent at most, which moves no box as a fraction of the image.
  """
  scale = min(short / min(width, height), most / max(width, height))
  last = max(most // GRID, 1)
  return (
    GRID * min(max(round(scale * width / GRID), 1), last),
    GRID * min(max(round(scale * height / GRID), 1), last),
  )


def load(path: str, device: str, batch_size: int, tokens: str) -> detect.Detect:
  """Loads a model; see `detect.load`."""
  import torch

  model, processor = detect.pretrained(path, device)
  tokenizer = processor.tokenizer
  room = model.config.max_text_len
  size = processor.image_processor.size
  short = size.get("shortest_edge") or size["height"]
  most = size.get("longest_edge") or size["width"]

  def run(pixels: Sequence[Pixels], shape, rows: Sequence[Prompt]):
    images = processor.image_processor(
      images=list(pixels),
      size={"width": shape[0], "height": shape[1]},
      return_tensors="pt",
    )
    texts = tokenizer(
      [prompt.text for prompt in rows],
      padding=True,
      return_offsets_mapping=True,
      return_token_type_ids=True,
      return_tensors="pt",
    )
    places = texts.pop("offset_mapping").numpy()
    with torch.inference_mode():
      found = model(
        pixel_values=images["pixel_values"].to(device),
        pixel_mask=images["pixel_mask"].to(device),
        **texts.to(device),
      )
    scores = found.logits.float().sigmoid().cpu().numpy()
    return found.pred_boxes.float().cpu().numpy(), scores, places

  def find(images: Sequence[Pixels], phrases: Sequence[Sequence[str]]):
    shapes = [rounded(p.shape[1], p.shape[0], short, most) for p in images]
    jobs = [
      (shapes[i], i, prompt)
      for i, texts in enumerate(phrases)
      for prompt in prompts(texts, tokenizer, room)
    ]
    # Images of other shapes would be padded, which changes their boxes.
    jobs.sort(key=lambda job: job[:2])
    found: list[list[Found]] = [[] for _ in images]
    while jobs:
      shape = jobs[0][0]
      batch = [job for job in jobs[:batch_size] if job[0] == shape]
      jobs = jobs[len(batch) :]
      rows = [prompt for _, _, prompt in batch]
      outputs = run([images[i] for _, i, _ in batch], shape, rows)
      for (_, i, prompt), *row in zip(batch, *outputs, strict=True):
        found[i].append(_read(prompt, len(phrases[i]), *row, tokens))
    return [
      _joined(parts, len(texts))
      for parts, texts in zip(found, phrases, strict=True)
    ]

  return find


def _read(prompt: Prompt, count: int, centres, scores, places, tokens) -> Found:
  """Reads the boxes of one text, and their scores for each phrase in it."""
  starts, ends = places.T
  each = np.zeros((len(centres), count), np.float32)
  for number, (start, end) in prompt.spans.items():
    own = (starts >= start) & (ends <= end) & (ends > starts)
    own = scores[:, : len(own)][:, own]
    each[:, number] = own.max(axis=1) if tokens == "max" else own.mean(axis=1)
  return Found(corners(centres), each)


def corners(centres: np.ndarray) -> np.ndarray:
  """Converts boxes of centre x, y, width and height to two corners."""
  middle, half = centres[:, :2], centres[:, 2:] / 2
  return np.concatenate([middle - half, middle + half], axis=1)


def _joined(parts: Sequence[Found], count: int) -> Found:
  """Joins what was found with several texts of one image."""
  return Found(
    np.concatenate([np.zeros((0, 4)), *(part.boxes for part in parts)]),
    np.concatenate([np.zeros((0, count)), *(part.scores for part in parts)]),
  )
