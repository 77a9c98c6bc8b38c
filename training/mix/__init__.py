"""Make the training data of the embedded model."""
