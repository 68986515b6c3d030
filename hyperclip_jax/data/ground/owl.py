"""Adapts OWLv2 and OWL-ViT of `transformers`, which score a box for a query.

Each phrase is a query of at most 16 tokens; longer ones are cut.
"""

from collections.abc import Sequence

import numpy as np

from hyperclip_jax.data.ground import detect
from hyperclip_jax.data.ground.grounding_dino import corners
from hyperclip_jax.data.ground.select import Found
from hyperclip_jax.data.records.images import Pixels

LENGTH = 16  # tokens of a query


def load(path: str, device: str, batch_size: int, tokens: str) -> detect.Detect:
  """Loads a model; see `detect.load`. There is one score for a phrase."""
  import torch

  del tokens
  model, processor = detect.pretrained(path, device)
  padded = model.config.model_type == "owlv2"  # to a square, below and right

  def run(images: Sequence[Pixels], phrases: Sequence[Sequence[str]]):
    most = max(map(len, phrases))
    # Blank queries would win boxes. The model leaves out queries of zeros,
    # whose scores are not read either.
    ids = torch.zeros(len(images), most, LENGTH, dtype=torch.long)
    mask = torch.ones_like(ids)
    for i, texts in enumerate(phrases):
      queries = processor.tokenizer(
        list(texts),
        padding="max_length",
        max_length=LENGTH,
        truncation=True,
        return_tensors="pt",
      )
      ids[i, : len(texts)] = queries["input_ids"]
      mask[i, : len(texts)] = queries["attention_mask"]
    pixels = processor.image_processor(images=list(images), return_tensors="pt")
    with torch.inference_mode():
      found = model(
        pixel_values=pixels["pixel_values"].to(device),
        input_ids=ids.flatten(0, 1).to(device),
        attention_mask=mask.flatten(0, 1).to(device),
      )
    scores = found.logits.float().sigmoid().cpu().numpy()
    boxes = found.pred_boxes.float().cpu().numpy()
    for image, texts, score, box in zip(
      images, phrases, scores, boxes, strict=True
    ):
      height, width, _ = image.shape
      side = max(height, width)
      scale = [side / width, side / height] * 2 if padded else [1.0] * 4
      yield Found(corners(box) * np.array(scale), score[:, : len(texts)])

  def find(images: Sequence[Pixels], phrases: Sequence[Sequence[str]]):
    found = [Found(np.zeros((0, 4)), np.zeros((0, len(t)))) for t in phrases]
    left = [i for i, texts in enumerate(phrases) if texts]
    while left:
      batch, left = left[:batch_size], left[batch_size:]
      each = run([images[i] for i in batch], [phrases[i] for i in batch])
      for i, one in zip(batch, each, strict=True):
        found[i] = one
    return found

  return find
