"""Packs a run of configs/emoji_small.py as the model that the package brings.

  python -m benchmarks.emoji_mini --run DIR --packages npm [--output DIR]

The folder gets the model in float32, its card, `words.index` for `hyperclip
demo` (the names of all concepts and what is above them, each with its emoji as
a character), and `hierarchy.json`, the tree of these words.
"""

import argparse
import json
import pathlib

import hyperclip_jax
from benchmarks.emoji import Emoji
from hyperclip_jax.checkpoints.card import CARD
from hyperclip_jax.data.emoji import concepts, font
from hyperclip_jax.data.emoji.concepts import Concept
from hyperclip_jax.files import write_whole

NAME = "emoji-mini"
LICENCE = "cc-by-4.0"
SHOWN = 3  # emoji beside a word that is above concepts
LARGEST = 6_000_000  # bytes of the weights
DATA = (
  "Scenes of emoji (docs/emoji.md) that show 790 of 849 concepts: Noto Emoji "
  "(Google, Apache-2.0) and Twemoji (Twitter and others, CC-BY 4.0), with "
  "names, keywords and groups of Unicode's CLDR (Unicode License v3) as "
  "OpenMoji's table has them (CC BY-SA 4.0), and nouns of WordNet 3.0 "
  "(Princeton University). No picture of them is in this folder. The results "
  "are those on Fluent's emoji, a vendor never seen. The model knows drawings, "
  "not photographs"
)


def words(found: list[Concept]) -> dict[str, str]:
  """Lists concepts and what is above them.

  Args:
    found: all concepts.

  Returns:
    What to show, by the words.
  """
  signs = {
    concept.name: "".join(
      chr(int(part, 16)) for part in concept.code.split("-")
    )
    for concept in found
  }
  # In colour, also those that are letters by default.
  shown = {
    name: f"{sign}{font.STYLE * (len(sign) == 1)} {name}"
    for name, sign in signs.items()
  }
  below: dict[str, list[str]] = {}
  for concept in found:
    for word in (*concept.above, concepts.ROOT):
      below.setdefault(word, []).append(signs[concept.name])
  for word, some in below.items():
    chosen = some[:: max(1, len(some) // SHOWN)][:SHOWN]
    shown[word] = f"{word} ({''.join(chosen)})"
  return shown


def main() -> None:
  """Writes the folder."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--run", required=True, help="folder of the run")
  parser.add_argument("--packages", type=pathlib.Path, required=True)
  assets = pathlib.Path(hyperclip_jax.__file__).parent / "checkpoints/assets"
  parser.add_argument("--output", type=pathlib.Path, default=assets / NAME)
  options = parser.parse_args()
  model = hyperclip_jax.load(options.run)
  (options.output / CARD).unlink(missing_ok=True)  # it would be kept
  found = Emoji.read(options.packages).concepts
  shown = words(found)
  index = model.index(model.encode_text([*shown]), [*shown.values()])
  steps = model.about.data.rpartition("; ")[2].rstrip(".")
  model.save_pretrained(options.output, LICENCE, f"{DATA}; {steps}.", index)
  size = (options.output / "model.safetensors").stat().st_size
  if size > LARGEST:
    raise SystemExit(f"{size:,} bytes of weights: want at most {LARGEST:,}")
  tree = json.dumps(concepts.hierarchy(found), ensure_ascii=False, indent=0)
  write_whole(options.output / "hierarchy.json", tree + "\n")
  print(f"{options.output}: {size:,} bytes, {len(shown)} words")


if __name__ == "__main__":
  main()
