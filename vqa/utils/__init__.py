"""Files, signals, processes and configs; knows nothing of pictures or models."""
