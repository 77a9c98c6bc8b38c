"""Train a co-attention answerer over a closed set of answers."""
