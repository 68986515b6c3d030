"""Images on the host: bytes to uint8 pixels, boxes to crops, crops to canvases.

The host only decodes, cuts and pads; the costly resampling is left to the
device (`augment.py`), which gets fixed-size canvases and crop rectangles.
"""

import contextlib
import io
import math

import numpy as np
import simplejpeg
from jaxtyping import Float32, Float64, UInt8
from PIL import ExifTags, Image, UnidentifiedImageError, features

from hyperclip_jax.data.records import jpegs, pngs
from hyperclip_jax.data.records.boxes import Box
from hyperclip_jax.data.records.budget import Budget
from hyperclip_jax.data.records.colours import (
  MAX_PIXELS,
  ImageError,
  TooLargeError,
  check_size,
  to_rgb,
)

Pixels = UInt8[np.ndarray, "_ _ 3"]  # height, width, RGB
Rect = Float32[np.ndarray, "4"]  # x0, y0, x1, y1 in pixels

# Of files that `decode` reads.
SUFFIXES = (
  *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"),
  ".avif",
)

TRIES = 10  # of a random crop
DRAWS = 4 * TRIES  # random numbers it takes

# What Pillow may open. Others are rare, and some (EPS) run programs.
_FORMATS = (
  *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"),
  *(
    ("AVIF",) if "avif" in features.get_supported_modules() else ()
  ),  # by how Pillow was built
)
# What stands in every file that says how it is to be turned.
_TURNED = (b"Exif", b"eXIf", b"EXIF", b"irot", b"imir")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# A picture of 50 megapixels takes up to a gigabyte while it is decoded, and
# there may be a decoder in each of 16 threads.
_MEMORY = Budget(2 << 30)
_SMALL = 1 << 20  # pixels that are decoded without asking for memory
_JPEG_BYTES, _OTHER_BYTES = 9, 20  # a pixel: progressive, RGBA laid on white


def decode(
  data: bytes,
  min_side: int = 0,
  room: Pixels | None = None,
  upright: bool = False,
) -> Pixels:
  """Decodes an image to RGB; transparent ones are laid on white.

  Args:
    data: JPEG, PNG, WebP, GIF (first frame), BMP, TIFF, PPM or AVIF. A JPEG
      with harmless oddities is read, see `jpegs`; one that was cut is not.
    min_side: if positive, a JPEG may come out shrunk by 2 to 8 times where its
      short side stays at least this long, which is faster.
    room: where to put a JPEG of just this size, in place of new memory; it is
      what is returned then.
    upright: turn the image as its EXIF orientation says, as viewers do. The
      pixels are those stored otherwise, which is what boxes refer to.

  Raises:
    ImageError: broken or unknown data.
    TooLargeError: above `MAX_PIXELS`, by the header: nothing is decoded.
  """
  turn = orientation(data) if upright else 1
  if turn != 1:
    return turned(decode(data, min_side), turn)
  try:
    if data.startswith(jpegs.START):
      return jpegs.decode(data, lambda whole: _jpeg(whole, min_side, room))
    return _other(data)
  except ImageError:
    raise
  except (Image.DecompressionBombError, Image.DecompressionBombWarning) as bomb:
    raise TooLargeError(f"{bomb}; the most is {MAX_PIXELS:,}") from bomb
  except Exception as error:  # decoders raise nearly anything on bad bytes
    unknown = isinstance(error, UnidentifiedImageError)  # tells of a BytesIO
    reason = _unknown(data) if unknown else error
    raise ImageError(
      f"cannot decode {len(data)} bytes that begin with {data[:8]!r}: {reason}"
    ) from error


def _jpeg(data: bytes, min_side: int, room: Pixels | None) -> Pixels:
  """Decodes a JPEG; ValueError with libjpeg's words if it has any."""
  height, width, space, _ = simplejpeg.decode_jpeg_header(data)
  pixels = check_size(int(width), int(height))
  with _memory(pixels * _JPEG_BYTES):
    if space in ("CMYK", "YCCK"):  # Pillow knows Adobe's inverted ink
      simplejpeg.decode_jpeg(data, "CMYK")  # but not that something is missing
    elif room is not None and room.shape == (height, width, 3):
      simplejpeg.decode_jpeg(data, buffer=room)
      return room
    else:
      return simplejpeg.decode_jpeg(
        data,
        min_height=min_side,
        min_width=min_side,
        min_factor=2 if min_side else 1,
      )
  return _other(data)


def _other(data: bytes) -> Pixels:
  """Decodes what Pillow reads."""
  with _opened(data) as image:
    pixels = check_size(*image.size)
    with _memory(pixels * _OTHER_BYTES):
      return np.array(to_rgb(image))


def _memory(count: int) -> contextlib.AbstractContextManager[None]:
  """Holds memory for a decoder, unless it needs little."""
  if count < _SMALL * _JPEG_BYTES:
    return contextlib.nullcontext()
  return _MEMORY.taken(count)


def _opened(data: bytes) -> Image.Image:
  if data.startswith(pngs.START):
    data = pngs.without_texts(data)
  return Image.open(io.BytesIO(data), formats=_FORMATS)


def _unknown(data: bytes) -> str:
  """What to say of bytes that no decoder knows."""
  if data[4:8] == b"ftyp" and data[8:12] in _HEIC and b"avif" not in data[:64]:
    return "HEIC, which is not read: convert it to JPEG or PNG"
  return f"none of {', '.join(_FORMATS)}"


def size(data: bytes, upright: bool = False) -> tuple[int, int]:
  """Width and height of what `decode` makes of an image, by its header.

  Args:
    data: the file.
    upright: turn the image as its EXIF orientation says.

  Raises:
    ImageError: the header is broken or unknown.
  """
  found = jpegs.size(data) if data.startswith(jpegs.START) else None
  try:
    if found is None:
      with _opened(data) as image:
        found = image.size
  except Exception as error:  # decoders raise nearly anything on bad bytes
    raise ImageError(f"no header of an image in {len(data)} bytes") from error
  if upright and orientation(data) >= 5:
    return found[1], found[0]
  return found


def orientation(data: bytes) -> int:
  """The EXIF orientation of an encoded image, 1 to 8; 1 is upright."""
  if not any(mark in data for mark in _TURNED):
    return 1  # nearly all, without a parser
  try:
    with _opened(data) as image:
      return _orientation(image)
  except Exception:  # of broken bytes, which `decode` has a word for
    return 1


def turned(image: Pixels, orientation: int) -> Pixels:
  """An image turned and mirrored as an EXIF orientation (1 to 8) says."""
  if orientation >= 5:
    image = image.transpose(1, 0, 2)
  if orientation in (2, 3, 6, 7):
    image = image[:, ::-1]
  if orientation in (3, 4, 7, 8):
    image = image[::-1]
  return np.ascontiguousarray(image)


def crop(image: Pixels, box: Box) -> Pixels:
  """The pixels that a box touches, at least one: a view, not a copy.

  Raises:
    ValueError: an image without pixels.
  """
  height, width, _ = image.shape
  check_size(width, height)
  left, right = _span(box[0], box[2], width)
  top, bottom = _span(box[1], box[3], height)
  return image[top:bottom, left:right]


def fit(
  image: Pixels,
  canvas: UInt8[np.ndarray, "canvas canvas 3"],
  white_border: bool,
) -> Rect:
  """Puts an image at the top left of a square canvas, shrunk if it must be.

  Args:
    image: any size; a long side above the canvas is shrunk to it (bicubic after
      a box filter), smaller images keep their size. It may be the canvas.
    canvas: all of it is written; zero outside of the region.
    white_border: centre the image on a white square of its long side, as
      HyCoCLIP's processed shards do.

  Returns:
    The region: the rectangle of the image, or of the white square.

  Raises:
    ValueError: an image without pixels.
  """
  height, width, _ = image.shape
  check_size(width, height)
  if image is canvas:
    return np.array([0, 0, width, height], np.float32)
  scale = len(canvas) / max(height, width)
  if scale < 1:
    width, height = (max(1, round(n * scale)) for n in (width, height))
    image = np.asarray(
      Image.fromarray(image).resize(
        (width, height), Image.Resampling.BICUBIC, reducing_gap=2.0
      )
    )
  side = max(height, width)
  top = left = 0
  right, bottom = width, height
  if white_border:
    right = bottom = side
    canvas[:side, :side] = 255
    top, left = (side - height) // 2, (side - width) // 2
  canvas[top : top + height, left : left + width] = image
  canvas[bottom:] = 0
  canvas[:bottom, right:] = 0
  return np.array([0, 0, right, bottom], np.float32)


def random_resized_crops(
  uniforms: Float64[np.ndarray, f"rows {DRAWS}"],
  regions: Float32[np.ndarray, "rows 4"],
  scale: tuple[float, float] = (0.5, 1.0),
  ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Float32[np.ndarray, "rows 4"]:
  """Draws crops as torchvision's RandomResizedCrop does, each in its region.

  Ten tries of an area uniform in `scale` and an aspect log-uniform in `ratio`;
  if none fits, the largest central crop with an aspect in `ratio`.

  Args:
    uniforms: random numbers in [0, 1).
    regions: rectangles with whole-pixel bounds.
    scale: least and greatest share of a region's area.
    ratio: least and greatest width / height.

  Returns:
    Rectangles with whole-pixel bounds inside their regions.
  """
  left, top, right, bottom = regions.astype(np.int64).T
  width, height = right - left, bottom - top
  area, aspect, across, down = uniforms.reshape(len(regions), TRIES, 4).T
  area = width * height * (scale[0] + (scale[1] - scale[0]) * area)
  low, high = np.log(ratio)
  aspect = np.exp(low + (high - low) * aspect)
  w, h = (np.rint(np.sqrt(x)) for x in (area * aspect, area / aspect))
  fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
  x, y = np.floor(across * (width - w + 1)), np.floor(down * (height - h + 1))
  # Where none fits: central, as a try of its own.
  w = np.vstack([w, np.minimum(width, np.rint(height * ratio[1]))])
  h = np.vstack([h, np.minimum(height, np.rint(width / ratio[0]))])
  x = np.vstack([x, (width - w[-1]) // 2])
  y = np.vstack([y, (height - h[-1]) // 2])
  chosen = np.where(fits.any(0), fits.argmax(0), TRIES)
  each = np.arange(len(regions))
  x, y, w, h = (values[chosen, each] for values in (x, y, w, h))
  x, y = left + x, top + y
  return np.stack([x, y, x + w, y + h], axis=1).astype(np.float32)


def center_square(image: Pixels, size: int) -> Pixels:
  """The evaluation crop: short side to `size` (bicubic), centre cut out.

  Done by resizing the central square, which is the same up to the rounding of
  the cut to whole pixels. What is that square already is returned as it is.

  Raises:
    ValueError: an image without pixels.
  """
  height, width, _ = image.shape
  check_size(width, height)
  if height == width == size:
    return image
  side = min(height, width)
  left, top = (width - side) // 2, (height - side) // 2
  square = Image.fromarray(image).resize(
    (size, size),
    Image.Resampling.BICUBIC,
    box=(left, top, left + side, top + side),
  )
  return np.asarray(square)


def _orientation(image: Image.Image) -> int:
  if image.format == "TIFF":
    return 1  # Pillow turns it by itself
  found = image.getexif().get(ExifTags.Base.Orientation, 1)
  return found if found in range(1, 9) else 1


def _span(start: float, stop: float, length: int) -> tuple[int, int]:
  """Whole pixels of a fractional interval, rounded outwards."""
  # The slack keeps 0.07 * 100 = 7.000000000000001 from touching pixel 7.
  first = min(math.floor(start * length + 1e-6), length - 1)
  return first, max(math.ceil(stop * length - 1e-6), first + 1)
