"""The loss of ProLIP: pairs, inclusion, and a bottleneck."""

from collections.abc import Mapping

from jaxtyping import Array, Float

from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.losses import inclusion as losses
from hyperclip_jax.losses import sigmoid
from hyperclip_jax.systems.prolip.options import Options


def terms(
  scale: Float[Array, ""],
  bias: Float[Array, ""],
  outputs: Mapping[str, Mapping[str, Array]],
  o: Options,
  pairs: sigmoid.Pairs = sigmoid.pairs,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
  """Computes the loss of a global batch.

  Texts include their images, masked images and texts those that they were made
  of. Each term counts a pair of the global batch once.

  Args:
    scale: factor of nearness.
    bias: bias of logits.
    outputs: {"whole": {"image", "text"}}, Gaussians (b, dim), and maybe
      "masked" with the same: row r was made of row r of the whole, where
      "valid" (b,) of "masked" is true.
    o: weights and forms of the terms.
    pairs: implementation of the sigmoid loss.

  Returns:
    Loss, and its terms before they are weighted; with "masked" also
    image_included and text_included, the shares of rows whose masked form
    includes them.
  """
  image, text = (outputs["whole"][kind] for kind in ("image", "text"))
  guarded = 0.0 * scale

  def guard(loss, most):
    nonlocal guarded
    kept, large = losses.guarded(loss, most)
    guarded += large
    return kept if o.guards == "reference" else loss

  def included(general, specific, where=None):
    loss = losses.inclusion(
      general,
      specific,
      o.inclusion_eps,
      o.inclusion_slope,
      o.inclusion_form,
      where,
    )
    return guard(loss, losses.MOST_INCLUSION)

  found = {
    "ppcl": pairs(Gaussian(), scale, bias, image, text),
    "inclusion": included(text, image),
    "vib": sum(
      guard(losses.bottleneck(x, o.bottleneck_form), losses.MOST_DIVERGENCE)
      for x in (image, text)
    ),
  }
  regulariser = (
    o.inclusion_weight * found["inclusion"] + o.bottleneck_weight * found["vib"]
  )
  if "masked" in outputs:
    masked = outputs["masked"]
    found |= {
      f"{kind}_inclusion": included(masked[kind], whole, masked.get("valid"))
      for kind, whole in (("image", image), ("text", text))
    }
    # shares, which are no terms
    found |= {
      f"{kind}_included": losses.included(
        masked[kind], whole, masked.get("valid")
      )
      for kind, whole in (("image", image), ("text", text))
    }
    both = found["image_inclusion"] + found["text_inclusion"]
    regulariser = regulariser + o.masked_weight * both
  loss = o.pair_weight * found["ppcl"] + o.regulariser_scale * regulariser
  return loss, found | {"guarded": guarded}
