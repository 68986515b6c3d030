"""The command demo: a page that shows how a model sees a picture.

For a picture and phrases it shows the nearest phrases, the walk to the root,
the place in the Poincare disk, and the entailment cones.

By default the page is served to this machine only, but all of its users can
reach it. Uploaded pictures are stored in a private folder, which is removed at
the end.
"""

import argparse
import importlib.util
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

import hyperclip_jax
from hyperclip_jax import files, systems
from hyperclip_jax.checkpoints.release import WORDS_FILE
from hyperclip_jax.commands import local_server
from hyperclip_jax.commands.door import fail
from hyperclip_jax.commands.local_server import LARGEST_UPLOAD
from hyperclip_jax.data.emoji import font
from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.images import Pixels, TooLargeError
from hyperclip_jax.data.records.shards import TarSource, expand
from hyperclip_jax.evals import held_out
from hyperclip_jax.evals.metrics.hierarchy import Parents
from hyperclip_jax.files import file_in
from hyperclip_jax.inference import explore, pretrained
from hyperclip_jax.inference.explore import Things
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.inference.search import Index
from hyperclip_jax.reports import answer
from hyperclip_jax.reports.markup import Markup
from hyperclip_jax.training import config as config_lib

SCENES = 64  # Scenes of the embedded data set that walks may meet.
EXAMPLES = 8
BATCH = 8
MOST_PHRASES = 200
PHRASES = (
  "a thing",
  "a living thing",
  "an animal",
  "a mammal",
  "a dog",
  "a plant",
  "flowers",
  "food",
  "a fruit",
  "a musical instrument",
)
# Drawn by this machine's emoji font where there is no data set, and chosen: on
# the way to the root emoji-mini passes nothing but what is above them.
EMOJI = "🐻🐕🌺🌵🍊🎹🚑📷"
FONT = "this machine's emoji font, which a model may have been trained on"

# Answers are styled as reports; the rest is gradio's, without its footer.
CSS = answer.STYLE + "footer { display: none !important; }"


class Start(NamedTuple):
  """Initial content of the page.

  Attributes:
    phrases: phrases to edit.
    examples: pictures to choose from.
    things: index of what walks may meet.
    origin: where the examples are from.
  """

  phrases: Sequence[str]
  examples: Sequence[Pixels]
  things: Things
  origin: str


def start(
  model: HyperCLIP,
  source: str,
  index: pathlib.Path | None = None,
  pictures: pathlib.Path | None = None,
) -> Start:
  """Collects the initial content, with scenes of the run's data if available.

  Args:
    model: model to show.
    source: path of the model.
    index: file with an index of texts, or of pictures by their paths; by
      default `words.index` in the model's folder, if there is one.
    pictures: folder whose pictures may be shown for names of the index; the
      folder of the index by default, since an untrusted index can name any
      file.

  Returns:
    Content of the page.

  Raises:
    OSError: the index cannot be read.
    ValueError: the file is not an index, or another model made it.
  """
  index = index or _words(source)
  if index is not None:
    own = Index.load(index)
    model.search(np.zeros((0, model.width), np.float32), own)
    folder = pictures or index.parent
    things = Things(own, _pictures(folder, own.names))
  else:
    nothing = np.zeros((0, model.width), np.float32)
    things = Things(model.index(nothing, []), [])
  trusted = systems.foreign(model.system)  # or it were not loaded
  folder = _data_folder(source, trusted)
  if folder is None:
    return Start(PHRASES, _emoji(), things, FONT)
  source_of = TarSource(expand(f"{folder}/val/*.tar"), 1)
  scenes = held_out.load(str(folder), source_of, 1, SCENES)
  phrases = _phrases(scenes.classes.parents) if scenes.classes else [*PHRASES]
  if index is None:
    boxes = model.encode_image(scenes.box_image)
    things = Things(model.index(boxes, scenes.box_text), scenes.box_image)
  return Start(phrases, scenes.image[:EXAMPLES], things, "held-out scenes")


def respond(
  model: HyperCLIP, things: Things, folder: str, path: str | None, text: str
) -> Iterator[Markup]:
  """Answers a picture and phrases, or explains what is wrong with them.

  Tables take milliseconds, and figures some hundred.

  Args:
    model: model to show.
    things: index of what walks may meet.
    folder: folder of uploads; a picture outside of it is not opened.
    path: path of the picture as sent by the browser, or None.
    text: phrases, one per line.

  Yields:
    HTML of the tables, then of the figures; of a problem, then nothing.

  Raises:
    FileNotFoundError: the picture is not in the folder.
  """
  phrases = [*dict.fromkeys(files.lines(text.removeprefix("\ufeff")))]
  try:
    if path is None:
      raise ValueError("There is no picture: drop one.")
    if not phrases:
      raise ValueError("There are no phrases: type some, one per line.")
    if len(phrases) > MOST_PHRASES:
      raise ValueError(
        f"{len(phrases)} phrases are more than {MOST_PHRASES}: make an index."
      )
    picture = _picture(folder, path)
  except ValueError as error:
    yield answer.problem(str(error))
    yield Markup()
    return
  found = explore.explore(model, picture, phrases, things)
  yield answer.tables(model, picture, phrases, things, found)
  yield answer.figures(model, phrases, found)


def page(model: HyperCLIP, source: str, begin: Start, folder: str) -> Any:
  """Makes the page as gradio's Blocks.

  Args:
    model: model to show.
    source: name of the model.
    begin: initial content.
    folder: private folder for uploads and example pictures.

  Returns:
    Blocks, not yet served.
  """
  local_server.use_folder(folder)
  gr: Any = importlib.import_module("gradio")
  examples = []
  for i, picture in enumerate(begin.examples):
    examples.append(f"{folder}/{i}.png")
    Image.fromarray(picture).save(examples[-1])

  def look(path: str | None, text: str) -> Iterator[tuple[Any, Any]]:
    answers = respond(model, begin.things, folder, path, text)
    try:
      yield str(next(answers)), gr.skip()
      yield gr.skip(), str(next(answers))
    except FileNotFoundError as error:
      raise gr.Error(str(error), print_exception=False) from error

  with gr.Blocks(
    title="HyperCLIP-JAX", delete_cache=local_server.KEPT
  ) as blocks:
    gr.Markdown(
      f"# {pathlib.Path(source).name}\nDrop a picture and type phrases: what "
      f"{model.title} puts near it, above it and around it."
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
        # Not read by gradio, which cannot explain a file that is not an image.
        path.preprocess = lambda payload: payload and payload.path
        if examples:
          gr.Examples(examples, path, label=f"Examples: {begin.origin}")
        text = gr.Textbox(
          "\n".join(begin.phrases), lines=8, max_lines=16, label="Phrases"
        )
        button = gr.Button("Look", variant="primary")
        if model.about.data or model.about.numbers:
          gr.HTML(str(answer.trained(model.about)))
      with gr.Column(scale=3):
        parts: Iterable[Markup] = (Markup(), Markup())
        if examples:
          phrases = "\n".join(begin.phrases)
          parts = respond(model, begin.things, folder, examples[0], phrases)
        shown = [gr.HTML(str(part)) for part in parts]
    inputs = [path, text]
    button.click(look, inputs, shown, api_name="look")
    path.change(look, inputs, shown, api_name=False)
  return blocks


def demo(options: argparse.Namespace) -> None:
  """Serves the page until it is stopped by Ctrl-C or a signal."""
  if options.pictures and not options.index:
    fail("--pictures is the folder of an index: give --index")
  if importlib.util.find_spec("gradio") is None:
    fail('the page needs gradio: pip install "hyperclip-jax[demo]"')
  try:
    source = str(pretrained.located(options.model)[0])
    # Of few pictures and phrases, on one device: little to compile and to pad.
    model = hyperclip_jax.load(
      source,
      trust_system=options.trust_system,
      batch_size=BATCH,
      devices=jax.local_devices()[:1],
    )
    model.warm_up()
    begin = start(model, source, options.index, options.pictures)
    stop = local_server.stop_signal()
    with tempfile.TemporaryDirectory() as folder:  # readable by its owner alone
      blocks = page(model, options.model, begin, folder)
      address = local_server.serve(
        blocks, options.port, CSS, options.host, options.share
      )
      if options.share or options.host != local_server.HOST:
        print("Everyone who can reach this page can use it.", flush=True)
      print(f"The page is at {address} (Ctrl-C ends it)", flush=True)
      stop.wait()
      blocks.close(verbose=False)
  except (ImportError, OSError, ValueError) as error:
    fail(error)


def _words(source: str) -> pathlib.Path | None:
  """Finds the index of words that comes with a model."""
  path = files.expanded(source) / WORDS_FILE
  return path if path.is_file() else None


def _emoji() -> list[Pixels]:
  """Draws the examples; none without an emoji font."""
  drawn = (font.draw(text) for text in EMOJI)
  return [pixels for pixels in drawn if pixels is not None]


def _phrases(parents: Parents) -> list[str]:
  """Chooses the nodes of a hierarchy, without leaves if they are too many."""
  if len(parents) <= MOST_PHRASES:
    return [*parents]
  above = {parent for row in parents.values() for parent in row}
  return [node for node in parents if node in above][:MOST_PHRASES]


def _data_folder(source: str, trust_system: bool) -> pathlib.Path | None:
  """Finds the generated data set that a run was trained on."""
  if not (files.expanded(source) / config_lib.FILE).exists():
    return None
  try:
    named = config_lib.read(source, trust_system).data.labelled
  except ValueError:
    return None  # A release.
  folder = pathlib.Path(named)
  return folder if named and (folder / "hierarchy.json").exists() else None


def _pictures(
  folder: pathlib.Path, names: Sequence[str]
) -> list[Pixels | None]:
  """Loads the images in `folder` that names of an index refer to."""
  found: list[Pixels | None] = []
  outside = 0
  for name in names:
    file = file_in(folder, name)
    outside += file is None and os.path.isfile(name)
    try:
      found.append(file and _decoded(file))
    except (OSError, ValueError):
      found.append(None)
  if outside:
    print(
      f"{outside} pictures of the index are outside of {folder} and are not "
      "shown: give --pictures=FOLDER",
      file=sys.stderr,
    )
  return found


def _picture(folder: str, path: str) -> Pixels:
  """Loads an uploaded picture; a ValueError tells the user what is wrong."""
  file = file_in(folder, path)
  if file is None:
    raise FileNotFoundError("This picture was not uploaded here: drop it again")
  try:
    return _decoded(file)
  except (OSError, ValueError) as error:
    raise ValueError(f"{files.shown(file.name)}: {_reason(error)}") from error


def _decoded(path: pathlib.Path) -> Pixels:
  return images.decode(files.read_bytes(path, LARGEST_UPLOAD), upright=True)


def _reason(error: OSError | ValueError) -> str:
  """Explains why a picture cannot be shown, without any of its content."""
  if isinstance(error, OSError):
    return str(error.strerror)
  if isinstance(error, TooLargeError):
    return str(error)
  return (
    "cannot decode it: want a complete JPEG, PNG, WebP, GIF, BMP, TIFF or PPM"
  )
