"""What a report says about its tables and figures, for a newcomer."""

from typing import NamedTuple

# Metric, what it says, which way is better.
MEANINGS = (
  (
    r"top1$",
    "classes: the right one is the nearest; mean over classes",
    "higher",
  ),
  (r"top5$", "classes: the right one is among the five nearest", "higher"),
  (
    r"i2t_r(\d+)$",
    "images with a caption of theirs among the nearest {}",
    "higher",
  ),
  (
    r"t2i_r(\d+)$",
    "captions with their image among the nearest {}",
    "higher",
  ),
  (r"tie$", "edges in the hierarchy between predicted and true class", "lower"),
  (
    r"lca$",
    "1 + the prediction's ancestors that are not the truth's",
    "lower",
  ),
  (r"jaccard$", "ancestors of prediction and truth: shared / all", "higher"),
  (
    r"precision$",
    "ancestors of the prediction that are the truth's too",
    "higher",
  ),
  (
    r"recall$",
    "ancestors of the truth that are the prediction's too",
    "higher",
  ),
  (r"loss$", "what training minimises, or a term of it", "lower"),
)


class Panel(NamedTuple):
  """A plot of the report.

  Attributes:
    title: what stands above it.
    pattern: regular expression of the metrics in it.
    quantity: label of the vertical axis, with the unit.
    caption: what to see in it.
  """

  title: str
  pattern: str
  quantity: str
  caption: str


OF = "^(eval|train_sample)/.*"  # how results of evaluations are named
PANELS = (
  Panel(
    "Losses",
    r"loss",
    "loss (nats)",
    "What training minimises (loss, the broad line) and its terms, before "
    "their weights. The loss and the contrastive term should fall, then level "
    "off. Entailment terms need not: they may rise while the contrastive one "
    "spreads the embeddings out.",
  ),
  Panel(
    "Logit scale",
    r"logit_scale$",
    "scale",
    "What similarities are multiplied by before the softmax. It grows as the "
    "model becomes surer of its matches, up to a bound.",
  ),
  Panel(
    "Curvature",
    r"curv$",
    "c",
    "The space has curvature -c; this is c. The smaller, the flatter.",
  ),
  Panel(
    "Feature scales",
    r"alpha$",
    "factor",
    "What image and text features are multiplied by before they are placed "
    "in the space: how far out they can reach.",
  ),
  Panel(
    "Zero-shot classification",
    rf"{OF}top\d$",
    "share of pictures",
    "Share of pictures whose class is found from its name alone, "
    "at once (top1) or in five guesses (top5).",
  ),
  Panel(
    "Retrieval",
    rf"{OF}_r\d+$",
    "share found",
    "Share of pictures that find their caption (i2t) and of captions that "
    "find their picture (t2i) among the nearest 1, 5, ...",
  ),
  Panel(
    "Errors: overlap with the truth",
    rf"{OF}(jaccard|precision|recall)$",
    "share of ancestors",
    "How many ancestors the predicted class has in common with the true one; "
    "1 is perfect. Wrong answers can be nearly right.",
  ),
  Panel(
    "Errors: steps from the truth",
    rf"{OF}(tie|lca)$",
    "edges",
    "How far apart the predicted and the true class are in the hierarchy. "
    "Lower is better.",
  ),
  Panel(
    "Distances from the root",
    rf"{OF}_mean$",
    "distance",
    "Mean distance of each kind. General kinds should stay nearer.",
  ),
  Panel(
    "Learning rate",
    r"^(lr|learning_rate)$",
    "learning rate",
    "The size of the updates.",
  ),
  Panel(
    "Gradient norm",
    r"grad_norm$",
    "norm",
    "Spikes are steps that went astray.",
  ),
)

EDGES = (
  "Dark lines join the parts of a few records, from the general to the "
  "specific: text to image, box text to box image, box image to image, box "
  "text to text."
)
HYPERBOLIC = (
  "The root is the most general point of the space. Each row shows one kind, "
  "scaled to its own height; the line and the number are its median. General "
  "things should lie further left than specific ones: box texts first, images "
  "last.",
  "The hyperbolic space (curvature -{curv:.3g}) as a Poincaré disk: the root "
  "is in the middle, infinity on the rim (out of the picture if all points lie "
  "far inside). The distance from the middle is exact (rings); the "
  "angle is a sketch, which holds {share:.0%} of how directions vary. "
  + EDGES
  + " Lines that run outwards are a hierarchy.",
)
FLAT = (
  "This model has no root; the mean direction of all embeddings stands in. "
  "Each row shows the cosine distance of one kind from it, scaled to its own "
  "height; the line and the number are the median.",
  "The first two principal components of the unit embeddings, which hold "
  "{share:.0%} of their variance. This space has no root: the middle means "
  "nothing. " + EDGES,
)
