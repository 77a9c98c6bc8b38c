"""Question-answer data: one example, a reader for each known format, the training mix."""
