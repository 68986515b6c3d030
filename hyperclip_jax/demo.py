"""A local web page to look at what a model makes of a picture.

  python -m hyperclip_jax.demo --model=X [--index=FILE] [--port=7860]

Drop a picture and type phrases: the nearest ones, the way to the root, where
it lies in the Poincare disk, and whose entailment cones hold it. The page is
served to this machine alone. Needs the extra `demo`.
"""

import argparse
import importlib.util
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import hyperclip_jax
from hyperclip_jax import explore, pretrained
from hyperclip_jax.data.images import ImageError, Pixels
from hyperclip_jax.data.shards import TarSource, expand
from hyperclip_jax.evals import encoding, suite
from hyperclip_jax.explore import Things
from hyperclip_jax.hyperclip import HyperCLIP
from hyperclip_jax.release import CONFIG_FILE
from hyperclip_jax.reports import answer
from hyperclip_jax.reports.markup import Markup
from hyperclip_jax.search import Index

BATCH = 8  # One picture costs a batch: a small one answers soon.
SCENES = 64  # Of the embedded data set: met on walks.
EXAMPLES = 8
MOST_PHRASES = 200
PHRASES = (
  "a thing",
  "an animal",
  "a dog",
  "a cat sleeping on a sofa",
  "food",
  "a slice of pizza",
  "a vehicle",
  "a red car on a street",
  "people",
  "a landscape with mountains",
)
NAMES = {"hycoclip": "HyCoCLIP", "meru": "MERU", "clip": "CLIP"}

# Answers look like reports; what is around them is gradio's, without its foot.
CSS = answer.STYLE + "footer { display: none !important; }"


class Start(NamedTuple):
  """What the page begins with.

  Attributes:
    phrases: to edit.
    examples: pictures to choose from.
    things: to be met on walks.
  """

  phrases: Sequence[str]
  examples: Sequence[Pixels]
  things: Things


def start(
  model: HyperCLIP, source: str, index: pathlib.Path | None = None
) -> Start:
  """Phrases and pictures of a run on the embedded data, if they are there.

  Args:
    model: the model.
    source: where it is from; the data set of a workdir is looked for.
    index: of texts, and of pictures by their paths; shown where they are files.

  Raises:
    OSError, ValueError: the index cannot be read, or is another model's.
  """
  if index is not None:
    own = Index.load(index)
    model.search(np.zeros((0, model.model.embed_dim), np.float32), own)
    things = Things(own, [_picture(name) for name in own.names])
  else:
    nothing = np.zeros((0, model.model.embed_dim), np.float32)
    things = Things(model.index(nothing, []), [])
  folder = _shapes_folder(source)
  if folder is None:
    return Start(PHRASES, [], things)
  source_of = TarSource(expand(f"{folder}/val/*.tar"), 1)
  scenes = suite.load(str(folder), source_of, 1, SCENES)
  phrases = [*scenes.classes.parents] if scenes.classes else [*PHRASES]
  if index is None:
    boxes = model.encode_image(scenes.box_image)
    things = Things(model.index(boxes, scenes.box_text), scenes.box_image)
  return Start(phrases, scenes.image[:EXAMPLES], things)


def respond(
  model: HyperCLIP, things: Things, path: str | None, text: str
) -> Markup:
  """The answer to a picture and phrases, or what is wrong with them.

  Args:
    model: the model.
    things: to be met on walks.
    path: of the picture; None if there is none.
    text: phrases, one a line.
  """
  lines = (line.strip() for line in text.splitlines())
  phrases = [*dict.fromkeys(line for line in lines if line)]
  if path is None:
    return answer.problem("There is no picture: drop one.")
  if not phrases:
    return answer.problem("There are no phrases: type some, one a line.")
  if len(phrases) > MOST_PHRASES:
    return answer.problem(
      f"{len(phrases)} phrases are more than {MOST_PHRASES}: make an index."
    )
  try:
    picture = encoding.decode_file(path)
  except OSError as error:
    return answer.problem(f"{pathlib.Path(path).name}: {error.strerror}")
  except ImageError as error:
    message = str(error).removeprefix(f"{path}: ")
    return answer.problem(f"{pathlib.Path(path).name}: {message}")
  found = explore.explore(model, picture, phrases, things)
  return answer.answer(model, picture, phrases, things, found)


def page(model: HyperCLIP, source: str, begin: Start, folder: str) -> Any:
  """The page, as gradio's Blocks.

  Args:
    model: the model.
    source: its name.
    begin: what the page shows first.
    folder: for the example pictures, as long as the page lives.
  """
  gr: Any = importlib.import_module("gradio")
  examples = []
  for i, picture in enumerate(begin.examples):
    examples.append(f"{folder}/{i}.png")
    Image.fromarray(picture).save(examples[-1])

  def look(path: str | None, text: str) -> str:
    return str(respond(model, begin.things, path, text))

  with gr.Blocks(title="HyperCLIP-JAX") as blocks:
    gr.Markdown(
      f"# {pathlib.Path(source).name}\nDrop a picture and type phrases: what "
      f"{NAMES[model.name]} puts near it, above it and around it."
    )
    with gr.Row():
      with gr.Column(scale=1, min_width=280):
        path = gr.Image(
          examples[0] if examples else None,
          type="filepath",
          sources=["upload", "clipboard"],
          label="Picture",
          height=280,
        )
        # Unread by gradio, which has no words for a file that is no image.
        path.preprocess = lambda payload: payload and payload.path
        if examples:
          gr.Examples(examples, path, label="Held-out scenes")
        text = gr.Textbox(
          "\n".join(begin.phrases), lines=8, max_lines=16, label="Phrases"
        )
        button = gr.Button("Look", variant="primary")
      with gr.Column(scale=3):
        phrases = "\n".join(begin.phrases)
        shown = gr.HTML(look(examples[0], phrases) if examples else "")
    inputs = [path, text]
    button.click(look, inputs, shown, api_name="look")
    path.change(look, inputs, shown, api_name=False)
  return blocks


def serve(blocks: Any, port: int, wait: bool = True) -> str:
  """Serves the page to this machine; returns its address where not waiting."""
  gr: Any = importlib.import_module("gradio")
  sans = ("system-ui", "sans-serif")
  _, address, _ = blocks.launch(
    server_name="127.0.0.1",
    server_port=port,
    share=False,
    prevent_thread_lock=not wait,
    quiet=not wait,
    css=CSS,
    # Fonts of the system: the page asks no other server for anything.
    theme=gr.themes.Default(primary_hue="blue", font=sans, font_mono=sans),
  )
  return address


def main(argv: Sequence[str] | None = None) -> None:
  """Serves the page until it is interrupted.

  Args:
    argv: the flags, those of the process if None.
  """
  flags = _parser().parse_args(argv)
  os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Tells nobody of its use.
  if importlib.util.find_spec("gradio") is None:
    sys.exit('error: the page needs gradio: pip install "hyperclip-jax[demo]"')
  try:
    loaded = hyperclip_jax.load(flags.model)
    model = HyperCLIP(
      loaded.name, loaded.model, loaded.params, loaded.image_size, BATCH
    )
    begin = start(model, flags.model, flags.index)
  except (ImportError, OSError, ValueError) as error:
    sys.exit(f"error: {error}")
  with tempfile.TemporaryDirectory() as folder:
    serve(page(model, flags.model, begin, folder), flags.port)


def _shapes_folder(source: str) -> pathlib.Path | None:
  """The embedded data set that a run was trained on."""
  if not (pathlib.Path(source) / CONFIG_FILE).exists():
    return None
  try:
    config = pretrained.read_config(source)
  except ValueError:
    return None  # A release.
  folder = pathlib.Path(config.get("shapes", {}).get("folder", ""))
  return folder if (folder / "hierarchy.json").exists() else None


def _picture(name: str) -> Pixels | None:
  """What a name of an index shows, if it is the path of an image."""
  if not pathlib.Path(name).is_file():
    return None
  try:
    return encoding.decode_file(name)
  except (OSError, ValueError):
    return None


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m hyperclip_jax.demo",
    description="A local web page to look at what a model makes of a picture.",
    allow_abbrev=False,
  )
  parser.add_argument(
    "--model", required=True, help="what hyperclip_jax.load takes"
  )
  parser.add_argument(
    "--index", type=pathlib.Path, help="an index that the model made"
  )
  parser.add_argument("--port", type=int, default=7860)
  return parser


if __name__ == "__main__":
  main()
