"""Rendered pictures with text, for questions about what is written in a picture."""
