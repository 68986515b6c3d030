"""MERU (Desai et al., 2023, arXiv 2304.09172)."""

from jaxtyping import Array, Float

from hyperclip_jax.objectives.contrastive import cross_entropy, lorentz_logits
from hyperclip_jax.objectives.embeddings import Embeddings
from hyperclip_jax.objectives.entailment import entailment


def meru(
  embeddings: Embeddings,
  scalars: dict[str, Float[Array, ""]],
  entail_weight: float = 0.2,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Contrast by geodesic distance; images lie in their captions' cones.

  Args:
    embeddings: points on the hyperboloid.
    scalars: {"logit_scale", "curv"}.
    entail_weight: weight of the entailment term.

  Returns:
    The loss and its terms.
  """
  curv = scalars["curv"]
  logits = lorentz_logits(
    embeddings.image, embeddings.text, curv, scalars["logit_scale"]
  )
  contrastive_loss = (cross_entropy(logits) + cross_entropy(logits.T)) / 2
  entailment_loss = entailment(embeddings.text, embeddings.image, curv, 1.0)
  loss = contrastive_loss + entail_weight * entailment_loss
  return loss, {
    "contrastive_loss": contrastive_loss,
    "entailment_loss": entailment_loss,
  }
