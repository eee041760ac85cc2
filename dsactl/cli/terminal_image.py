"""Pictures in a terminal. Each character shows two pixels: an upper half block on a background of the lower colour,
or, without colours, a letter that is as dense as both are bright.
"""

import io

from rich.color import Color
from rich.style import Style
from rich.text import Text

HALF_BLOCK = "▀"
_SHADES = " .:-=+*#%@"


def draw(picture: bytes, width: int, *, colours: bool = True) -> Text:
    """Draw a picture in at most `width` columns, with one row of characters per two rows of pixels.

    Raises:
        OSError: the bytes are not a picture.
    """
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as opened:
        image = opened.convert("RGB")
    columns = min(width, image.width)
    rows = max(1, round(image.height * columns / image.width / 2))
    if not colours:
        grey = image.convert("L").resize((columns, rows), Image.Resampling.BOX).tobytes()
        shades = "".join(_SHADES[len(_SHADES) * level // 256] for level in grey)
        return Text("".join(shades[columns * row : columns * (row + 1)] + "\n" for row in range(rows)), no_wrap=True)
    data = image.resize((columns, 2 * rows), Image.Resampling.BOX).tobytes()

    def colour(row: int, column: int) -> Color:
        place = 3 * (row * columns + column)
        return Color.from_rgb(*data[place : place + 3])

    text = Text(no_wrap=True)
    for row in range(rows):
        for column in range(columns):
            style = Style(color=colour(2 * row, column), bgcolor=colour(2 * row + 1, column))
            text.append(HALF_BLOCK, style)
        text.append("\n")
    return text
