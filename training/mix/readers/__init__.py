"""One file for each format of public data sets; every reader yields a `Picture`."""
