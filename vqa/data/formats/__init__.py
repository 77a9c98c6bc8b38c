"""One file for each format of data: `sniff` knows it by its content, `read` gives its examples."""
