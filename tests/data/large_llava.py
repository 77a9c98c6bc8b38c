"""A large file of LLaVA's JSON, as people make it: many conversations about few pictures.

`python -m tests.data.large_llava FOLDER --rows 250000 --repeated 0.4` writes `FOLDER/data.json` and
its pictures; a part of the rows repeats the id of an earlier one.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from PIL import Image

_PICTURES = 40


def write(folder: Path, rows: int, repeated: float) -> Path:
    """Write `rows` rows of which a share `repeated` has the id of a row before it."""
    draw = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(_PICTURES):
        Image.new("RGB", (16 + n, 16), (6 * n, 200 - 5 * n, n)).save(folder / f"{n}.jpg")
    again = set(draw.sample(range(1, rows), round(rows * repeated)))
    ids: list[str] = []
    path = folder / "data.json"
    with path.open("w", encoding="utf-8") as file:
        for n in range(rows):
            key = draw.choice(ids) if n in again else f"{n:012}"
            if n not in again:
                ids.append(key)
            question = f"<image>\nSaid of picture {n}: what does one see on its left, and why?"
            turns = [
                {"from": "human", "value": question},
                {"from": "gpt", "value": f"A thing of kind {n % 5000}."},
                {"from": "human", "value": "And on its right?"},
                {"from": "gpt", "value": f"Nothing but {n % 77} others, as far as I can see."},
            ]
            row = {"id": key, "image": f"{n % _PICTURES}.jpg", "conversations": turns}
            file.write(("[\n" if n == 0 else ",\n") + json.dumps(row))
        file.write("\n]\n")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--repeated", type=float, default=0.4)
    given = parser.parse_args()
    print(write(given.folder, given.rows, given.repeated))
