"""HyCoCLIP ViT-S/16 on GRIT: the paper's recipe with the small image tower.

python -m hyperclip_jax.main --config=configs/grit_vits.py --workdir=DIR \
  --config.data.shards='/data/grit/*.tar' \
  --config.data.held_out='/data/held_out/*.tar'

Evaluation and report use the shards of `data.held_out`, which must not be among
`data.shards`. Without them they use a sample of the training records, and their
results are named `train_sample/...`.

The paper reports (GRIT, batch 768, 500,000 steps), zero-shot, mean per class:
ImageNet 41.7, CIFAR-10 85.0, CIFAR-100 53.4; COCO t2i R@5 55.2, i2t R@5 69.5;
tree-induced error on ImageNet 3.55. `:meru` and `:clip` train the baselines.
"""

from hyperclip_jax.training.config import Config, paper


def get_config(system: str = "hycoclip") -> Config:
  return paper(system, "S")
