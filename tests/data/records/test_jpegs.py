import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from hyperclip_jax.data.records import images, jpegs

END = b"\xff\xd9"


def picture():
  rng = np.random.default_rng(0)
  blocks = np.kron(rng.integers(0, 255, (8, 10, 3)), np.ones((16, 16, 1)))
  noisy = blocks + rng.normal(0, 12, blocks.shape)
  return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def encode(mode="RGB", **options):
  out = io.BytesIO()
  picture().convert(mode).save(out, "JPEG", quality=90, **options)
  return out.getvalue()


KINDS = {
  "sequential": encode(),
  "progressive": encode(progressive=True),
  "restarts": encode(restart_marker_rows=1),
  "progressive restarts": encode(progressive=True, restart_marker_rows=1),
  "grey": encode("L"),
  "grey progressive": encode("L", progressive=True),
  "ink": encode("CMYK"),
  "profile": encode(icc_profile=bytes(100_000)),
}
KIND = pytest.mark.parametrize("data", KINDS.values(), ids=KINDS)


def starts(data):
  """Where the segments of a good file begin."""
  position, found = 2, []
  for _, segment in jpegs._segments(data):
    found.append(position)
    position += len(segment)
  assert position == len(data)
  return found


def is_read(data, as_data):
  found, wanted = images.decode(data), images.decode(as_data)
  return np.array_equal(found, wanted)


@KIND
def test_bytes_between_segments_are_left_out(data):
  for start in starts(data):
    stray = bytes([7, 0, 200, 13, 9, 9, 9, 9, 9])
    assert is_read(data[:start] + stray + data[start:], data), start


@KIND
@pytest.mark.parametrize("count", [1, 10, 1000])
def test_bytes_after_the_pixels_are_left_out(data, count):
  noise = np.random.default_rng(count).bytes(count)
  assert is_read(data[:-2] + noise + END, data)
  assert is_read(data + noise, data)
  assert is_read(data[:-2] + bytes(count), data)


@KIND
def test_an_end_marker_may_be_missing(data):
  assert is_read(data[:-2], data)
  assert is_read(data[:-1], data)


@pytest.mark.parametrize("revision", [b"\0\x01", b"\x03\x00", b"\xff\xff"])
def test_an_unknown_revision_of_jfif_is_read(revision):
  data = KINDS["sequential"]
  at = data.index(b"JFIF\0") + 5
  assert is_read(data[:at] + revision + data[at + 2 :], data)


def test_an_unknown_colour_transform_is_taken_as_libjpeg_does():
  data = encode(keep_rgb=False)
  adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
  plain = data[:2] + adobe + b"\x01" + data[2:]
  assert is_read(data[:2] + adobe + b"\x07" + data[2:], plain)
  ink = KINDS["ink"]
  at = ink.index(b"Adobe") + 11
  assert is_read(ink[:at] + b"\x02" + ink[at + 1 :], ink) or ink[at] == 0


def test_a_sequential_scan_may_name_other_coefficients():
  data = KINDS["sequential"]
  at = data.index(b"\xff\xda")
  end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
  assert is_read(data[: end - 3] + bytes(3) + data[end:], data)


@pytest.mark.parametrize("name", ["progressive", "restarts"])
def test_several_oddities_at_once_are_left_out(name):
  data = KINDS[name]
  first, *_, last = starts(data)
  stray = bytes(range(1, 12))
  odd = data[:first] + stray + data[first:last] + stray
  assert is_read(odd, data)


def test_bytes_before_a_restart_marker_are_left_out():
  data = KINDS["restarts"]
  at = data.index(b"\xff\xd3", data.index(b"\xff\xda"))
  odd = data[:at] + bytes(range(1, 12)) + data[at:]
  with pytest.raises(ValueError, match="extraneous bytes before marker 0xd3"):
    simplejpeg.decode_jpeg(odd)
  assert is_read(odd, data)


@KIND
@pytest.mark.parametrize("tail", [b"", END, bytes(2) + END])
def test_a_cut_file_is_bad(data, tail):
  begin = data.index(b"\xff\xda")
  edges = starts(data)
  for percent in range(5, 100, 5):
    cut = len(data) * percent // 100
    if cut < begin or min(abs(cut - edge) for edge in edges) < 4:
      continue  # a scan may be whole there
    with pytest.raises(images.ImageError):
      images.decode(data[:cut] + tail)


@pytest.mark.parametrize("name", ["progressive", "grey progressive"])
def test_a_file_that_was_cut_between_two_scans_is_bad(name):
  data = KINDS[name]
  begin = data.index(b"\xff\xda")
  for start in starts(data)[:-1]:
    if start > begin:
      with pytest.raises(images.ImageError, match="Premature end"):
        images.decode(data[:start])


def test_random_damage_gives_pixels_or_an_image_error():
  rng = np.random.default_rng(3)
  for data in KINDS.values():
    for _ in range(30):
      damaged = bytearray(data)
      at = int(rng.integers(len(data)))
      damaged[at : at + int(rng.integers(3))] = rng.bytes(rng.integers(5))
      try:
        found = images.decode(bytes(damaged))
      except images.ImageError:
        continue
      assert found.dtype == np.uint8


def test_a_good_file_is_decoded_once():
  seen = []
  assert jpegs.decode(b"good", lambda data: seen.append(data) or 7) == 7
  assert seen == [b"good"]


def test_the_first_reason_is_told():
  def refuse(data):
    raise ValueError(f"reason {len(data)}")

  data = KINDS["sequential"]
  with pytest.raises(ValueError, match=f"reason {len(data) + 3}"):
    jpegs.decode(data + bytes(3), refuse)


def test_tries_are_few():
  tries = []

  def refuse(data):
    tries.append(data)
    raise ValueError(f"{len(tries)} extraneous bytes before marker 0xd3")

  with pytest.raises(ValueError, match="1 extraneous"):
    jpegs.decode(KINDS["restarts"], refuse)
  assert len(tries) < 40


def test_without_exif_keeps_all_else():
  exif = Image.Exif()
  exif[0x112] = 6
  data = encode(exif=exif, comment=b"kept")
  assert images.orientation(data) == 6
  bare = jpegs.without_exif(data)
  assert images.orientation(bare) == 1
  assert b"kept" in bare
  assert is_read(bare, data)
  assert jpegs.without_exif(bare) == bare
