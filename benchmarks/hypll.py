"""The work of `benchmarks.layers` in HypLL, one thread of torch.

Needs `hypll` (measured with 0.1.1) and torch.
"""

from collections.abc import Callable

import hypll.nn as hnn  # pyright: ignore[reportMissingImports]
import numpy as np
import torch
from hypll.manifolds.poincare_ball import (  # pyright: ignore[reportMissingImports]
  Curvature,
  PoincareBall,
)
from hypll.optim import RiemannianAdam  # pyright: ignore[reportMissingImports]
from hypll.tensors import (  # pyright: ignore[reportMissingImports]
  ManifoldTensor,
  TangentTensor,
)
from torch import nn

Call = Callable[[], None]


def ball(curv: float) -> PoincareBall:
  """Makes a ball of a fixed curvature."""
  return PoincareBall(Curvature(value=curv, constraining_strategy=lambda c: c))


def layer(name: str, inputs: np.ndarray, curv: float) -> Call | None:
  """Makes a call of forward and backward of a layer.

  Args:
    name: name of the layer in `benchmarks.layers`.
    inputs: tangent vectors at the root, channels last.
    curv: c of the ball.

  Returns:
    Call; None if HypLL has no such layer.
  """
  torch.set_num_threads(1)
  own, width = ball(curv), inputs.shape[-1]
  z, r = nn.Parameter(torch.randn(width, 100) / width**0.5), torch.zeros(100)
  r = nn.Parameter(r)
  make = {
    "dense": lambda: hnn.HLinear(512, 512, own),
    "conv": lambda: hnn.HConvolution2d(16, 16, 3, own, padding=1),
    "batch norm": lambda: hnn.HBatchNorm2d(16, own, use_midpoint=True),
    "batch norm, frechet": lambda: hnn.HBatchNorm2d(16, own),
    "relu": lambda: hnn.HReLU(own),
    "residual": lambda: lambda x: own.mobius_add(x, _turned(x)),
    "avg pool": lambda: hnn.HAvgPool2d(
      (2, 2), own, stride=(2, 2), use_midpoint=True
    ),
    "max pool": lambda: hnn.HMaxPool2d(2, own, stride=2),
    "mlr": lambda: (
      lambda x: own.hyperplane_dists(
        x, ManifoldTensor(z, manifold=own, man_dim=0), r
      )
    ),
  }
  if name not in make:
    return None
  module = make[name]()
  u = torch.tensor(inputs)
  u = u if u.ndim == 2 else u.permute(0, 3, 1, 2).contiguous()

  def call() -> None:
    points = own.expmap(TangentTensor(u, manifold=own, man_dim=1))
    points.tensor = points.tensor.detach().requires_grad_()
    out = module(points)
    out = out if isinstance(out, torch.Tensor) else out.tensor
    (out**2).sum().backward()

  return call


def _turned(x: ManifoldTensor) -> ManifoldTensor:
  return ManifoldTensor(x.tensor.flip(0), manifold=x.manifold, man_dim=1)


class _Block(nn.Module):
  """The residual block of HypLL's tutorial on Poincare ResNet."""

  def __init__(self, inputs: int, outputs: int, stride: int, own: PoincareBall):
    super().__init__()
    self.own = own
    self.relu = hnn.HReLU(own)
    self.conv1 = hnn.HConvolution2d(
      inputs, outputs, 3, own, stride=stride, padding=1
    )
    self.norm1 = hnn.HBatchNorm2d(outputs, own, use_midpoint=True)
    self.conv2 = hnn.HConvolution2d(outputs, outputs, 3, own, padding=1)
    self.norm2 = hnn.HBatchNorm2d(outputs, own, use_midpoint=True)
    self.skip = (
      hnn.HConvolution2d(inputs, outputs, 1, own, stride=stride)
      if stride > 1
      else None
    )

  def forward(self, x: ManifoldTensor) -> ManifoldTensor:
    """Applies the block."""
    y = self.relu(self.norm1(self.conv1(x)))
    y = self.norm2(self.conv2(y))
    skip = self.skip(x) if self.skip else x
    return self.relu(self.own.mobius_add(y, skip))


class _ResNet(nn.Module):
  """Poincare ResNet as in HypLL's tutorial, of the published sizes."""

  def __init__(self, depth: int, widths: tuple[int, ...], own: PoincareBall):
    super().__init__()
    self.own = own
    blocks, before = [], widths[0]
    for group, width in enumerate(widths):
      for number in range((depth - 2) // 6):
        stride = 2 if group and not number else 1
        blocks.append(_Block(before, width, stride, own))
        before = width
    self.layers = nn.Sequential(
      hnn.HConvolution2d(3, widths[0], 3, own, padding=1),
      hnn.HBatchNorm2d(widths[0], own, use_midpoint=True),
      hnn.HReLU(own),
      *blocks,
    )
    self.pool = hnn.HAvgPool2d((8, 8), own, stride=(8, 8), use_midpoint=True)
    self.head = hnn.HLinear(widths[-1], 10, own)

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    """Computes logits."""
    tangents = TangentTensor(images, manifold=self.own, man_dim=1)
    x = self.pool(self.layers(self.own.expmap(tangents)))
    x = ManifoldTensor(x.tensor.flatten(1), manifold=self.own, man_dim=-1)
    return self.own.logmap(None, self.head(x)).tensor


def resnet_step(images: np.ndarray, labels: np.ndarray) -> Call:
  """Makes one training step of Poincare ResNet-20 with Adam.

  Args:
    images: batch, channels last.
    labels: classes.

  Returns:
    Call.
  """
  torch.set_num_threads(1)
  net = _ResNet(20, (8, 16, 32), ball(0.1))
  optimizer = RiemannianAdam(net.parameters(), lr=1e-3)
  x = torch.tensor(images).permute(0, 3, 1, 2).contiguous()
  y = torch.tensor(labels)

  def call() -> None:
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()

  return call
