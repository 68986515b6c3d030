"""Flax Linen layers of hyperbolic networks.

Points go in and out by their space components (`geometry.lorentz`), along the
last axis, after any others; the curvature is the second argument. The Poincare
layers compute what those of HypLL do: `geometry.poincare.to_lorentz` and
`from_lorentz` are the way from and to its balls.
"""

from hyperclip_jax.geometry.beta import concatenate, flatten
from hyperclip_jax.nn.hyperbolic.attention import (
  LorentzAttention,
  LorentzBlock,
  lorentz_attention,
)
from hyperclip_jax.nn.hyperbolic.conv import LorentzConv, PoincareConv
from hyperclip_jax.nn.hyperbolic.curvature import Curvature
from hyperclip_jax.nn.hyperbolic.embed import Embedding
from hyperclip_jax.nn.hyperbolic.linear import (
  LorentzDense,
  LorentzMLR,
  MaxSeparationMLR,
  PoincareDense,
  PoincareMLR,
)
from hyperclip_jax.nn.hyperbolic.norm import BatchNorm
from hyperclip_jax.nn.hyperbolic.points import labels, point_param
from hyperclip_jax.nn.hyperbolic.pool import avg_pool, global_avg_pool, max_pool
from hyperclip_jax.nn.hyperbolic.tangent import (
  centroid_residual,
  change_curvature,
  from_tangent,
  in_tangent,
  relu,
  residual,
  to_tangent,
)

__all__ = [
  "BatchNorm",
  "Curvature",
  "Embedding",
  "LorentzAttention",
  "LorentzBlock",
  "LorentzConv",
  "LorentzDense",
  "LorentzMLR",
  "MaxSeparationMLR",
  "PoincareConv",
  "PoincareDense",
  "PoincareMLR",
  "avg_pool",
  "centroid_residual",
  "change_curvature",
  "concatenate",
  "flatten",
  "from_tangent",
  "global_avg_pool",
  "in_tangent",
  "labels",
  "lorentz_attention",
  "max_pool",
  "point_param",
  "relu",
  "residual",
  "to_tangent",
]
