"""Pictures in a terminal. Each character shows two pixels: an upper half block on a background of the lower colour."""

import io

from rich.color import Color
from rich.style import Style
from rich.text import Text

_UPPER_HALF = "▀"


def draw(picture: bytes, width: int) -> Text:
    """Draw a picture in at most `width` columns, with one row of characters per two rows of pixels.

    Raises:
        OSError: the bytes are not a picture.
    """
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as opened:
        image = opened.convert("RGB")
    columns = min(width, image.width)
    rows = max(1, round(image.height * columns / image.width / 2))
    data = image.resize((columns, 2 * rows), Image.Resampling.BOX).tobytes()

    def colour(row: int, column: int) -> Color:
        place = 3 * (row * columns + column)
        return Color.from_rgb(*data[place : place + 3])

    text = Text(no_wrap=True)
    for row in range(rows):
        for column in range(columns):
            style = Style(color=colour(2 * row, column), bgcolor=colour(2 * row + 1, column))
            text.append(_UPPER_HALF, style)
        text.append("\n")
    return text
