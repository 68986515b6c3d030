"""Sizes of published towers: plain numbers over shared parts."""

# Vision transformers as the HyCoCLIP paper trains them; S has 12 heads.
VIT = {
  "S": {"width": 384, "depth": 12, "heads": 12, "patch": 16},
  "B": {"width": 768, "depth": 12, "heads": 12, "patch": 16},
  "L": {"width": 1024, "depth": 24, "heads": 16, "patch": 16},
}
