"""Training recipes: each a config and a `transformers.Trainer`."""
