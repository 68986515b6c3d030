"""CLIP (Radford et al., 2021, arXiv 2103.00020)."""

from jaxtyping import Array, Float

from hyperclip_jax.objectives.contrastive import cosine_logits, cross_entropy
from hyperclip_jax.objectives.embeddings import Embeddings


def clip(
  embeddings: Embeddings, scalars: dict[str, Float[Array, ""]]
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Both directions' cross entropy of scaled cosines.

  Args:
    embeddings: unit vectors.
    scalars: {"logit_scale"}.

  Returns:
    The loss and its terms.
  """
  logits = cosine_logits(
    embeddings.image, embeddings.text, scalars["logit_scale"]
  )
  loss = (cross_entropy(logits) + cross_entropy(logits.T)) / 2
  return loss, {"contrastive_loss": loss}
