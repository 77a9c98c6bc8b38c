"""The shared space of pictures and texts: near in it is what belongs together (CLIP-like)."""
