"""`python -m tests.hostile [KIND ...]`: plant all inputs, run `vqa` on each, print how it ended."""

from __future__ import annotations

import sys

from tests.hostile import models, pictures, replies, tables
from tests.hostile.harness import table

KINDS = {
    "models": models.CASES,
    "replies": replies.CASES,
    "pictures": pictures.CASES,
    "tables": tables.CASES,
}

if __name__ == "__main__":
    sys.exit(min(sum(table(KINDS[kind]) for kind in sys.argv[1:] or KINDS), 1))
