"""Explanations of the tables and figures of a report, for newcomers."""

import re
from typing import NamedTuple

from hyperclip_jax.geometry.spaces import Space

# Pattern of the metric, readable name, explanation, which way is better or "".
MEANINGS = (
  (
    r"accuracy_top5$",
    "Top-5 accuracy over images",
    "images whose right class is among the five nearest",
    "higher",
  ),
  (
    r"uncertainty/words_corr$",
    "Uncertainty and length of captions",
    "correlation of the uncertainty of captions and their number of words; "
    "short ones should be more uncertain",
    "lower",
  ),
  (
    r"uncertainty/(.+)_corr(_cosine|_csd|)$",
    "Uncertainty and {}{}",
    "correlation of the uncertainty of inputs, in ten bins, and how often they "
    "are right; negative where the uncertain are wrong more often",
    "lower",
  ),
  (
    r"uncertainty/(.+)$",
    "Uncertainty of {}",
    "sum of the variances of a Gaussian; general inputs should have more",
    "",
  ),
  (
    r"includes/(.+)$",
    "{}",
    "pairs whose general side includes the specific one more than the other "
    "way round",
    "higher",
  ),
  (
    r"prompts/(.+)$",
    "{}",
    "the same measure with the prompts that a rule chooses, maybe by images of "
    "another split",
    "higher",
  ),
  (
    r"top1_(cosine|csd)$",
    "Top-1 accuracy, {}",
    "by the other score of the Gaussians",
    "higher",
  ),
  (
    r"top5_(cosine|csd)$",
    "Top-5 accuracy, {}",
    "by the other score of the Gaussians",
    "higher",
  ),
  (
    r"(i2t|t2i)_r(\d+)_(cosine|csd)$",
    "{} R@{}, {}",
    "retrieval by the other score of the Gaussians",
    "higher",
  ),
  (
    r"top1$",
    "Top-1 accuracy",
    "images whose right class is the nearest, mean over classes",
    "higher",
  ),
  (
    r"top1_(z|h|w[\d.]+)$",
    "Top-1 accuracy, {}",
    "by the weak projector (z), the strong one (h), or both with a weight of z",
    "higher",
  ),
  (
    r"top5$",
    "Top-5 accuracy",
    "images whose right class is among the five nearest, mean over classes",
    "higher",
  ),
  (
    r"accuracy$",
    "Accuracy",
    "images whose right class is the nearest",
    "higher",
  ),
  (
    r"mean_per_class$",
    "Accuracy, mean over classes",
    "images whose right class is the nearest, mean over classes",
    "higher",
  ),
  (
    r"macro_f1$",
    "Macro F1",
    "F1 score of each class, mean over classes",
    "higher",
  ),
  (
    r"worst_group(?:_top5)?$",
    "Accuracy in the worst group",
    "of the region or income that has the lowest",
    "higher",
  ),
  (
    r"jaccard_(\d+)_(\d+)$",
    "Jaccard index, {} or {} candidates",
    "chosen and right images: shared / all",
    "higher",
  ),
  (
    r"mean_r1$",
    "R@1, mean of both directions",
    "queries whose nearest answer is right",
    "higher",
  ),
  (
    r"i2t_r(\d+)$",
    "Image to text R@{}",
    "images with a caption of theirs among the k nearest",
    "higher",
  ),
  (
    r"t2i_r(\d+)$",
    "Text to image R@{}",
    "captions with their image among the k nearest",
    "higher",
  ),
  (
    r"same_parent$",
    "Right parent",
    "images whose predicted class has a parent of the true one",
    "higher",
  ),
  (
    r"same_grandparent$",
    "Right grandparent",
    "images whose predicted class has a grandparent of the true one",
    "higher",
  ),
  (
    r"words/ap$",
    "Entailment by the words above, AP",
    "words above an image's class against all others, by the entailment score",
    "higher",
  ),
  (
    r"words/auroc$",
    "Entailment by the words above, AUROC",
    "chance that a word above an image's class has the better score of two",
    "higher",
  ),
  (
    r"words/similarity_ap$",
    "Similarity to the words above, AP",
    "the same by similarity, which has no direction",
    "higher",
  ),
  (
    r"words/similarity_auroc$",
    "Similarity to the words above, AUROC",
    "the same by similarity",
    "higher",
  ),
  (
    r"words_distance/rank_correlation$",
    "Depth and distance of words",
    "rank correlation of a word's depth with its distance from the root",
    "higher",
  ),
  (
    r"words_distance/depth(\d+)$",
    "Distance of words at depth {}",
    "median distance from the root of words with that many others above",
    "",
  ),
  (
    r"tie$",
    "Tree-induced error (TIE)",
    "edges in the hierarchy between predicted and true class",
    "lower",
  ),
  (
    r"open_set/auroc$",
    "AUROC of unknown classes",
    "how well the largest logit tells classes of training from others",
    "higher",
  ),
  (
    r"oscr$",
    "Open-set classification rate",
    "right answers among accepted images, over all shares of unknown ones",
    "higher",
  ),
  (
    r"lca$",
    "LCA error",
    "1 + the prediction's ancestors that are not the truth's; 1 is perfect",
    "lower",
  ),
  (
    r"jaccard$",
    "Jaccard index",
    "ancestors of prediction and truth: shared / all",
    "higher",
  ),
  (
    r"hierarcaps/precision$",
    "Precision of the walk",
    "captions met between the root and an image that are its own",
    "higher",
  ),
  (
    r"hierarcaps/recall$",
    "Recall of the walk",
    "levels of an image's captions of which one was met",
    "higher",
  ),
  (
    r"precision$",
    "Hierarchical precision",
    "ancestors of the prediction that are the truth's too",
    "higher",
  ),
  (
    r"recall$",
    "Hierarchical recall",
    "ancestors of the truth that are the prediction's too, which equals "
    "precision where all classes lie equally deep",
    "higher",
  ),
  (
    r"map$",
    "Mean average precision",
    "images ranked for each class by their nearness to its name",
    "higher",
  ),
  (
    r"map_with_difficult$",
    "The same, difficult objects counted",
    "images with only difficult objects of a class count as showing it",
    "higher",
  ),
  (
    r"/ap_(all|base|novel)$",
    "AP, {} classes",
    "COCO's average precision of the boxes, mean over IoU .50 to .95",
    "higher",
  ),
  (
    r"/ap50_(all|base|novel)$",
    "AP50, {} classes",
    "COCO's average precision of the boxes at an IoU of .50",
    "higher",
  ),
  (
    r"/image_entailment_(ap|auroc)$",
    "Caption entails image, {}",
    "an image's own captions against those of others",
    "higher",
  ),
  (
    r"/entailment_(ap|auroc)$",
    "General entails specific caption, {}",
    "captions of one chain against reversed and foreign pairs",
    "higher",
  ),
  (
    r"/entailment_auroc_(reversed|foreign)$",
    "General entails specific caption, auroc, {}",
    "captions of one chain against {} pairs",
    "higher",
  ),
  (
    r"cones/.+/inside$",
    "Inside the cone",
    "pairs whose specific point lies in the cone of the general one; losses "
    "may ask for less or more than this cone (eta). More is better only while "
    "shuffled pairs stay outside",
    "",
  ),
  (
    r"cones/.+/shuffled$",
    "Inside, shuffled pairs",
    "the same of pairs that do not belong together: as high where cones are so "
    "wide that they hold anything",
    "",
  ),
  (
    r"cones/.+/auroc$",
    "Entailment score, AUROC",
    "chance that a true pair lies deeper in its cone than a shuffled one",
    "higher",
  ),
  (
    r"cones/.+/similarity_auroc$",
    "Similarity, AUROC",
    "chance that a true pair is nearer than a shuffled one; similarity has no "
    "direction",
    "higher",
  ),
  (
    r"cones/.+/angle$",
    "Exterior angle",
    "radians from the axis of the cone to the specific point, in the middle "
    "pair: inside where it is below the half aperture",
    "",
  ),
  (
    r"cones/.+/aperture$",
    "Half aperture",
    "radians from the axis of the cone to its edge, in the middle pair; at "
    "1.571 the cone is a half-space",
    "",
  ),
  (
    r"d_corr$",
    "Order of distances",
    "Kendall's tau of the captions' levels and their distances from the root",
    "higher",
  ),
  (
    r"^(?:sugar_crepe|vl_checklist)/(.+)$",
    "{}",
    "images nearer to the true caption than to the altered one",
    "higher",
  ),
)

# Kind of measures -> title.
GROUPS = {
  "classification": "Classification",
  "zero_shot": "Zero-shot classification",
  "zero_shot_held_out": "Zero-shot classification of classes never trained on",
  "open_set": "Images of classes that the model does not have",
  "retrieval": "Retrieval",
  "hierarchy": "Distance of wrong classes in the hierarchy",
  "hierarchy_wordnet": "The same among the classes that are WordNet's nouns",
  "words": "Words of the hierarchy, and images below them",
  "words_distance": "Distance of the hierarchy's words from the root",
  "cones/text_image": "Cones of captions, and their images",
  "cones/box_text_box_image": "Cones of phrases, and their boxes",
  "cones/box_text_text": "Cones of phrases, and their captions",
  "cones/box_image_image": "Cones of boxes, and their whole images",
  "root_distance": "Distances from the root",
  "uncertainty": "Uncertainty",
  "includes": "What includes what",
  "retrieval/uncertainty": "Retrieval, and the uncertainty of queries",
  "zero_shot/uncertainty": "Zero-shot classification, and uncertainty",
  "zero_shot_held_out/uncertainty": (
    "Zero-shot classification of classes never trained on, and uncertainty"
  ),
  "prompts": "Chosen prompts",
}

# What a label in a plot says of the kind of a measure, beside others.
KINDS = {
  "zero_shot": "",
  "zero_shot_held_out": "unseen classes",
  "hierarchy": "",
  "hierarchy_wordnet": "WordNet",
  "cones/text_image": "caption > image",
  "cones/box_text_box_image": "phrase > box",
  "cones/box_text_text": "phrase > caption",
  "cones/box_image_image": "box > image",
}

# Term of a loss -> the relation that it is of, named as in `KINDS`.
TERMS = {
  "text_image_entailment_loss": KINDS["cones/text_image"],
  "box_text_image_entailment_loss": KINDS["cones/box_text_box_image"],
  "cross_image_entailment_loss": KINDS["cones/box_image_image"],
  "cross_text_entailment_loss": KINDS["cones/box_text_text"],
}

HELD_OUT = (
  "Measured at the end of the run, on held-out records, which are not trained "
  "on."
)
TRAIN_SAMPLE = (
  "Measured at the end of the run, on a sample of the training records: "
  "nothing was held out. These numbers show how well the model fits what it "
  "has seen, not how well it does on new data. For that, set "
  "config.data.held_out to shards that are not trained on."
)
SPREAD = (
  "Rates are between 0 and 1. After ± comes the standard error due to which "
  "images were drawn; the spread between training runs is larger. A rate of "
  "exactly 0 or 1 has none: as a rule of thumb, 0 of n may be up to 3 / n. "
  "Chance is what random guessing reaches."
)
BEST = (
  "The best value of a row is bold, and those that differ from it by less than "
  "two standard errors of the difference; where all do, none is. Without "
  "errors the digits decide."
)


class Panel(NamedTuple):
  """A plot of the report.

  Attributes:
    title: title of the plot.
    pattern: regular expression of the metrics in the plot.
    quantity: label of the vertical axis, with the unit.
    caption: explanation below the plot.
    dashed: pattern and replacement that make a metric's name that of the one
      whose colour and label it shares, dashed.
  """

  title: str
  pattern: str
  quantity: str
  caption: str
  dashed: tuple[str, str] | None = None


OF = "^(eval|train_sample)/.*"  # names of evaluation results
PANELS = (
  Panel(
    "Loss",
    r"^(loss|contrastive_loss|entailment_loss)$",
    "loss",
    "The loss (broad line), its contrastive term (in nats) and its entailment "
    "term (radians outside of cones, and what a system adds) before weighting. "
    "The contrastive term should fall, then level off; the loss rises while "
    "the weight of entailment does.",
  ),
  Panel(
    "Terms of the loss",
    r"loss",
    "loss",
    "Each term before weighting; a > b is the entailment of b by a. It may "
    "rise while the contrastive term spreads the embeddings out.",
  ),
  Panel(
    "Logit scale",
    r"logit_scale$",
    "scale",
    "Factor of similarities before the softmax. It grows as the model becomes "
    "more confident of its matches, up to a bound.",
  ),
  Panel(
    "Curvature",
    r"curv$",
    "c",
    "The space has curvature -c; this is c. Smaller values are flatter.",
  ),
  Panel(
    "Feature scales",
    r"alpha$",
    "factor",
    "Factors of image and text features before they are lifted to the space, "
    "which determine their distances from the root.",
  ),
  Panel(
    "Zero-shot classification",
    rf"{OF}top\d(_cosine)?$",
    "share of pictures",
    "Fraction of images whose class is found from its name alone, as the first "
    "guess (top-1) or among five (top-5). Dashed: classes never trained on.",
    ("_held_out(?=/)", ""),
  ),
  Panel(
    "Tasks of the evaluation suite",
    r"^evals/[^/]+/(top1|[it]2[it]_r5|map)$",
    "share",
    "Results of config.evals while training.",
  ),
  Panel(
    "Retrieval",
    rf"{OF}_r\d+(_cosine)?$",
    "share found",
    "Fraction of images that find their caption among the nearest 1 (R@1), 5, "
    "..., and of captions that find their image.",
  ),
  Panel(
    "Errors: overlap with the truth",
    rf"{OF}(jaccard|precision|recall)$",
    "share of ancestors",
    "Overlap of the ancestors of the predicted and of the true class; 1 is "
    "perfect. Dashed: among the classes that are WordNet's nouns.",
    ("_wordnet(?=/)", ""),
  ),
  Panel(
    "Errors: steps from the truth",
    rf"{OF}hierarchy/(tie|lca)$",
    "edges",
    "Distance of the predicted from the true class in the hierarchy. Lower "
    "is better.",
  ),
  Panel(
    "Errors: steps in WordNet",
    rf"{OF}hierarchy_wordnet/(tie|lca)$",
    "edges",
    "The same among the classes that are WordNet's nouns.",
  ),
  Panel(
    "Pairs inside cones",
    rf"{OF}cones/.*/(inside|shuffled)$",
    "share of pairs",
    "Fraction of pairs whose specific point lies in the cone of the general "
    "one. Dashed: of shuffled pairs. Cones say something where the two differ.",
    ("shuffled$", "inside"),
  ),
  Panel(
    "Entailment and similarity of pairs",
    rf"{OF}cones/.*auroc$",
    "AUROC",
    "How well the entailment score tells true from shuffled pairs; 0.5 is "
    "chance. Dashed: plain similarity.",
    ("similarity_", ""),
  ),
  Panel(
    "Cones",
    rf"{OF}cones/.*/(angle|aperture)$",
    "radians",
    "Exterior angle of the middle pair. Dashed: its half aperture. A pair is "
    "inside where its angle is below its half aperture, which is 1.57 at most: "
    "then the cone is a half-space.",
    ("aperture$", "angle"),
  ),
  Panel(
    "Uncertainty",
    r"^(eval|train_sample)/uncertainty/(?!.*_corr)",
    "sum of variances",
    "Mean uncertainty of each kind of input, and of concepts by their depth in "
    "the hierarchy. General inputs should have more.",
  ),
  Panel(
    "What includes what",
    r"^(eval|train_sample)/includes/",
    "share of pairs",
    "Fraction of pairs whose general side includes the specific one more than "
    "the other way round; 0.5 is chance.",
  ),
  Panel(
    "Masked inputs that include their originals",
    r"^(image|text)_included$",
    "share of rows",
    "Fraction of the masked images and texts of a batch that include what they "
    "were made of; 0.5 is chance.",
  ),
  Panel(
    "Distances from the root",
    rf"{OF}_mean$",
    "distance",
    "Mean distance of each kind. General kinds should be nearer.",
  ),
  Panel(
    "Learning rate",
    r"^(lr|learning_rate)$",
    "learning rate",
    "Factor of the updates; at its mean over some steps where there are many.",
  ),
  Panel(
    "Gradient norm",
    r"grad_norm$",
    "norm",
    "Spikes are unstable steps.",
  ),
)

EDGES = (
  "Dark lines join the parts of a few records, from the general to the "
  "specific: text to image, box text to box image, box image to image, box "
  "text to text."
)
_ROOT = (
  "The root is the most general point of the space. Each row shows one kind, "
  "scaled to its own height; the line and the number are its median. General "
  "kinds should lie further left than specific ones: box texts, texts, box "
  "images, images."
)
_NO_ROOT = (
  "This model has no root; the middle of all embeddings is used. Each row "
  "shows the {name} of one kind from it, scaled to its own height; the line "
  "and the number are the median."
)
DISK = (
  "The hyperbolic space (curvature -{space.curv:.3g}) as a Poincaré disk: the "
  "root is in the middle, infinity on the rim (out of the picture if all "
  "points lie far inside). The distance from the middle is exact (rings); the "
  "angle is approximate and shows {share:.0%} of the variance of directions. "
  + EDGES
  + " In a hierarchy they run outwards."
)
PLANE = (
  "The first two principal components of the embeddings (of Gaussians: of "
  "their means), which explain {share:.0%} of their variance. This space has "
  "no root: the middle means nothing. " + EDGES
)


def quantity(metric: str) -> str:
  """Finds the label of the axis of a metric; "" if no panel has it."""
  fitting = (p.quantity for p in PANELS if re.search(p.pattern, metric))
  return next(fitting, "")


def root(space: Space) -> str:
  """Explains how to read distances from the root."""
  return _ROOT if space.rooted else _NO_ROOT.format(name=space.distance_name)
