"""Compares flat and hyperbolic heads on digits and shapes, over three seeds.

  python -m benchmarks.heads --output DIR [--seeds 0 1 2] [--data digits shapes]

A small network, whose convolutions have windows that tile the image, ends in
features of 2, 3, 8 or 64 dimensions, and these in logits by a flat, Poincare or
Lorentz head, with or without maximum separation: then a dense layer of the
head's geometry leads to C - 1 dimensions, and the rest is fixed.

Training sees 8 of the 10 digits, and 84 of the 96 coloured shapes; images of
the other classes are the unknown ones, which the energy of the logits is to
tell from known ones. "long tail" are classes that fall off exponentially to 1 /
50 of the largest (shapes) or 1 / 100 (digits), tested on balanced ones.

The same command again continues where it was stopped. DIR/heads.json has all
numbers, DIR/heads.md means and sample standard deviations over the seeds; both
are written after every run. Curvature is -1 throughout, Adam at 2e-3 falls to 0
by a cosine, and nothing was tuned for any head.
"""

import argparse
import datetime
import functools
import io
import json
import pathlib
import statistics
import tarfile
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from hyperclip_jax.data import long_tail
from hyperclip_jax.data.embedded import digits, shapes
from hyperclip_jax.data.records import images
from hyperclip_jax.evals.metrics import hierarchy
from hyperclip_jax.evals.metrics.open_set import open_set
from hyperclip_jax.evals.metrics.out_of_distribution import detection, energy
from hyperclip_jax.files import write_whole
from hyperclip_jax.nn import hyperbolic
from hyperclip_jax.nn.separation import MaxSeparation

HEADS = ("flat", "poincare", "lorentz")
DIMS = (2, 3, 8, 64)
BATCH, CURV = 128, 1.0
MEASURES = {
  "top1": "top-1",
  "auroc": "AUROC of energy",
  "fpr95": "FPR95 of energy",
  "oscr": "OSCR",
  "tie": "TIE",
}


class Data(NamedTuple):
  """A data set.

  Attributes:
    x: images to train on, in [-1, 1].
    y: their classes.
    val_x: images to test on.
    val_y: their classes.
    other: images of classes that training does not see.
    names: names of the classes.
    steps: number of training steps.
    imbalance: of the long tail.
  """

  x: np.ndarray
  y: np.ndarray
  val_x: np.ndarray
  val_y: np.ndarray
  other: np.ndarray
  names: Sequence[str]
  steps: int
  imbalance: float


class Net(nn.Module):
  """Maps images to logits.

  Attributes:
    classes: number of classes.
    head: one of HEADS.
    separated: whether the last layer has maximum separation.
    dim: dimensions of the features.
  """

  classes: int
  head: str
  separated: bool
  dim: int

  @nn.compact
  def __call__(self, x):
    for window, width in zip(windows(x.shape[1]), (64, 128, 128), strict=False):
      b, h, w, c = x.shape
      x = x.reshape(b, h // window, window, w // window, window, c)
      x = x.swapaxes(2, 3).reshape(b, h // window, w // window, -1)
      x = nn.gelu(nn.Dense(width)(x))
    x = nn.gelu(nn.Dense(128)(x.reshape(len(x), -1)))
    return self._logits(nn.Dense(self.dim)(x))

  def _logits(self, u):
    last = self.classes - 1
    if self.head == "flat":
      if not self.separated:
        return nn.Dense(self.classes)(u)
      return MaxSeparation(self.classes)(nn.Dense(last)(u))
    kinds = {
      "poincare": (hyperbolic.PoincareDense, hyperbolic.PoincareMLR),
      "lorentz": (hyperbolic.LorentzDense, hyperbolic.LorentzMLR),
    }
    dense, mlr = kinds[self.head]
    point = hyperbolic.from_tangent(u, CURV)
    if not self.separated:
      return mlr(self.classes)(point, CURV)
    return hyperbolic.MaxSeparationMLR(self.classes)(
      dense(last)(point, CURV), CURV
    )


def windows(side: int) -> tuple[int, ...]:
  """Sides of the windows of each layer."""
  return (2, 2) if side == 8 else (4, 2, 2)


def of_digits(folder: pathlib.Path) -> Data:
  """Returns scikit-learn's digits, of which 8 and 9 are unknown."""
  del folder
  found = digits.load()
  known, val_known = found.train_labels < 8, found.val_labels < 8

  def scaled(x):
    return (x[..., None] / 127.5 - 1).astype(np.float32)

  return Data(
    scaled(found.train[known]),
    found.train_labels[known],
    scaled(found.val[val_known]),
    found.val_labels[val_known],
    scaled(found.val[~val_known]),
    digits.NAMES[:8],
    steps=500,
    imbalance=0.01,
  )


def of_shapes(folder: pathlib.Path) -> Data:
  """Draws single shapes; those of `shapes.HELD_OUT` are unknown."""
  path = folder / "shapes"
  shapes.generate(path, train=0, val=0, objects=96 * 70, image_size=32)
  x, y = [], []
  for shard in sorted((path / "objects").glob("*.tar")):
    with tarfile.open(shard) as tar:
      for member in tar:
        data = (tar.extractfile(member) or io.BytesIO()).read()
        if member.name.endswith(".jpg"):
          x.append(images.decode(data))
        elif member.name.endswith(".json"):
          y.append(json.loads(data)["label"])
  pixels = (np.stack(x) / 127.5 - 1).astype(np.float32)
  seen = np.array([label in shapes.SEEN for label in y])
  number = {name: i for i, name in enumerate(shapes.SEEN)}
  labels = np.array([number.get(label, -1) for label in y])
  train = seen & (np.arange(len(y)) < 96 * 50)
  return Data(
    pixels[train],
    labels[train],
    pixels[seen & ~train],
    labels[seen & ~train],
    pixels[~seen & (np.arange(len(y)) >= 96 * 50)],
    shapes.SEEN,
    steps=400,
    imbalance=0.02,
  )


DATA = {"digits": of_digits, "shapes": of_shapes}


@functools.cache
def trainer(net: Net, steps: int) -> Callable[..., tuple[Any, Any]]:
  """Makes a function (x, y, test images, seed) -> test logits."""
  optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, steps))

  def loss(params, x, y):
    each = optax.softmax_cross_entropy_with_integer_labels(
      net.apply(params, x), y
    )
    return each.mean()

  def run(x, y, test, seed):
    first, rest = jax.random.split(jax.random.key(seed))
    params = net.init(first, x[:1])

    def step(carry, key):
      params, state = carry
      chosen = jax.random.randint(key, (BATCH,), 0, len(x))
      value, grads = jax.value_and_grad(loss)(params, x[chosen], y[chosen])
      updates, state = optimizer.update(grads, state, params)
      return (optax.apply_updates(params, updates), state), value

    start = params, optimizer.init(params)
    keys = jax.random.split(rest, steps)
    (params, _), losses = jax.lax.scan(step, start, keys)
    return net.apply(params, test), losses[-1]

  return jax.jit(run)


def measure(data: Data, logits: np.ndarray) -> dict[str, float]:
  """Measures what test logits are worth, known images before others."""
  known, other = np.split(logits.astype(np.float64), [len(data.val_y)])
  right = known.argmax(axis=1) == data.val_y
  count = np.bincount(data.val_y)
  outside = detection(energy(known), energy(other))
  found = {
    "top1": float(np.mean(np.bincount(data.val_y, right) / count)),
    "auroc": outside["auroc"],
    "fpr95": outside["fpr95"],
    "oscr": open_set(known, data.val_y, other)["oscr"],
  }
  if data.names is shapes.SEEN:
    pairs = [
      [data.names[i] for i in rows]
      for rows in (known.argmax(axis=1), data.val_y)
    ]
    found["tie"] = hierarchy.hierarchy(shapes.hierarchy(), *pairs)["tie"]
  return found


def name_of(kind: str, tail: bool, net: Net, seed: int) -> str:
  """Names a run."""
  how = "long tail" if tail else "balanced"
  head = f"{net.head}{' + separation' * net.separated}"
  return f"{kind}, {how}/{net.dim}/{head}/{seed}"


def table(content: dict[str, Any]) -> str:
  """Formats the Markdown page: for each data set and dimension the heads."""
  groups: dict[str, dict[tuple[str, str], list[dict[str, float]]]] = {}
  for name, found in content["runs"].items():
    data, dim, head, _ = name.split("/")
    groups.setdefault(data, {}).setdefault((dim, head), []).append(found)
  lines = [
    "# Heads",
    "",
    f"{content['date']}, jax {content['jax']}, {content['device']}.",
  ]
  for data, rows in groups.items():
    found = next(iter(rows.values()))[0]
    shown = [name for name in MEASURES if name in found]
    lines += [
      "",
      f"## {data}",
      "",
      f"| dimensions | head | {' | '.join(map(MEASURES.get, shown))} | seeds |",
      f"|{'---|' * (len(shown) + 3)}",
    ]
    for (dim, head), runs in sorted(rows.items(), key=_place):
      cells = [spread([run[name] for run in runs]) for name in shown]
      lines.append(f"| {dim} | {head} | {' | '.join(cells)} | {len(runs)} |")
  return "\n".join(lines) + "\n"


def _place(row: tuple[tuple[str, str], Any]) -> tuple[int, int, int]:
  """Sorts rows by dimension and head."""
  (dim, head), _ = row
  return int(dim), HEADS.index(head.split()[0]), len(head)


def spread(values: Sequence[float]) -> str:
  """Formats a mean and the sample standard deviation."""
  if len(values) < 2:
    return f"{values[0]:.3f}"
  return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def main(argv: Sequence[str] | None = None) -> None:
  """Trains what is missing, and writes the tables."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  add = parser.add_argument
  add("--output", type=pathlib.Path, required=True)
  add("--seeds", nargs="+", type=int, default=[0, 1, 2])
  add("--data", nargs="+", default=[*DATA], choices=[*DATA])
  add("--dims", nargs="+", type=int, default=[*DIMS])
  add("--tail_dims", nargs="+", type=int, default=[8])
  add("--steps", type=int, help="instead of those of the data set")
  flags = parser.parse_args(argv)
  flags.output.mkdir(parents=True, exist_ok=True)
  path = flags.output / "heads.json"
  content = {"runs": {}}
  if path.exists():
    content = json.loads(path.read_text())
  content |= {
    "date": datetime.date.today().isoformat(),
    "jax": jax.__version__,
    "device": jax.devices()[0].device_kind,
  }
  for kind in flags.data:
    data = DATA[kind](flags.output)
    test = jnp.asarray(np.concatenate([data.val_x, data.other]))
    for tail, dims in ((False, flags.dims), (True, flags.tail_dims)):
      kept = long_tail.choose(data.y, data.imbalance if tail else 1.0)
      x, y = jnp.asarray(data.x[kept]), jnp.asarray(data.y[kept])
      for dim in dims:
        for head in HEADS:
          for separated in (False, True):
            net = Net(len(data.names), head, separated, dim)
            run = trainer(net, flags.steps or data.steps)
            for seed in flags.seeds:
              name = name_of(kind, tail, net, seed)
              if name in content["runs"]:
                continue
              logits, last = run(x, y, test, seed)
              found = measure(data, np.asarray(logits))
              content["runs"][name] = found | {"loss": float(last)}
              write_whole(path, json.dumps(content, indent=1) + "\n")
              write_whole(flags.output / "heads.md", table(content))
              print(f"{name}: {found}", flush=True)
  print((flags.output / "heads.md").read_text())


if __name__ == "__main__":
  main()
