"""Compares the loader with the official data pipeline on one core.

  python -m benchmarks.loader [--side 224] [--records 512] [--rounds 5]
    [--output FILE.json]

Four ways to read the same processed shard run in every round, on one core;
medians of samples per second over rounds:

- loader: this library's batches in full (read, decode, boxes, tokens).
- prepared: the same of a prepared shard of such images, where each is stored
  once and its parts are boxes.
- official: the official pipeline, rebuilt with Pillow: read the tar, decode the
  child and every parent, random resized crop to 224 of the child and of one
  parent, float arrays; texts are not tokenised.
- decode: only the two JPEGs of each sample to pixels.
- edited, unedited: prepared shards as CLIP-Rocket's three views of an image and
  three texts, with and without its edits of texts (where there is `--wordnet`).

The images are crops of photographs that ship with scikit-image.
"""

import argparse
import io
import itertools
import json
import os
import pathlib
import resource
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
import simplejpeg
from PIL import Image

from hyperclip_jax.data.embedded import photos
from hyperclip_jax.data.feed import pipeline
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.data.feed.place import Form
from hyperclip_jax.data.feed.tokenizer import Tokenizer
from hyperclip_jax.data.feed.views import Display, View, choose, whole
from hyperclip_jax.data.prepare import run
from hyperclip_jax.data.prepare.manifest import Options
from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.record import Part, Record
from hyperclip_jax.data.records.shards import TarSource
from hyperclip_jax.training import build, sharding
from hyperclip_jax.training import config as config_lib

CROP = 224  # side in pixels of the official pipeline's crops
BATCH = 64
# A shuffle of few records is slow, since it is designed for many.
COPIES = 50


def write_processed(path: pathlib.Path, records: int, side: int) -> None:
  """Writes HyCoCLIP's layout: squares, JPEG 95, 1 to 4 parents (mean 1.9).

  Args:
    path: tar to write.
    records: number of records.
    side: side of the images in pixels.
  """
  rng = np.random.default_rng(0)
  source = TarSource([str(photos.write(path.parent / "photos"))])
  found = [source[i] for i in range(len(source))]
  pictures = [images.decode(record.image) for record in found]
  with tarfile.open(path, "w") as tar:
    for i in range(records):
      which = int(rng.integers(len(found)))
      photo, key = pictures[which], f"{i:09d}"
      parents = int(rng.choice(4, p=(0.41, 0.37, 0.13, 0.09))) + 1
      _add(tar, f"{key}.child.jpg", _cut(rng, photo, 0.95, side))
      _add(tar, f"{key}.child.txt", found[which].caption.encode())
      _add(tar, f"{key}.numparents.txt", str(parents).encode())
      for j in range(parents):
        _add(tar, f"{key}.parent{j:03d}.jpg", _cut(rng, photo, 0.6, side))
        _add(tar, f"{key}.parent{j:03d}.txt", f"a part {j}".encode())


def write_raw(path: pathlib.Path, processed: pathlib.Path) -> None:
  """Writes the images of a processed shard as raw GRIT with random boxes.

  Args:
    path: tar to write.
    processed: processed shard, which has as many parents as boxes.
  """
  rng = np.random.default_rng(1)
  source = TarSource([str(processed)])
  with tarfile.open(path, "w") as tar:
    for i in range(len(source)):
      record = source[i]
      rows = []
      for j in range(len(record.parts)):
        left, top = rng.uniform(0, 0.4, 2).tolist()
        rows.append([j, j + 4, left, top, left + 0.6, top + 0.6, 1.0])
      height, width = images.decode(record.image).shape[:2]
      fields = {"caption": record.caption, "width": width, "height": height}
      text = json.dumps(fields | {"noun_chunks": rows, "key": record.key})
      _add(tar, f"{record.key}.jpg", record.image)
      _add(tar, f"{record.key}.json", text.encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
  info = tarfile.TarInfo(name)
  info.size = len(data)
  tar.addfile(info, io.BytesIO(data))


def _cut(
  rng: np.random.Generator, photo: np.ndarray, share: float, side: int
) -> bytes:
  """Cuts a random square out of a photograph, as a JPEG of `side` pixels."""
  cut = int(min(photo.shape[:2]) * share)
  top, left = (int(rng.integers(n - cut + 1)) for n in photo.shape[:2])
  square = Image.fromarray(photo[top : top + cut, left : left + cut])
  resized = square.resize((side, side), Image.Resampling.BICUBIC)
  return simplejpeg.encode_jpeg(np.array(resized), 95, colorsubsampling="420")


def loader(
  source: TarSource, count: int, side: int, display: Display
) -> Callable[[], None]:
  """Makes a function that takes `count` samples of the loader, in one thread.

  Args:
    source: records.
    count: number of samples in each call.
    side: side of the canvases in pixels.
    display: what is shown of a record.

  Returns:
    Function to time.
  """
  make = pipeline.MakeBatch(
    [source],
    Faults(0.0),
    display,
    form=Form(side),
    tokenizer=Tokenizer(),
  )
  batches = pipeline.batches(
    [source],
    make,
    weights=(1.0,),
    batch_size=BATCH,
    seed=0,
    examples_seen=0,
    threads=1,
    prefetch=1,
  )

  def work() -> None:
    for _ in itertools.islice(batches, count // BATCH):
      pass

  return work


def rocket(wordnet: str) -> Display:
  """Makes the views of CLIP-Rocket.

  Args:
    wordnet: folder of WordNet's files for the edits; "" for none.

  Returns:
    Views, and how they are filled.
  """
  config = config_lib.paper("rocket", "S")
  edits = {"stop_words": 0.0, "swap": 0.0, "delete": 0.0, "keep": 1.0}
  if wordnet:
    edits = {"synonym": 0.4, "wordnet": wordnet}
  config.model.edits.update(edits)
  task = build.task(config, sharding.make_mesh())
  return Display(task.views, task.draws, task.show)


def _show(record: Record, numbers: np.ndarray) -> dict[str, list[Part]]:
  """Selects the whole image and one of its parts, as in HyCoCLIP."""
  one = whole(record)
  return {"whole": [one], "part": choose(record.parts or (one,), numbers)}


def official(path: pathlib.Path, rng: np.random.Generator) -> None:
  """Reads a shard like HyCoCLIP's own pipeline, which decodes every parent.

  Args:
    path: processed shard.
    rng: random numbers of the crops.
  """
  for members in _groups(path):
    child = Image.open(io.BytesIO(members["child.jpg"])).convert("RGB")
    count = int(members["numparents.txt"])
    parents = [
      Image.open(io.BytesIO(members[f"parent{i:03d}.jpg"])).convert("RGB")
      for i in range(count)
    ]
    texts = [members[f"parent{i:03d}.txt"].decode() for i in range(count)]
    chosen = int(rng.integers(count))
    texts[chosen].lower()
    for image in (child, parents[chosen]):
      crop = _random_resized_crop(rng, *image.size)
      view = image.resize((CROP, CROP), Image.Resampling.BICUBIC, box=crop)
      array = np.asarray(view).transpose(2, 0, 1)
      np.divide(np.ascontiguousarray(array), 255, dtype=np.float32)


def _random_resized_crop(
  rng: np.random.Generator, width: int, height: int
) -> tuple[int, int, int, int]:
  """Draws torchvision's crop, for a square that every first attempt fits."""
  area = width * height * rng.uniform(0.5, 1.0)
  aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
  w = min(width, round(np.sqrt(area * aspect)))
  h = min(height, round(np.sqrt(area / aspect)))
  left, top = (
    int(rng.integers(width - w + 1)),
    int(rng.integers(height - h + 1)),
  )
  return left, top, left + w, top + h


def _groups(path: pathlib.Path) -> Iterator[dict[str, bytes]]:
  """Streams the records of a tar like webdataset."""
  with tarfile.open(path, "r|") as tar:
    named = ((m.name.split(".", 1), tar.extractfile(m)) for m in tar)
    read = ((name, file.read()) for name, file in named if file)
    for _, rows in itertools.groupby(read, lambda row: row[0][0]):
      yield {name[1]: data for name, data in rows}


def decode(pairs: list[tuple[bytes, bytes]]) -> None:
  """Decodes two JPEGs for each sample."""
  for pair in pairs:
    for data in pair:
      simplejpeg.decode_jpeg(data)


def rate(work: Callable[[], None], count: int) -> float:
  """Measures samples per second of processor time, of all threads together.

  Args:
    work: function to time.
    count: number of samples in a call.

  Returns:
    Samples per second.
  """
  start = time.process_time()
  work()
  time.sleep(0.3)  # waits for as many batches to be made as were taken
  return count / (time.process_time() - start)


def resident() -> float:
  """Returns the resident memory of this process in megabytes."""
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
  return pages * resource.getpagesize() / 2**20


def measure(
  records: int, rounds: int, side: int, wordnet: str
) -> dict[str, float]:
  """Measures all ways, and the growth of memory over an epoch of the loader.

  Args:
    records: number of records in the shard.
    rounds: number of rounds.
    side: side of the images in pixels.
    wordnet: folder of WordNet's files; "" leaves CLIP-Rocket out.

  Returns:
    Medians of samples per second by way, and memory in MB.
  """
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "00000.tar"
    write_processed(path, records, side)
    raw = pathlib.Path(folder) / "raw.tar"
    write_raw(raw, path)
    run.prepare([str(raw)], f"{folder}/prepared", Options())
    processed = TarSource([str(path)] * COPIES)
    prepared = TarSource([f"{folder}/prepared/00000.tar"] * COPIES)
    pairs = [
      (processed[i].image, processed[i].parts[0].crop or b"")
      for i in range(records)
    ]
    rng = np.random.default_rng(0)
    two = Display({"whole": View(), "part": View()}, 1, _show)
    ways: dict[str, Callable[[], None]] = {
      "loader": loader(processed, records, side, two),
      "prepared": loader(prepared, records, side, two),
      "official": lambda: official(path, rng),
      "decode": lambda: decode(pairs),
    }
    if wordnet:
      ways |= {
        "edited": loader(prepared, records, side, rocket(wordnet)),
        "unedited": loader(prepared, records, side, rocket("")),
      }
    for work in ways.values():  # warms up
      work()
      rates = {name: [] for name in ways}
    for _ in range(rounds):
      for name, work in ways.items():
        rates[name].append(rate(work, records))
    memory = [(ways["loader"](), resident())[1] for _ in range(COPIES)]
  medians = {name: statistics.median(rows) for name, rows in rates.items()}
  if wordnet:
    medians["edited / unedited"] = medians["edited"] / medians["unedited"]
  return medians | {
    "loader / official": medians["loader"] / medians["official"],
    "loader / decode": medians["loader"] / medians["decode"],
    "prepared / official": medians["prepared"] / medians["official"],
    "prepared / decode": medians["prepared"] / medians["decode"],
    "memory at the epoch's start, MB": memory[0],
    "memory at its end, MB": memory[-1],
    "growth, MB per 1000 samples": 1000
    * np.polyfit(np.arange(COPIES) * records, memory, 1)[0],
  }


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--side", type=int, default=224, help="of the images")
  parser.add_argument("--records", type=int, default=512)
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--wordnet", default="", help="folder of its files")
  parser.add_argument("--output", type=pathlib.Path)
  options = parser.parse_args()
  if options.records % BATCH or options.records < BATCH:
    parser.error(f"--records must be a multiple of {BATCH}")
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
  results = measure(
    options.records, options.rounds, options.side, options.wordnet
  )
  for name, value in results.items():
    print(f"{name:32} {value:10.3f}")
  if options.output:
    options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
  main()
