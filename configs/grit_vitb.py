"""HyCoCLIP ViT-B/16 on GRIT: the paper's recipe.

python -m hyperclip_jax.main --config=configs/grit_vitb.py --workdir=DIR \
  --config.data.shards='/data/grit/*.tar' \
  --config.data.held_out='/data/held_out/*.tar'

Evaluation and report use the shards of `data.held_out`, which must not be among
`data.shards`. Without them they use a sample of the training records, and their
results are named `train_sample/...`.

The paper reports (GRIT, batch 768, 500,000 steps), zero-shot, mean per class:
ImageNet 45.8, CIFAR-10 88.8, CIFAR-100 60.1; COCO t2i R@5 58.4, i2t R@5 72.0;
tree-induced error on ImageNet 3.17. `:meru` (40.1, 78.6, 49.3, 57.4, 72.3,
3.63) and `:clip` (40.6, 78.9, 48.3, 57.4, 71.4, 3.60) train the baselines.
"""

from hyperclip_jax.training.config import Config, paper


def get_config(system: str = "hycoclip") -> Config:
  return paper(system, "B")
