"""Images on the host: decoding, crops of boxes, and fixed-size canvases.

The host only decodes, cuts and pads. The costly resampling is left to the
device (`augment.py`), which receives canvases and crop rectangles.
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

# file suffixes that `decode` reads
SUFFIXES = (
  *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm"),
  ".avif",
)

TRIES = 10  # attempts at a random crop
DRAWS = 4 * TRIES  # random numbers for them

# Formats that Pillow may open. Others are rare, and some (EPS) run programs.
_FORMATS = (
  *("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"),
  *(
    ("AVIF",) if "avif" in features.get_supported_modules() else ()
  ),  # by how Pillow was built
)
# One of these is in every file that has an orientation.
_TURNED = (b"Exif", b"eXIf", b"EXIF", b"irot", b"imir")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# Decoding an image of 50 megapixels takes up to a gigabyte, and there may be a
# decoder in each of 16 threads.
_MEMORY = Budget(2 << 30)
_SMALL = 1 << 20  # pixels that are decoded without asking for memory
_JPEG_BYTES, _OTHER_BYTES = 9, 20  # a pixel: progressive; RGBA onto white


def decode(
  data: bytes,
  min_side: int = 0,
  room: Pixels | None = None,
  upright: bool = False,
) -> Pixels:
  """Decodes an image to RGB, with transparency onto white.

  Args:
    data: JPEG, PNG, WebP, GIF (first frame), BMP, TIFF, PPM or AVIF. A JPEG
      with harmless defects is read, see `jpegs`; a truncated one is not.
    min_side: if positive, a JPEG may be decoded at 1/2 to 1/8 of its size, as
      long as its short side keeps this many pixels, which is faster.
    room: array to decode a JPEG of exactly this size into and to return.
    upright: whether to turn the image as its EXIF orientation says, like
      viewers. By default the pixels are those stored, to which boxes refer.

  Returns:
    uint8 pixels (height, width, 3).

  Raises:
    ImageError: the data are damaged or of an unknown format.
    TooLargeError: the image has more than `MAX_PIXELS` according to its header;
      nothing is decoded.
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
    unknown = isinstance(
      error, UnidentifiedImageError
    )  # its message names a BytesIO
    reason = _unknown(data) if unknown else error
    raise ImageError(
      f"cannot decode {len(data)} bytes that start with {data[:8]!r}: {reason}"
    ) from error


def _jpeg(data: bytes, min_side: int, room: Pixels | None) -> Pixels:
  """Decodes a JPEG; raises ValueError with libjpeg's message on any warning."""
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
  """Decodes any other format with Pillow."""
  with _opened(data) as image:
    pixels = check_size(*image.size)
    with _memory(pixels * _OTHER_BYTES):
      return np.array(to_rgb(image))


def _memory(count: int) -> contextlib.AbstractContextManager[None]:
  """Reserves memory for a decoder, unless it needs little."""
  if count < _SMALL * _JPEG_BYTES:
    return contextlib.nullcontext()
  return _MEMORY.taken(count)


def _opened(data: bytes) -> Image.Image:
  if data.startswith(pngs.START):
    data = pngs.without_texts(data)
  return Image.open(io.BytesIO(data), formats=_FORMATS)


def _unknown(data: bytes) -> str:
  """Describes bytes that no decoder recognises."""
  if data[4:8] == b"ftyp" and data[8:12] in _HEIC and b"avif" not in data[:64]:
    return "HEIC, which is not read: convert it to JPEG or PNG"
  return f"none of {', '.join(_FORMATS)}"


def size(data: bytes, upright: bool = False) -> tuple[int, int]:
  """Reads the size that `decode` would return, from the header alone.

  Args:
    data: encoded image.
    upright: whether to turn the image as its EXIF orientation says.

  Returns:
    Width and height in pixels.

  Raises:
    ImageError: the header is damaged or of an unknown format.
  """
  found = jpegs.size(data) if data.startswith(jpegs.START) else None
  try:
    if found is None:
      with _opened(data) as image:
        found = image.size
  except Exception as error:  # decoders raise nearly anything on bad bytes
    raise ImageError(f"no image header in {len(data)} bytes") from error
  if upright and orientation(data) >= 5:
    return found[1], found[0]
  return found


def orientation(data: bytes) -> int:
  """Returns the EXIF orientation of an encoded image, 1 to 8; 1 is upright."""
  if not any(mark in data for mark in _TURNED):
    return 1  # nearly all images; skips the parser
  try:
    with _opened(data) as image:
      return _orientation(image)
  except Exception:  # damaged bytes, which `decode` will report
    return 1


def turned(image: Pixels, orientation: int) -> Pixels:
  """Turns and mirrors an image according to an EXIF orientation.

  Args:
    image: pixels as stored.
    orientation: EXIF orientation, 1 to 8.

  Returns:
    Upright pixels, possibly a view.
  """
  if orientation >= 5:
    image = image.transpose(1, 0, 2)
  if orientation in (2, 3, 6, 7):
    image = image[:, ::-1]
  if orientation in (3, 4, 7, 8):
    image = image[::-1]
  return np.ascontiguousarray(image)


def crop(image: Pixels, box: Box) -> Pixels:
  """Cuts out the pixels that a box touches, at least one.

  Args:
    image: pixels.
    box: x1, y1, x2, y2 as fractions of the image.

  Returns:
    View of the image.

  Raises:
    ValueError: the image is empty.
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
  """Puts an image at the top left of a square canvas, shrunk if necessary.

  Args:
    image: image of any size. A long side above the canvas is shrunk to it
      (bicubic after a box filter); smaller images keep their size. It may share
      memory with the canvas.
    canvas: array to fill, zero outside of the region.
    white_border: whether to centre the image on a white square of its long side
      first, as in HyCoCLIP's processed shards.

  Returns:
    Region of the canvas that holds the image or the white square.

  Raises:
    ValueError: the image is empty.
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
  """Draws crops like torchvision's RandomResizedCrop, each in its region.

  There are ten attempts with an area uniform in `scale` and an aspect ratio
  log-uniform in `ratio`; if none fits, the crop is the largest central one with
  an aspect ratio in `ratio`.

  Args:
    uniforms: random numbers in [0, 1).
    regions: rectangles with whole-pixel bounds.
    scale: smallest and largest fraction of a region's area.
    ratio: smallest and largest width / height.

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
  # The central crop is one more attempt, which always fits.
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
  """Crops an image for evaluation: short side to `size`, then the centre.

  The central square is resized (bicubic), which is the same up to rounding of
  the crop to whole pixels.

  Args:
    image: pixels.
    size: side of the square in pixels.

  Returns:
    Square (size, size, 3); the image itself if it is such a square already.

  Raises:
    ValueError: the image is empty.
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
    return 1  # Pillow has turned it already
  found = image.getexif().get(ExifTags.Base.Orientation, 1)
  return found if found in range(1, 9) else 1


def _span(start: float, stop: float, length: int) -> tuple[int, int]:
  """Rounds a fractional interval outwards to whole pixels."""
  # The slack keeps 0.07 * 100 = 7.000000000000001 from touching pixel 7.
  first = min(math.floor(start * length + 1e-6), length - 1)
  return first, max(math.ceil(stop * length - 1e-6), first + 1)
