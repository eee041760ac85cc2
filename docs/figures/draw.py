"""Draw the pictures of docs/tutorial.md and docs/method.md from the photographs of the tutorial.

python docs/figures/draw.py signs        the folder that the tutorial's make_signs.py made; some minutes
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

import dsactl
from dsactl.augmentation.strategy import parse_strategy
from dsactl.augmentation.transforms import augment, draw
from dsactl.engine.random import generator
from dsactl.parametrisation.formation import Formation

HERE = Path(__file__).parent
GAP, LINE, TILE = 6, 22, 72
"""Pixels: between tiles, of a line of text, of a tile's side."""
SEED = 25
KINDS = ("color", "crop", "cutout", "flip", "scale", "rotate")

Row = tuple[str, Sequence[Image.Image]]


def tiles(pixels_NCHW: Tensor, side: int = TILE) -> list[Image.Image]:
    """Enlarge images with pixels of 0 … 1, without smoothing."""
    levels_NHWC = (pixels_NCHW.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    nearest = Image.Resampling.NEAREST
    return [Image.fromarray(each.numpy()).resize((side, side), nearest) for each in levels_NHWC]


def sheet(rows: Sequence[Row], columns: Sequence[str] = (), margin: int = 0) -> Image.Image:
    """Put rows of tiles below each other.

    Args:
        rows: each with the text at its left.
        columns: texts above the tiles.
        margin: width of the texts at the left.
    """
    width = margin + max(sum(tile.width + GAP for tile in row) for _, row in rows)
    top = LINE if columns else 0
    whole = Image.new("RGB", (width, top + sum(row[0].height + GAP for _, row in rows)), "white")
    pen, x, y = ImageDraw.Draw(whole), margin, top
    for text, tile in zip(columns, rows[0][1], strict=False):
        pen.text((x + tile.width // 2, LINE // 2), text, "black", anchor="mm", font_size=13)
        x += tile.width + GAP
    for text, row in rows:
        x = margin
        pen.text((4, y + row[0].height // 2), text, "black", anchor="lm", font_size=13)
        for tile in row:
            whole.paste(tile, (x, y))
            x += tile.width + GAP
        y += row[0].height + GAP
    return whole


def photographs(folder: Path) -> Image.Image:
    """Six photographs of each class, at their own proportions within squares."""
    rows = []
    for kind in sorted(path for path in folder.iterdir() if path.is_dir()):
        pictures = [Image.open(path) for path in sorted(kind.iterdir())[:6]]
        rows.append((kind.name, [ImageOps.pad(picture, (TILE, TILE), color="white") for picture in pictures]))
    return sheet(rows, margin=90)


def progress(folder: Path) -> Image.Image:
    """Photographs at the size in which they are condensed, and the synthetic images after some iterations."""
    real = dsactl.load_dataset(folder, image_size=16)
    names = real.class_names
    some = torch.tensor([sum(real.train.counts[:label]) + 6 for label in range(len(names))])
    rows: list[Row] = [("photographs", tiles(real.train.images_NCHW[some] / 255))]
    for iterations in (1, 10, 50, 200):
        condensed = dsactl.condense(folder, image_size=16, ipc=1, iterations=iterations)
        after = f"{iterations} iteration{'s' if iterations > 1 else ''}"
        rows.append((after, tiles(condensed.pixels())))
    return sheet(rows, names, margin=100)


def siamese(folder: Path) -> Image.Image:
    """One draw of each kind of augmentation, applied to real images and to the synthetic image of their class."""
    real = dsactl.load_dataset(folder, image_size=16)
    condensed = dsactl.condense(folder, image_size=16, ipc=1, iterations=200)
    stop = real.class_names.index("stop")
    first = sum(real.train.counts[:stop])
    chosen_NCHW = real.train.images_NCHW[first : first + 3]
    batch_NCHW = torch.cat([real.normalise(chosen_NCHW), condensed.images[stop][None]])
    columns = [batch_NCHW]
    for kind in KINDS:
        omega = draw(parse_strategy(kind), 1, real.size, generator(SEED, "figure"))
        columns.append(augment(batch_NCHW, omega))
    shown = [tiles(replace(condensed, images=each).pixels()) for each in columns]
    texts = ("real", "real", "real", "synthetic")
    return sheet([(text, [column[row] for column in shown]) for row, text in enumerate(texts)], ("", *KINDS), 70)


def formation(folder: Path) -> Image.Image:
    """Four photographs, the image that stores them with formation 2, and the four that it is decoded into."""
    real = dsactl.load_dataset(folder, image_size=32)
    first = sum(real.train.counts[: real.class_names.index("speed-limit")])
    four_NCHW = real.train.images_NCHW[first : first + 4] / 255
    stored_NCHW = Formation(2).encode(four_NCHW)
    rows = [("photographs", four_NCHW), ("stored as one", stored_NCHW), ("decoded", Formation(2).decode(stored_NCHW))]
    return sheet([(text, tiles(pixels_NCHW, 96)) for text, pixels_NCHW in rows], margin=110)


def main(folder: Path) -> None:
    """Draw all pictures."""
    photographs(folder).save(HERE / "signs.jpg", quality=80)
    condensed = dsactl.condense(folder, image_size=16, ipc=1, iterations=200)
    sheet([("", tiles(condensed.pixels(), 96))], condensed.class_names).save(HERE / "signs-condensed.png")
    for picture in (progress, siamese, formation):
        picture(folder).save(HERE / f"{picture.__name__}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
