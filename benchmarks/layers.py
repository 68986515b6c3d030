"""CPU seconds of hyperbolic layers, forward and backward, beside HypLL's.

python -m benchmarks.layers [--calls=N] [--hypll]

One thread, float32, the median after two calls that are not counted. With
--hypll each layer that HypLL has is measured in turn with HypLL's
(`benchmarks.hypll`), which must be installed beside torch. Prints a table of
seconds.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ["XLA_FLAGS"] = " ".join(
  [
    os.environ.get("XLA_FLAGS", ""),
    "--xla_cpu_multi_thread_eigen=false",
    "intra_op_parallelism_threads=1",
  ]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hyperclip_jax.nn import hyperbolic
from hyperclip_jax.nn.hyperbolic import conv, resnet

CURV = 1.0
RESNET = "resnet-20 step"
IMAGE = (32, 32, 32, 16)

# Name -> layer or function of points, shape of its input, size of its tangents.
LAYERS = {
  "dense": (hyperbolic.PoincareDense(512), (256, 512), 0.02),
  "lorentz dense": (hyperbolic.LorentzDense(512), (256, 512), 0.02),
  "conv": (
    hyperbolic.PoincareConv(16, (3, 3), kernel_init=conv.patch_normal),
    IMAGE,
    0.1,
  ),
  "lorentz conv": (hyperbolic.LorentzConv(16, (3, 3)), IMAGE, 0.1),
  "batch norm": (hyperbolic.BatchNorm(use_running_average=False), IMAGE, 0.1),
  "batch norm, frechet": (
    hyperbolic.BatchNorm(use_running_average=False, mean="frechet"),
    IMAGE,
    0.1,
  ),
  "relu": (hyperbolic.relu, IMAGE, 0.1),
  "residual": (
    lambda x, c: hyperbolic.residual(x, x[::-1], c),
    IMAGE,
    0.1,
  ),
  "avg pool": (
    lambda x, c: hyperbolic.avg_pool(x, c, (2, 2), strides=2),
    IMAGE,
    0.1,
  ),
  "max pool": (
    lambda x, c: hyperbolic.max_pool(x, c, (2, 2), strides=2),
    IMAGE,
    0.1,
  ),
  "mlr": (hyperbolic.PoincareMLR(100), (256, 512), 0.02),
  "attention": (hyperbolic.LorentzAttention(4), (16, 64, 64), 0.1),
}


def _inputs(shape, size):
  u = size * np.random.default_rng(0).normal(size=shape).astype(np.float32)
  return u


def _layer(name: str) -> tuple[Callable[[], None], float]:
  """Returns a call of forward and backward, and the time to compile it."""
  layer, shape, size = LAYERS[name]
  x = hyperbolic.from_tangent(jnp.asarray(_inputs(shape, size)), CURV)
  variables, call = {}, layer
  if hasattr(layer, "init"):
    variables = layer.init(jax.random.key(0), x, CURV)

    def call(x, c, params=None):
      values = {**variables, "params": params}
      return layer.apply(values, x, c, mutable=["batch_stats"])[0]

  def loss(params, x):
    y = call(x, CURV, params) if variables else call(x, CURV)
    return jnp.sum(y**2)

  return _compiled(loss, variables.get("params", {}), x)


def _compiled(loss, *arguments):
  start = time.process_time()
  program = jax.jit(jax.grad(loss, (0, 1))).lower(*arguments).compile()
  took = time.process_time() - start
  return lambda: jax.block_until_ready(program(*arguments)), took


def _images() -> tuple[np.ndarray, np.ndarray]:
  """Returns a batch of random images, and labels."""
  rng = np.random.default_rng(0)
  images = rng.normal(size=(32, 32, 32, 3)).astype(np.float32)
  return images, rng.integers(0, 10, 32)


def _resnet_step() -> tuple[Callable[[], None], float]:
  """Returns one training step of Poincare ResNet-20 with Adam."""
  net = resnet.PoincareResNet(num_classes=10)
  images, labels = map(jnp.asarray, _images())
  init = jax.jit(lambda key: net.init(key, images, 0.1, train=False))
  variables = init(jax.random.key(0))
  optimizer = optax.adam(1e-3)

  def step(params, stats, state):
    def loss(params):
      logits, new = net.apply(
        {"params": params, "batch_stats": stats},
        images,
        0.1,
        train=True,
        mutable=["batch_stats"],
      )
      each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      return each.mean(), new["batch_stats"]

    grads, stats_ = jax.grad(loss, has_aux=True)(params)
    updates, state_ = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), stats_, state_

  arguments = (
    variables["params"],
    variables["batch_stats"],
    optimizer.init(variables["params"]),
  )
  start = time.process_time()
  program = jax.jit(step).lower(*arguments).compile()
  took = time.process_time() - start
  return lambda: jax.block_until_ready(program(*arguments)), took


def _theirs(name: str) -> Callable[[], None] | None:
  """Returns the same work in HypLL, or None if it has no such layer."""
  from benchmarks import hypll  # needs hypll and torch

  if name == RESNET:
    return hypll.resnet_step(*_images())
  _, shape, size = LAYERS[name]
  return hypll.layer(name, _inputs(shape, size), CURV)


def _seconds(call: Callable[[], None], calls: int) -> float:
  """Returns the median of CPU seconds, after two calls to warm up."""
  taken = []
  for _ in range(calls + 2):
    start = time.process_time()
    call()
    taken.append(time.process_time() - start)
  return statistics.median(taken[2:])


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--calls", type=int, default=10)
  parser.add_argument("--hypll", action="store_true")
  parser.add_argument("--only", nargs="*", default=[*LAYERS, RESNET])
  flags = parser.parse_args()
  print("| work | here | HypLL | ratio | compiled in |\n|---|---|---|---|---|")
  for name in flags.only:
    ours, compiling = _resnet_step() if name == RESNET else _layer(name)
    theirs = _theirs(name) if flags.hypll else None
    found: list[list[float]] = [[], []]
    for _ in range(2):  # A B A B
      for times, work in zip(found, (ours, theirs), strict=True):
        times += [_seconds(work, flags.calls)] if work else []
    here, there = (statistics.mean(times or [float("nan")]) for times in found)
    row = [f"{here:.4f}", f"{there:.4f}", f"{there / here:.1f}"]
    row = row if theirs else [row[0], "", ""]
    print(f"| {name} | {' | '.join(row)} | {compiling:.1f} |", flush=True)


if __name__ == "__main__":
  main()
