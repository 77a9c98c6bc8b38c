"""One file for each format of public data sets; every reader yields `vqa.data.picture.Picture`."""
