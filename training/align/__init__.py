"""Train the heads of a shared space of pictures and texts."""
