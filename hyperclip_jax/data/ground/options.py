"""Options of a grounded folder."""

from typing import NamedTuple


class Options(NamedTuple):
  """Options that determine the content of every shard of a folder.

  Attributes:
    detector: name of the detector, or of its folder.
    weights: digest of its files, or its revision on the hub.
    parser: name and version of the parser of captions.
    abstract: digest of the list of abstract nouns.
    threshold: boxes of this score or less are dropped.
    tokens: how the scores of a phrase's tokens become its score, "max" or
      "mean".
    nms_iou: overlap with a better box above which one is dropped.
    min_side: smallest side of a box in pixels of the image.
    drop_contained: whether to leave out referring expressions that another one
      of the image contains.
    shard_size: number of rows of a table, or images of a JSON, in a shard.
  """

  FORMAT = "hyperclip-grounded"
  VERSION = 1

  detector: str = ""
  weights: str = ""
  parser: str = ""
  abstract: str = ""
  threshold: float = 0.0
  tokens: str = "max"
  nms_iou: float = 0.5
  min_side: int = 32
  drop_contained: bool = False
  shard_size: int = 10_000


def validate(options: Options) -> None:
  """Raises ValueError if an option is out of range."""
  ranges = {
    "threshold": (0, 1),
    "nms_iou": (0, 1),
    "min_side": (1, 1 << 16),
    "shard_size": (1, 100_000),
  }
  for name, (low, high) in ranges.items():
    value = getattr(options, name)
    if not low <= value <= high:  # also of NaN
      raise ValueError(f"--{name}={value}: want {low} to {high}")
