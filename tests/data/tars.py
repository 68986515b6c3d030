"""Small tars laid out as the real shards are."""

import io
import json
import tarfile

import numpy as np
import simplejpeg
from PIL import Image


def jpeg(seed=0, height=48, width=64):
  """A small JPEG of smooth colours that differ from seed to seed."""
  rng = np.random.default_rng(seed)
  coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
  pixels = np.kron(coarse, np.ones((-(-height // 4), -(-width // 4), 1)))
  pixels = pixels[:height, :width].astype(np.uint8)
  return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 95)


def turned(jpeg):
  """A JPEG that is to be shown turned by 90 degrees."""
  exif = Image.Exif()
  exif[0x112] = 6
  segment = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
  size = (len(segment) + 2).to_bytes(2, "big")
  return jpeg[:2] + b"\xff\xe1" + size + segment + jpeg[2:]


def write_tar(path, members, tar_format=tarfile.GNU_FORMAT):
  """Writes (name, bytes) pairs in order; returns the path as a string."""
  with tarfile.open(path, "w", format=tar_format) as tar:
    for name, data in members:
      info = tarfile.TarInfo(name)
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))
  return str(path)


def grit_meta(**fields):
  """The JSON of a raw GRIT record, as img2dataset writes it."""
  return {
    "caption": "a red ball on a wooden table",
    "noun_chunks": [
      [0.0, 10.0, 0.0, 0.0, 0.5, 0.5, 0.99],
      [14.0, 28.0, 0.1, 0.2, 1.0, 1.0, 0.9],
    ],
    "ref_exps": [[0.0, 28.0, 0.0, 0.0, 1.0, 1.0, 0.8]],
    "key": "000000001",
    "width": 512,
    "height": 384,
    "url": "http://example.com/1.jpg",
    "clip_similarity_vitb32": 0.3,
    "clip_similarity_vitl14": 0.2,
    "id": 1,
  } | fields


def raw_members(key, seed=0, **fields):
  meta = grit_meta(**fields)
  return [
    (f"{key}.jpg", jpeg(seed)),
    (f"{key}.json", json.dumps(meta).encode()),
    (f"{key}.txt", str(meta["caption"]).encode(errors="replace")),
  ]


def processed_members(key, caption="a red ball", parents=("a ball", "red")):
  members = [
    (f"{key}.child.jpg", jpeg()),
    (f"{key}.child.txt", caption.encode()),
    (f"{key}.numparents.txt", str(len(parents)).encode()),
  ]
  for i, text in enumerate(parents):
    members += [
      (f"{key}.parent{i:03d}.jpg", jpeg(i + 1)),
      (f"{key}.parent{i:03d}.txt", text.encode()),
    ]
  return members


def prepared_members(key, caption="a red ball", parts=("a ball",), crops=False):
  content = {
    "key": f"source/{key}",
    "caption": caption,
    "width": 64,
    "height": 48,
    "parts": [{"text": text, "box": [0.25, 0.0, 0.75, 1.0]} for text in parts],
    "meta": {"url": "http://example.com/1.jpg"},
  }
  members = [
    (f"{key}.jpg", jpeg()),
    (f"{key}.parts.json", json.dumps(content).encode()),
  ]
  if crops:
    members += [
      (f"{key}.part{i:03d}.jpg", jpeg(i + 1)) for i in range(len(parts))
    ]
  return members
