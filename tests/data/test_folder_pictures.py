"""Odd image files: damaged, turned, of every format, large, or no files at all; and doubts about their content."""

import contextlib
import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sessions import Told

import dsactl
from dsactl.data import folder as reading
from dsactl.data import pictures
from dsactl.data.folder import load_folder
from dsactl.data.layout import in_numbers
from dsactl.data.load import load_dataset
from dsactl.errors import DataError, UsageError


def noise(*seed: int, size: tuple[int, int] = (16, 24), channels: int = 3) -> Image.Image:
    """A noisy image, 24 wide and 16 high."""
    values = np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)
    return Image.fromarray(values if channels > 1 else values[..., 0])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of three noisy images."""
    for label, name in enumerate("ab"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(3):
            noise(label, index).save(tmp_path / "set" / name / f"{index}.png")
    return tmp_path / "set"


def has_image(found: object, picture: Image.Image) -> bool:
    """Whether a data set has an image, among those for training or testing."""
    wanted = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    images = torch.cat([found.train.images_NCHW, found.test.images_NCHW])  # type: ignore[attr-defined]
    return bool((images == wanted).flatten(1).all(1).any())


def turned(tag: int, kind: int, count: int, value: bytes, tail: bytes = b"") -> bytes:
    """A JPEG, 16 wide and 24 high, to be turned by 90 degrees, with another entry in its EXIF."""
    buffer = BytesIO()
    noise(9, size=(24, 16)).save(buffer, "JPEG")
    entries = sorted([(0x0112, 3, 1, struct.pack("<HH", 6, 0)), (tag, kind, count, value)])
    body = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + body + b"\0" * 4 + tail
    return buffer.getvalue()[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + buffer.getvalue()[2:]


DAMAGED = {
    "negative resolution": turned(0x011A, 10, 1, struct.pack("<I", 38), struct.pack("<ii", -1, 1)),
    "text for a number": turned(0x0111, 2, 1, b"a\0\0\0"),
    "text for bytes": turned(700, 2, 3, b"abc\0"),
    "unknown type": turned(0x0131, 99, 1, b"abc\0"),
    "offset beyond the end": turned(0x010F, 2, 999999, struct.pack("<I", 0xFFFFFF)),
    "thumbnail without end": turned(0x8769, 4, 1, struct.pack("<I", 0xFFFFFFF0)),
}


@pytest.mark.filterwarnings("ignore")  # what Pillow says when the test opens them
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_exif_does_not_keep_an_image_from_being_read_upright(root: Path, name: str) -> None:
    (root / "a" / "z.jpg").write_bytes(DAMAGED[name])
    upright = Image.open(root / "a" / "z.jpg").transpose(Image.Transpose.ROTATE_270)
    assert has_image(load_folder(root), upright)


def test_exif_that_cannot_be_read_at_all_is_ignored(root: Path) -> None:
    noise(9).save(root / "a" / "z.jpg", exif=b"Exif\0\0nothing of the kind")
    assert has_image(load_folder(root), Image.open(root / "a" / "z.jpg"))


def test_an_orientation_of_no_meaning_is_ignored(root: Path) -> None:
    for value in (0, 9, 60000):
        exif = Image.Exif()
        exif[0x0112] = value
        noise(9).save(root / "a" / f"{value}.jpg", exif=exif)
    assert len(load_folder(root).train) + len(load_folder(root).test) == 9


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_by_the_headers_are_those_of_the_upright_images(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{kind}"
    noise(orientation).save(path, exif=exif)
    height, width = pictures.read_picture(path, None).pixels.shape[:2]
    assert pictures.read_header(path).size == (width, height) == ((16, 24) if orientation >= 5 else (24, 16))


@pytest.mark.parametrize(
    "ending", ["jfif", "jpe", "JPG", "avif", "pnm", "pbm", "jp2", "apng", "tga", "ico", "pcx", "dib"]
)
def test_every_ending_that_pillow_decodes_is_read(tmp_path: Path, ending: str) -> None:
    if f".{ending.lower()}" not in pictures.endings():
        pytest.skip(f"this Pillow does not read .{ending}")
    for label, name in enumerate("ab"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(2):
            picture = noise(label, index, size=(16, 16))
            picture = picture.convert("1") if ending == "pbm" else picture
            kind = Image.registered_extensions()[f".{ending.lower()}"]
            picture.save(tmp_path / "set" / name / f"{index}.{ending}", format=kind)
    found = load_folder(tmp_path / "set")
    assert (found.train.counts, found.test.counts, found.size) == ((1, 1), (1, 1), (16, 16))


def test_no_other_program_is_started_to_read_a_file(root: Path) -> None:
    assert not {".eps", ".ps", ".wmf", ".mpg", ".h5"} & pictures.endings()
    (root / "a" / "z.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 16\n%%EndComments\n")
    with pytest.raises(DataError, match=r"z\.png is not an image in a known format"):
        load_folder(root)


def test_the_content_counts_and_not_the_ending(root: Path) -> None:
    noise(9).save(root / "a" / "z.jpg", format="PNG")
    assert has_image(load_folder(root), noise(9))


def test_an_animation_is_its_first_frame(root: Path) -> None:
    frames = [noise(index).quantize(16) for index in range(3)]
    frames[0].save(root / "a" / "z.gif", save_all=True, append_images=frames[1:])
    assert has_image(load_folder(root), frames[0])


def test_printed_colours_are_those_that_are_seen(root: Path) -> None:
    red = Image.new("CMYK", (24, 16), (0, 255, 255, 0))
    red.save(root / "a" / "y.tif")
    red.save(root / "a" / "z.jpg", quality=100)  # with Adobe's marker, inverted
    found = load_folder(root)
    images = torch.cat([found.train.images_NCHW, found.test.images_NCHW])
    near = (images.float() - torch.tensor([255.0, 0, 0]).view(3, 1, 1)).abs().flatten(1).amax(1) < 3
    assert near.sum() == 2


def scanline_png(width: int, height: int) -> bytes:
    """A black PNG of one bit per pixel, made without its pixels in memory."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_large_scan_is_read_and_a_bomb_is_not(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    (root / "a" / "z.png").write_bytes(scanline_png(1500, 1000))  # Pillow warns of it
    assert load_folder(root, image_size=8).size == (8, 8)
    (root / "a" / "z.png").write_bytes(scanline_png(3000, 1000))
    with pytest.raises(DataError, match=r"z\.png is too large: it has more than 2,000,000 pixels"):
        load_folder(root, image_size=8)


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if an image is decoded."""

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"{arguments} was decoded")

    monkeypatch.setattr(reading, "read_picture", refuse)


@pytest.mark.usefixtures("undecoded")
def test_sizes_are_compared_before_anything_is_decoded(root: Path) -> None:
    noise(9, size=(24, 16)).save(root / "b" / "z.png")
    with pytest.raises(DataError, match=r"most are 24×16 pixels, .*z\.png is not") as raised:
        load_folder(root)
    assert "`image_size`" in raised.value.hint


@pytest.mark.usefixtures("undecoded")
def test_photographs_must_be_resized(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(2):
            (tmp_path / "set" / name / f"{index}.png").write_bytes(scanline_png(2000, 1000))
    with pytest.raises(DataError, match="2000×1000 pixels, more than 1024×1024") as raised:
        load_folder(tmp_path / "set")
    assert "`image_size=64`" in raised.value.hint
    with pytest.raises(AssertionError, match="was decoded"):  # as dsactl 0.1 did
        load_folder(tmp_path / "set", as_before=True)


@pytest.mark.usefixtures("undecoded")
def test_more_than_the_memory_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_memory", lambda: 6 * 3 * 64 * 64 - 1)
    with pytest.raises(DataError, match=r"6 images of 64×64 pixels need 0\.0 GiB of memory"):
        load_folder(root, image_size=64)
    with pytest.raises(AssertionError, match="was decoded"):
        load_folder(root, image_size=63)


@pytest.mark.parametrize("size", [3, 1025, 100000])
def test_image_size_has_limits(root: Path, size: int) -> None:
    with pytest.raises(UsageError, match=r"`image_size` must be at (least 4|most 1024), not"):
        load_dataset(str(root), image_size=size)


@pytest.mark.usefixtures("undecoded")
def test_all_unreadable_files_are_counted(root: Path) -> None:
    for index in range(3):
        (root / "b" / f"x{index}.png").write_text("nothing")
    with pytest.raises(
        DataError, match=r"x0\.png is not an image in a known format\. \(2 more files cannot be read\.\)"
    ):
        load_folder(root)


def pipe(path: Path) -> None:
    """Make a named pipe, which would be waited for without end."""
    os.mkfifo(path)


def link(path: Path) -> None:
    """Make a link to nothing."""
    path.symlink_to(path.parent / "nowhere")


def loop(path: Path) -> None:
    """Make a link to itself."""
    path.symlink_to(path)


def empty(path: Path) -> None:
    """Make an empty file."""
    path.touch()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (pipe, "is not a regular file"),
        (link, "is a link to a file that does not exist"),
        (loop, "cannot be read: Too many levels of symbolic links"),
        (empty, "is not an image in a known format"),
    ],
)
def test_files_that_are_none_are_named(root: Path, make: Callable[[Path], None], said: str) -> None:
    make(root / "a" / "odd.png")
    with pytest.raises(DataError, match=rf"odd\.png.*{said}"):
        load_folder(root)


def test_links_are_followed_and_a_folder_is_no_image(root: Path, tmp_path: Path) -> None:
    noise(9).save(tmp_path / "elsewhere.png")
    (root / "a" / "z.png").symlink_to(tmp_path / "elsewhere.png")
    (root / "a" / "folder.png").mkdir()
    (root / "c").symlink_to(root / "b")
    found = load_folder(root)
    assert has_image(found, noise(9))
    assert found.class_names == ("a", "b", "c")
    assert "Skipped: 1 sub-folder." in found.remark


@pytest.mark.parametrize("cut", [20, 60, 0.5])
@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "webp", "tif", "bmp", "tga", "jp2", "ico", "qoi"])
def test_truncated_files_of_every_kind_are_named(root: Path, kind: str, cut: float) -> None:
    buffer = BytesIO()
    try:
        noise(9).save(buffer, Image.registered_extensions()[f".{kind}"])
    except (KeyError, OSError):
        pytest.skip(f"this Pillow does not write .{kind}")
    data = buffer.getvalue()
    (root / "a" / f"z.{kind}").write_bytes(data[: int(cut * len(data)) if cut < 1 else int(cut)])
    with pytest.raises(DataError, match=rf"z\.{kind} "):
        load_folder(root)


def test_bytes_of_no_sense_are_read_or_refused(root: Path) -> None:
    source = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "TGA", "PCX"):
        buffer = BytesIO()
        noise(9).save(buffer, kind)
        for _ in range(30):
            data = bytearray(buffer.getvalue())
            for place in source.integers(0, min(len(data), 300), 8):
                data[place] = source.integers(0, 256)
            (root / "a" / "z.png").write_bytes(data)
            with contextlib.suppress(DataError):  # and nothing else is raised
                load_folder(root, image_size=8)


def test_twelve_bits_in_sixteen_are_remarked(tmp_path: Path) -> None:
    for most, said in ((4095, True), (16383, True), (65535, False)):
        for label, name in enumerate("ab"):
            (tmp_path / str(most) / name).mkdir(parents=True)
            for index in range(2):
                values = np.random.default_rng([label, index]).integers(0, most, (9, 9), dtype=np.uint16)
                values[0, 0] = most
                Image.fromarray(values).save(tmp_path / str(most) / name / f"{index}.png")
        remark = load_folder(tmp_path / str(most)).remark
        assert (f"{(most >> 8) + 1} of 256 levels are used" in remark) == said
    assert "scale them to 0 … 65,535" in load_folder(tmp_path / "4095").remark


def test_test_images_that_are_trained_on_are_counted(root: Path) -> None:
    assert "equal" not in load_folder(root).remark
    for name in "ab":
        for index in range(3):
            path = root / name / f"{index}.png"
            (path.with_name(f"copy{index}.bmp")).write_bytes(path.read_bytes())
    split = load_folder(root, test_fraction=0.5)
    known = {image.numpy().tobytes() for image in split.train.images_NCHW}
    count = sum(image.numpy().tobytes() in known for image in split.test.images_NCHW)
    assert f"{count} of the 6 test images {'equals' if count == 1 else 'equal'} a training image" in split.remark
    assert in_numbers({"sub-folder": 2, ".csv": 3, "image outside of class folders": 1}) == (
        "3 .csv, 2 sub-folders, 1 image outside of class folders"
    )


def test_reading_reports_its_progress(root: Path) -> None:
    told = Told()
    load_dataset(f"{root}@classes0-1", progress=told)
    assert [(done, total) for done, total, *_ in told.updates] == [(0, 6)] * 6 + [(done, 6) for done in range(1, 7)]


def test_condense_reports_reading(root: Path) -> None:
    told = Told()
    dsactl.condense(root, ipc=1, method="random", image_size=6, progress=told)
    assert "reading the header of image 1" in " ".join(doing for _, _, doing, *_ in told.updates)


@pytest.mark.parametrize("name", ["~no-such-user/photos", ""])
def test_names_of_no_folder_are_refused(name: str) -> None:
    with pytest.raises((DataError, UsageError), match=r"no home folder|is empty"):
        load_dataset(name)
