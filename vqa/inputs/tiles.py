"""Tiles of large pictures, as in LLaVA-NeXT: an overview, and then the tiles in more detail.

A model has them whose image processor has `image_grid_pinpoints`: resolutions in pixels, [height,
width], each a grid of the encoder's squares. Of these `select_best_resolution` chooses one for the
size of a picture; where that is one square, there is the overview alone. Overview and tiles are
the crops of a picture. The encoder takes each as a picture of its own, and their image tokens stand
one behind the other, which LLaVA-NeXT calls the merge type `flat`: no weights are added. Where
LLaVA-NeXT pads a picture to its grid, it is squeezed into it here, as the overview is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from vqa.errors import InputError, error_line

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

Size = tuple[int, int]  # of a picture: width and height in pixels

MOST_TILES = 36  # of a picture; LLaVA-OneVision has as many
GRID_PINPOINTS = "image_grid_pinpoints"
_MOST_PINPOINTS = 256
_pixel_sizes: WeakKeyDictionary[Any, tuple[int, int]] = WeakKeyDictionary()


def grid_pinpoints(tiles: int, pixels: tuple[int, int]) -> list[list[int]]:
    """List all grids of at most so many tiles of `pixels` (height, width), one tile included."""
    return [
        [rows * pixels[0], columns * pixels[1]]
        for rows in range(1, tiles + 1)
        for columns in range(1, tiles // rows + 1)
    ]


def has_tiles(image_processor: Any) -> bool:
    """Return whether a model's large pictures are cut into tiles."""
    return bool(getattr(image_processor, GRID_PINPOINTS, None))


def largest_edge(image_processor: Any) -> int:
    """Return the longest edge of all grids in pixels; 0 for a model without tiles."""
    pinpoints = getattr(image_processor, GRID_PINPOINTS, None) or []
    return max((edge for pair in pinpoints for edge in pair), default=0)


def choose_grid(image_processor: Any, size: Size) -> tuple[int, int]:
    """Choose rows and columns of the tiles of a picture; (1, 1) is the overview alone."""
    if not has_tiles(image_processor):
        return 1, 1
    from transformers.image_processing_utils import select_best_resolution

    width, height = size
    best = select_best_resolution((height, width), getattr(image_processor, GRID_PINPOINTS))
    side = pixel_size(image_processor)
    return best[0] // side[0], best[1] // side[1]


def count_crops(image_processor: Any, size: Size) -> int:
    """Count the crops of a picture: the overview, and its tiles."""
    rows, columns = choose_grid(image_processor, size)
    return 1 if rows * columns == 1 else 1 + rows * columns


def prepare_crops(
    image_processor: Any, pictures: Sequence[Image.Image], sizes: Sequence[Size] | None = None
) -> tuple[Tensor, list[int]]:
    """Prepare pictures for the encoder: the crops of all [crops, 3, H, W], and how many of each.

    `sizes` are those that the grids are chosen for, where `pictures` are parts of others.
    """
    sizes = [picture.size for picture in pictures] if sizes is None else sizes
    crops = [
        [*_crops(image_processor, picture, size)]
        for picture, size in zip(pictures, sizes, strict=True)
    ]
    prepared = image_processor([crop for own in crops for crop in own], return_tensors="pt")
    return prepared["pixel_values"], [len(own) for own in crops]


def _crops(image_processor: Any, picture: Image.Image, size: Size) -> Iterator[Image.Image]:
    """Yield the overview and then the tiles, row by row, each as large as the encoder takes them.

    A picture without tiles is left to the image processor as it is.
    """
    rows, columns = choose_grid(image_processor, size)
    if rows * columns == 1:
        yield picture
        return
    height, width = pixel_size(image_processor)
    yield picture.resize((width, height))
    squeezed = picture.resize((columns * width, rows * height))
    for row in range(rows):
        for column in range(columns):
            left, top = column * width, row * height
            yield squeezed.crop((left, top, left + width, top + height))


def check_tiles(image_processor: Any) -> None:
    """Raise InputError for grids that are none of the encoder's squares, or too large."""
    if not has_tiles(image_processor):
        return
    pinpoints = getattr(image_processor, GRID_PINPOINTS)
    if not isinstance(pinpoints, list) or len(pinpoints) > _MOST_PINPOINTS:
        raise _error(f"a list of up to {_MOST_PINPOINTS} resolutions is expected")
    height, width = pixel_size(image_processor)
    for pair in pinpoints:
        if not isinstance(pair, list | tuple) or [*map(type, pair)] != [int, int]:
            raise _error("pairs of height and width in pixels are expected")
        rows, columns = pair[0] // height, pair[1] // width
        if [*pair] != [rows * height, columns * width] or min(rows, columns) < 1:
            raise _error(f"{pair[0]} x {pair[1]} is no grid of squares of {height} x {width}")
        if rows * columns > MOST_TILES:
            raise _error(f"{pair[0]} x {pair[1]} has more than {MOST_TILES} tiles")
    edge = dict(getattr(image_processor, "size", None) or {}).get("shortest_edge")
    if getattr(image_processor, "do_center_crop", False) and edge not in (None, height):
        raise _error(f"tiles would lose their edges, since {edge} pixels are cropped to {height}")


def _error(reason: str) -> InputError:
    return InputError(f"{GRID_PINPOINTS}: {reason}")


def pixel_size(image_processor: Any) -> tuple[int, int]:
    """Return height and width in pixels of every prepared crop, as tried on two shapes."""
    size = _pixel_sizes.get(image_processor)
    if size is None:
        from PIL import Image

        try:
            sizes = {
                tuple(image_processor(Image.new("RGB", shape))["pixel_values"][0].shape[-2:])
                for shape in ((96, 64), (64, 96))
            }
        except Exception as error:  # whatever settings of a stranger's lead to
            raise InputError(
                f"The image processor prepares no picture: {error_line(error)}"
            ) from error
        if len(sizes) > 1:
            raise InputError(
                "The image processor keeps the pictures' shape: set a crop or a fixed size in its "
                "preprocessor_config.json."
            )
        height, width = sizes.pop()
        size = _pixel_sizes[image_processor] = (int(height), int(width))
    return size
