"""The shared space of pictures and texts: near in it is what belongs together (CLIP-like)."""

MODEL_TYPE = "vqa_dual_encoder"
HUB_TYPES = ("clip", "siglip", "siglip2")  # of transformers, that hold both encoders
