"""Writes a raw GRIT shard of real photographs, for trials on real pixels.

The photographs ship inside the scikit-image wheel (extra `photos`), so nothing
is downloaded. All are dedicated to the public domain or under CC0, as their
docstrings in `skimage.data` say; captions, phrases and boxes are ours.

  hyperclip photos --output DIR
"""

import importlib
import io
import json
import os
import pathlib
from typing import NamedTuple

from PIL import Image

from hyperclip_jax.data.records import tars

PixelBox = tuple[int, int, int, int]


class Photo(NamedTuple):
  """A photograph with its annotations.

  Attributes:
    key: key of the record.
    file: file name in the data folder of scikit-image.
    source: author, licence and origin.
    caption: caption of the full photograph.
    parts: phrases of the caption, each with x1, y1, x2, y2 in pixels.
  """

  key: str
  file: str
  source: str
  caption: str
  parts: tuple[tuple[str, PixelBox], ...]


PHOTOS = (
  Photo(
    "astronaut",
    "astronaut.png",
    "NASA, public domain, https://flic.kr/p/r9qvLn",
    "a smiling astronaut in an orange space suit with a black helmet, in front "
    "of an American flag and a model of a space shuttle",
    (
      ("a smiling astronaut in an orange space suit", (19, 15, 364, 512)),
      ("a black helmet", (277, 344, 512, 512)),
      ("an American flag", (0, 0, 100, 512)),
      ("a model of a space shuttle", (354, 0, 474, 290)),
    ),
  ),
  Photo(
    "camera",
    "camera.png",
    "Lav Varshney, CC0",
    "black and white photo of a man in a dark coat who looks through a camera "
    "on a tripod, on a lawn with a city behind",
    (
      ("a man in a dark coat", (0, 63, 332, 512)),
      ("a camera", (252, 138, 326, 186)),
      ("a tripod", (229, 187, 407, 512)),
      ("a lawn", (149, 235, 512, 512)),
    ),
  ),
  Photo(
    "chelsea",
    "chelsea.png",
    "Stefan van der Walt, CC0",
    "a close-up of a tabby cat with green eyes and a reddish nose",
    (
      ("a tabby cat", (0, 0, 400, 300)),
      ("green eyes", (134, 84, 346, 166)),
      ("a reddish nose", (235, 226, 293, 268)),
    ),
  ),
  Photo(
    "coffee",
    "coffee.png",
    "Rachel Michetti, CC0, courtesy of Pikolo Espresso Bar",
    "a cup of espresso on a red saucer with a silver spoon on a wooden table",
    (
      ("a cup of espresso", (172, 17, 409, 309)),
      ("a red saucer", (76, 67, 481, 391)),
      ("a silver spoon", (325, 66, 425, 327)),
      ("a wooden table", (0, 0, 600, 400)),
    ),
  ),
  Photo(
    "clock",
    "clock_motion.png",
    "Stefan van der Walt, public domain",
    "a round clock on a grey wall, blurred by the motion of the camera",
    (("a round clock", (141, 91, 287, 216)),),
  ),
  Photo(
    "rocket",
    "rocket.jpg",
    "SpaceX, public domain, "
    "https://www.flickr.com/photos/spacexphotos/16511594820",
    "a white rocket on a launch pad at dusk, with bright floodlights and a "
    "lattice tower on the left",
    (
      ("a white rocket on a launch pad", (266, 126, 376, 427)),
      ("bright floodlights", (72, 325, 475, 427)),
      ("a lattice tower on the left", (0, 0, 90, 427)),
    ),
  ),
  Photo(
    "hubble",
    "hubble_deep_field.jpg",
    "NASA, public domain, "
    "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
    "distant galaxies in the dark sky, among them a pale spiral galaxy and a "
    "large orange galaxy, with a bright star in front",
    (
      ("a pale spiral galaxy", (104, 380, 143, 420)),
      ("a large orange galaxy", (706, 454, 749, 494)),
      ("a bright star", (718, 544, 789, 614)),
    ),
  ),
  Photo(
    "retina",
    "retina.jpg",
    "Mikael Häggström, CC0, https://commons.wikimedia.org/wiki/"
    "File:Fundus_photograph_of_normal_left_eye.jpg",
    "the retina of a left eye with a bright optic disc and a dark macula",
    (
      ("the retina of a left eye", (10, 6, 1400, 1399)),
      ("a bright optic disc", (118, 546, 318, 762)),
      ("a dark macula", (615, 620, 800, 790)),
    ),
  ),
)


def write(folder: str | os.PathLike[str]) -> pathlib.Path:
  """Writes the photographs as one raw GRIT shard.

  Args:
    folder: folder for `photos/00000.tar`; created if missing.

  Returns:
    Path of the shard, which replaces an older one atomically.

  Raises:
    ModuleNotFoundError: scikit-image is not installed.
    FileNotFoundError: scikit-image lacks one of the photographs.
  """
  source = _folder_of_skimage()
  path = pathlib.Path(folder) / "photos" / "00000.tar"
  path.parent.mkdir(parents=True, exist_ok=True)
  work = path.with_suffix(f".{os.getpid()}.part")
  try:
    with work.open("wb") as file, tars.writing(file) as add:
      for index, photo in enumerate(PHOTOS):
        jpeg, meta = _record(photo, source, index)
        for suffix, data in (
          ("jpg", jpeg),
          ("json", json.dumps(meta).encode()),
          ("txt", photo.caption.encode()),
        ):
          add(f"{photo.key}.{suffix}", data)
    work.replace(path)
  finally:
    work.unlink(missing_ok=True)
  return path


def _folder_of_skimage() -> pathlib.Path:
  try:
    module = importlib.import_module("skimage.data")
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "the photographs are those of scikit-image, which is not installed: "
      "pip install 'hyperclip-jax[photos]'"
    ) from error
  return pathlib.Path(module.data_dir)


def _record(
  photo: Photo, source: pathlib.Path, index: int
) -> tuple[bytes, dict]:
  """Makes the JPEG and the JSON of one photograph."""
  jpeg = (source / photo.file).read_bytes()
  with Image.open(io.BytesIO(jpeg)) as image:
    width, height = image.size
    if image.format != "JPEG":  # JPEGs stay as published
      packed = io.BytesIO()
      image.save(packed, "jpeg", quality=95)
      jpeg = packed.getvalue()
  return jpeg, {
    "caption": photo.caption,
    "noun_chunks": [
      _grounded(photo.caption, phrase, box, width, height)
      for phrase, box in photo.parts
    ],
    "ref_exps": [],
    "key": photo.key,
    "width": width,
    "height": height,
    "url": f"skimage:{photo.file}",
    "source": photo.source,
    "id": index,
  }


def _grounded(
  caption: str, phrase: str, box: PixelBox, width: int, height: int
) -> list[float]:
  """Makes GRIT's [start, end, x1, y1, x2, y2, score], all of them floats."""
  start = caption.index(phrase)
  x1, y1, x2, y2 = box
  corners = (x1 / width, y1 / height, x2 / width, y2 / height)
  return [float(start), float(start + len(phrase)), *corners, 1.0]
