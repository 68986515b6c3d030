"""Whether what is more general is more uncertain, and includes the rest.

Spaces of Gaussians have an uncertainty and an inclusion test (ProLIP, Chun et
al., 2025). The paper claims that shorter and more general texts are more
uncertain, and that they include what they describe.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from hyperclip_jax.evals.metrics.cones import RELATIONS
from hyperclip_jax.evals.metrics.hierarchy import Parents, ancestors
from hyperclip_jax.evals.rates import means, proportion
from hyperclip_jax.geometry import gaussian

Rows = Float[np.ndarray, "n dim"]


def of_records(
  embeddings: Mapping[str, Rows],
  texts: Mapping[str, Sequence[str]],
  parts: Bool[np.ndarray, " n"],
) -> dict[str, dict[str, float]]:
  """Measures uncertainties by kind, and inclusion in the relations of `cones`.

  Args:
    embeddings: Gaussians by kind, as in `norms.KINDS`; row i of each is of
      record i.
    texts: captions as "text" and phrases as "box_text".
    parts: whether a record has a part that is not the whole image; the others
      are pairs of captions and images only.

  Returns:
    "uncertainty": mean sum of the variances of each kind, with _se, and
    words_corr, the correlation of the uncertainty of captions and their number
    of words, if that differs. "includes": for each relation the share of pairs
    whose general Gaussian includes the specific one, with _se and a chance of
    0.5.
  """
  u = {kind: _uncertainty(rows) for kind, rows in embeddings.items()}
  uncertain, includes = {}, {}
  for kind, of in u.items():
    uncertain |= means((kind,), of[:, None])
  words = np.array([len(text.split()) for text in texts["text"]], float)
  if np.ptp(words) and np.ptp(u["text"]):
    uncertain["words_corr"] = float(np.corrcoef(words, u["text"])[0, 1])
  phrase, caption = (np.asarray(texts[k], object) for k in ("box_text", "text"))
  keep = {
    "text_image": np.ones_like(parts),
    "box_text_text": parts & (phrase != caption),
  }
  for name, relation in RELATIONS.items():
    rows = keep.get(name, parts)
    if rows.any():
      general, specific = (embeddings[kind][rows] for kind in relation)
      includes |= _share(name, general, specific)
  return {"uncertainty": uncertain, "includes": includes}


def of_hierarchy(
  parents: Parents,
  nodes: Mapping[str, Float[np.ndarray, " dim"]],
  images: Rows,
  labels: Sequence[str],
) -> dict[str, dict[str, float]]:
  """Measures uncertainty by depth, and inclusion along a hierarchy.

  Args:
    parents: hierarchy as a mapping from a node to its parents.
    nodes: Gaussian of the text of each node.
    images: Gaussians of images.
    labels: node of each image.

  Returns:
    "uncertainty": depth_D, the mean uncertainty of the nodes D edges below the
    root, with _se; and depth_images, that of the images. "includes":
    parent_child, the share of the edges whose parent includes the child; and
    depth_D_image, the share of images that are included by what they show at
    that depth; these with _se and a chance of 0.5.
  """
  depths = {node: _depth(parents, node) for node in nodes}
  levels = sorted({*depths.values()})
  uncertain, includes = {}, {}
  for depth in levels:
    of = np.stack([nodes[n] for n, d in depths.items() if d == depth])
    uncertain |= means((f"depth_{depth}",), _uncertainty(of)[:, None])
  uncertain |= means(("depth_images",), _uncertainty(images)[:, None])
  edges = [(p, child) for child in nodes for p in parents[child]]
  if edges:
    general = np.stack([nodes[parent] for parent, _ in edges])
    specific = np.stack([nodes[child] for _, child in edges])
    includes |= _share("parent_child", general, specific)
  above = {label: ancestors(parents, label) for label in {*labels}}
  for depth in levels[: 1 + max(depths[label] for label in labels)]:
    pairs = [
      (node, row)
      for row, label in enumerate(labels)
      for node in above[label]
      if depths[node] == depth
    ]
    general = np.stack([nodes[node] for node, _ in pairs])
    specific = images[[row for _, row in pairs]]
    includes |= _share(f"depth_{depth}_image", general, specific)
  return {"uncertainty": uncertain, "includes": includes}


def _depth(parents: Parents, node: str) -> int:
  """Counts the edges of the longest way to a root."""
  return max((_depth(parents, p) + 1 for p in parents[node]), default=0)


def _uncertainty(rows: Rows) -> Float[np.ndarray, " n"]:
  return gaussian.uncertainty(np.asarray(rows, np.float64))


def _share(name: str, general: Rows, specific: Rows) -> dict[str, float]:
  general, specific = (np.asarray(x, np.float64) for x in (general, specific))
  test = gaussian.inclusion(general, specific).sum(axis=-1)
  return proportion(name, test > 0, 0.5)
