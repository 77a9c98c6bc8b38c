"""Work on whole models: merge, average, describe and list them."""
