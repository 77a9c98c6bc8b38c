"""The embedded model: fetch its parts, convert them and put them together."""
