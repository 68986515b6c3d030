"""Detection of images of other distributions, by energy.

Liu et al., Energy-based Out-of-distribution Detection, NeurIPS 2020.
"""

import numpy as np
from jaxtyping import Float

from hyperclip_jax.evals.metrics import ranking
from hyperclip_jax.geometry.numerics import Array, namespace


def energy(
  logits: Float[Array, "n classes"], temperature: float = 1.0
) -> Float[Array, " n"]:
  """Computes -T logsumexp(logits / T), low for images like those of training.

  Args:
    logits: logits of a classifier.
    temperature: T.

  Returns:
    Energies.

  Examples:
    >>> energy(np.array([[0.0, 0.0], [9.0, 0.0]])).round(3).tolist()
    [-0.693, -9.0]
  """
  xp = namespace(logits)
  scaled = logits / temperature
  top = scaled.max(axis=1)
  sums = xp.exp(scaled - top[:, None]).sum(axis=1)
  return -temperature * (top + xp.log(sums))


def detection(
  inside: Float[np.ndarray, " n"], outside: Float[np.ndarray, " m"]
) -> dict[str, float]:
  """Measures how well scores tell images of training's distribution.

  Images of it are the positives, and a lower score, such as `energy`, speaks
  for them.

  Args:
    inside: scores of images of the distribution.
    outside: scores of others.

  Returns:
    "fpr95", the share of others accepted where 95% of the positives are;
    "auroc", the area under the receiver operating characteristic, in which ties
    count half; and "aupr", the average precision.

  Raises:
    ValueError: there is no score of either kind, or one is NaN.

  Examples:
    >>> detection(np.array([-3.0, -2.0]), np.array([-1.0, -2.5]))["auroc"]
    0.75
  """
  scores = np.concatenate([inside, outside])
  if not len(inside) or not len(outside) or np.isnan(scores).any():
    raise ValueError(
      f"want numbers of both kinds, found {len(inside)} and {len(outside)}, "
      f"{np.isnan(scores).sum()} of them NaN"
    )
  accepted = np.sort(inside)
  # Rounding must not ask for one positive more than 95%.
  limit = accepted[int(np.ceil(0.95 * len(inside) - 1e-9)) - 1]
  truth = np.arange(len(scores)) < len(inside)
  return {
    "fpr95": float(np.mean(outside <= limit)),
    "auroc": ranking.auroc(truth, -scores),
    "aupr": ranking.average_precision(truth, -scores),
  }
