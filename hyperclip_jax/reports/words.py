"""What a report says about its tables and figures, for a newcomer."""

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

# Title, the metrics in the panel, what to see in it.
PANELS = (
  (
    "Losses",
    r"loss",
    "What training minimises, and its terms. All should fall, then level off.",
  ),
  (
    "Logit scale",
    r"logit_scale$",
    "What similarities are multiplied by before the softmax. It grows as the "
    "model becomes surer of its matches, up to a bound.",
  ),
  (
    "Curvature",
    r"curv$",
    "The space has curvature -c; this is c. The smaller, the flatter.",
  ),
  (
    "Feature scales",
    r"alpha$",
    "What image and text features are multiplied by before they are placed "
    "in the space: how far out they can reach.",
  ),
  (
    "Zero-shot classification",
    r"^eval/.*top\d$",
    "Share of pictures whose class is found from its name alone, "
    "at once (top1) or in five guesses (top5).",
  ),
  (
    "Retrieval",
    r"^eval/.*_r\d+$",
    "Share of pictures that find their caption (i2t) and of captions that "
    "find their picture (t2i) among the nearest 1, 5, ...",
  ),
  (
    "Errors: overlap with the truth",
    r"^eval/.*(jaccard|precision|recall)$",
    "How many ancestors the predicted class has in common with the true one; "
    "1 is perfect. Wrong answers can be nearly right.",
  ),
  (
    "Errors: steps from the truth",
    r"^eval/.*(tie|lca)$",
    "How far apart the predicted and the true class are in the hierarchy. "
    "Lower is better.",
  ),
  (
    "Distances from the root",
    r"^eval/.*_mean$",
    "Mean distance of each kind. General kinds should stay nearer.",
  ),
  ("Learning rate", r"^(lr|learning_rate)$", "The size of the updates."),
  ("Gradient norm", r"grad_norm$", "Spikes are steps that went astray."),
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
