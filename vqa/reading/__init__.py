"""The text in pictures: read by an OCR engine, and given to the language model beside the pixels.

No encoder at a few hundred pixels can read. `TextReader` reads the picture as it came, `rapidocr`
(extra `read`) does the work, and what it read stands as a quoted block before the question, as
LLaVA-1.5 got the tokens of an OCR engine on TextVQA (arXiv:2310.03744, appendix).
"""

from vqa.reading.line_store import LineStore
from vqa.reading.quotes import marked, quoted_spans, read_rows
from vqa.reading.reader import ReadMode, TextReader, most_likely_line, rows_that_matter
from vqa.reading.text_lines import TextLine, reading_order

__all__ = [
    "LineStore",
    "ReadMode",
    "TextLine",
    "TextReader",
    "marked",
    "most_likely_line",
    "quoted_spans",
    "read_rows",
    "reading_order",
    "rows_that_matter",
]
