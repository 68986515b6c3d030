"""A small tokenizer.json of SigLIP's kind."""

import pathlib

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

WORDS = (
  *("a", "the", "red", "blue", "green", "small", "large", "circle", "square"),
  *("star", "thing", "and", "of", "on", "in"),
)
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
PIECES = [
  "<pad>",
  "</s>",
  "<unk>",
  "▁",
  *(f"▁{word}" for word in WORDS),
  *LETTERS,
  "<extra_id_99>",
]
IDS = {piece: number for number, piece in enumerate(PIECES)}


def text(end: str = "</s>") -> str:
  """Content of the file."""
  names = [end if piece == "</s>" else piece for piece in PIECES]
  scores = [-1.0 if name.startswith("▁") else -3.0 for name in names]
  pieces = [*zip(names, scores, strict=True)]
  made = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=2))
  made.pre_tokenizer = pre_tokenizers.Metaspace()
  made.decoder = decoders.Metaspace()
  made.add_special_tokens([end, "<extra_id_99>"])
  return made.to_str()


def write(folder: pathlib.Path) -> pathlib.Path:
  """Writes the file, and returns its path."""
  path = folder / "tokenizer.json"
  path.write_text(text(), "utf-8")
  return path
