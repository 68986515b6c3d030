"""Open-set recognition: images of classes that training has not seen.

The score of an image is its largest logit (Vaze et al., Open-Set Recognition: a
Good Closed-Set Classifier is All You Need, ICLR 2022).
"""

import numpy as np
from jaxtyping import Float, Int

from hyperclip_jax.evals.metrics import ranking


def open_set(
  known: Float[np.ndarray, "n classes"],
  labels: Int[np.ndarray, " n"],
  unknown: Float[np.ndarray, "m classes"],
) -> dict[str, float]:
  """Measures how well known classes are recognised, and others refused.

  Args:
    known: logits of images of the classes.
    labels: class of each of them.
    unknown: logits of images of other classes.

  Returns:
    "top1", the share of known images that are classified rightly; "auroc" of
    the largest logit, with ties as half; and "oscr", the area under the curve
    of the share of known images that are both accepted and right over the share
    of unknown ones accepted (Dhamija et al., 2018), at most `top1`.

  Raises:
    ValueError: there are no images of either kind, or a logit is NaN.

  Examples:
    >>> known = np.array([[3.0, 0.0], [0.0, 1.0]])
    >>> open_set(known, np.array([0, 1]), np.array([[2.0, 0.0]]))
    {'top1': 1.0, 'auroc': 0.5, 'oscr': 0.5}
  """
  both = np.concatenate([known, unknown])
  if not len(known) or not len(unknown) or np.isnan(both).any():
    raise ValueError(
      f"want logits of both kinds, found {len(known)} known and {len(unknown)} "
      f"unknown images, {np.isnan(both).any(axis=1).sum()} of them with NaN"
    )
  right = known.argmax(axis=1) == labels
  scores = both.max(axis=1)
  truth = np.arange(len(both)) < len(known)
  # A pair of a right known image and an unknown one counts where the known one
  # has the higher score.
  auroc_right = 0.0
  if right.any():
    kept = np.concatenate([right, np.ones(len(unknown), bool)])
    auroc_right = ranking.auroc(truth[kept], scores[kept])
  top1 = float(right.mean())
  return {
    "top1": top1,
    "auroc": ranking.auroc(truth, scores),
    "oscr": top1 * auroc_right,
  }
