"""Hierarchical metrics on ImageNet, by the WordNet hierarchy above its classes.

ImageNet's ids are offsets in WordNet 3.0's file of nouns: n01440764 is the noun
at byte 1440764 of data.noun (see wndb(5WN)). assets/wordnet.json holds those
1,000 nouns and all above them, with every parent that WordNet gives (hypernyms
of a kind and of an instance), up to `entity`: 1,860 nodes, 75 with several
parents. It was written by `write`; see assets/NOTICE.

The paper measures on a smaller graph, of 1,371 edges, which is not copied here.
`tree` comes close: one parent for each node, and no node with a single child,
which leaves 1,369 edges. There, a class is not among its own ancestors: in the
published numbers, wrong answers have an LCA of half their TIE (3.04 and 6.06
for CLIP), which |A(p)| - |A(p) & A(t)| + 1 gives only if A(p) excludes p.
"""

import collections
import functools
import json
import pathlib
from collections.abc import Collection, Iterable

from hyperclip_jax.data import synsets
from hyperclip_jax.evals import paper
from hyperclip_jax.evals.datasets import classification
from hyperclip_jax.evals.metrics.hierarchy import Parents, rated
from hyperclip_jax.evals.metrics.zero_shot import predict
from hyperclip_jax.evals.tasks import Results, Task, left
from hyperclip_jax.files import read_json
from hyperclip_jax.inference.classify import class_embeddings
from hyperclip_jax.inference.protocol import Model

ASSET = classification.ASSETS / "wordnet.json"
ROOT = "n00001740"  # entity

_IMAGENET = next(d for d in classification.DATA_SETS if d.name == "imagenet")


@functools.cache
def parents() -> Parents:
  """Maps ImageNet's classes and all nouns above them to their parents' ids."""
  content = read_json(ASSET)
  return {node: tuple(above) for node, above in content.items()}


@functools.cache
def tree() -> Parents:
  """Returns the hierarchy for the metrics, `pruned` to ImageNet's classes."""
  return pruned(parents(), classification.class_names(_IMAGENET.name).keys())


def pruned(parents: Parents, leaves: Collection[str]) -> Parents:
  """Prunes a hierarchy to the tree of branching points above some leaves.

  Args:
    parents: hierarchy as a mapping from a node to its parents.
    leaves: nodes of it, none above another.

  Returns:
    Tree in which each node has at most one parent: of several the one nearest
      to
    the root (on ties the least id). Inner nodes with a single child are left
    out.
  """

  @functools.cache
  def depth(node: str) -> int:
    return 1 + min(map(depth, parents[node]), default=-1)

  above: dict[str, str] = {}
  todo = list(leaves)
  while todo:
    node = todo.pop()
    if node not in above and parents[node]:
      above[node] = min(parents[node], key=lambda p: (depth(p), p))
      todo.append(above[node])
  children = collections.Counter(above.values())

  def nearest(node: str) -> tuple[str, ...]:
    while node in above:
      node = above[node]
      if children[node] > 1:
        return (node,)
    return ()

  forks = {node for node, count in children.items() if count > 1}
  return {node: nearest(node) for node in sorted({*leaves, *forks})}


def build(nouns: bytes, leaves: Iterable[str]) -> dict[str, list[str]]:
  """Builds the hierarchy above some nouns.

  Args:
    nouns: content of WordNet 3.0's data.noun.
    leaves: ids such as n01440764.

  Returns:
    Node -> its parents, sorted.

  Raises:
    ValueError: an id is not the offset of a noun.
  """
  found: dict[str, list[str]] = {}
  todo = list(leaves)
  while todo:
    node = todo.pop()
    if node not in found:
      found[node] = _above(nouns, node)
      todo += found[node]
  return dict(sorted(found.items()))


def write(nouns: pathlib.Path, output: pathlib.Path) -> None:
  """Writes the hierarchy above ImageNet's classes, as in assets/wordnet.json.

  Args:
    nouns: WordNet 3.0's data.noun.
    output: JSON file to write.
  """
  made = build(nouns.read_bytes(), classification.class_names(_IMAGENET.name))
  rows = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in made.items())
  output.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


def _above(nouns: bytes, node: str) -> list[str]:
  """Lists the parents of a noun, from the line at its offset."""
  start = int(node[1:])
  try:
    found = synsets.at(nouns, start)
  except ValueError:
    found = None
  if found is None or found.kind != "n":
    raise ValueError(
      f"{node}: no noun at byte {start} of data.noun; is it WordNet 3.0's?"
    )
  return sorted(f"n{parent:08d}" for parent in found.above)


def _run(model: Model, data: pathlib.Path) -> Results:
  """Measures the metrics of `hierarchy` on ImageNet's images."""
  found = classification.encoded(model, data, _IMAGENET)
  texts = classification.templates(_IMAGENET.name)
  classes = class_embeddings(model, found.names, texts)
  ids = [*classification.class_names(_IMAGENET.name)]
  predicted = predict(model, found.embeddings, classes)
  return {
    **rated(
      tree(),
      ids,
      [ids[i] for i in predicted],
      [ids[i] for i in found.labels],
      own=False,
    ),
    "images": float(len(predicted)),
    "classes": float(len(ids)),
    **left(found.left_out),
  }


TASKS = (Task("wordnet", _run, paper.numbers("wordnet"), version=3),)
