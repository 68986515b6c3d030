"""Published numbers, shown next to the results.

All models were trained on GRIT with batches of 768 for 500,000 steps (Pal et
al., Compositional Entailment Learning for Hyperbolic Vision-Language Models,
ICLR 2025, arXiv 2410.06912). Rates are fractions.
"""

MODELS = ("CLIP B/16", "MERU B/16", "HyCoCLIP B/16", "HyCoCLIP S/16")

# Task -> metric -> one number for each model of MODELS.
_NUMBERS = {
  "imagenet": {"top1": (0.406, 0.401, 0.458, 0.417)},
  "cifar10": {"top1": (0.789, 0.786, 0.888, 0.850)},
  "cifar100": {"top1": (0.483, 0.493, 0.601, 0.534)},
  "food101": {"top1": (0.486, 0.515, 0.592, 0.502)},
  "caltech101": {"top1": (0.767, 0.728, 0.813, 0.757)},
  "coco": {
    "t2i_r5": (0.574, 0.574, 0.584, 0.552),
    "t2i_r10": (0.685, 0.686, 0.693, 0.666),
    "i2t_r5": (0.714, 0.723, 0.720, 0.695),
    "i2t_r10": (0.815, 0.820, 0.820, 0.795),
  },
  "wordnet": {
    "tie": (3.60, 3.63, 3.17, 3.55),
    "lca": (2.21, 2.22, 2.05, 2.17),
    "jaccard": (0.79, 0.78, 0.81, 0.79),
    "precision": (0.85, 0.85, 0.87, 0.86),
    "recall": (0.85, 0.85, 0.87, 0.85),
  },
}


def numbers(task: str) -> dict[str, dict[str, float]]:
  """Returns the published numbers of a task.

  Args:
    task: name of the task.

  Returns:
    Metric -> {name of the model: value}; empty if none are published.
  """
  return {
    metric: dict(zip(MODELS, row, strict=True))
    for metric, row in _NUMBERS.get(task, {}).items()
  }
