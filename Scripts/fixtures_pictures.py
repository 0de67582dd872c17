#!/usr/bin/env python3
"""Writes Tests/LacunaLearnTests/Fixtures/pictures: small PNG pictures of every kind and depth, plain and interlaced, by pypng,
with what they show in pictures.json; and a picture of other sizes by Pillow.

    python3 -m venv venv && venv/bin/pip install pypng pillow
    venv/bin/python Scripts/fixtures_pictures.py Tests/LacunaLearnTests/Fixtures/pictures

Numbers are drawn from a seed, so a run with the same versions writes the same files.
"""

import json
import pathlib
import random
import struct
import sys
import zlib

import png
from PIL import Image

WIDTH, HEIGHT = 11, 9
draw = random.Random(5)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    kinds = [("grey", 1, depth) for depth in (1, 2, 4, 8, 16)] + [("palette", 1, depth) for depth in (1, 2, 4, 8)]
    kinds += [("colour", 3, 8), ("colour", 3, 16), ("grey-alpha", 2, 8), ("colour-alpha", 4, 8), ("colour-alpha", 4, 16)]
    for kind, samples, depth in kinds:
        for interlace in (False, True):
            most = 2**depth - 1
            colours = [tuple(draw.randrange(256) for _ in range(3)) for _ in range(min(most + 1, 200))]
            top = len(colours) if kind == "palette" else most + 1
            rows = [[draw.randrange(top) for _ in range(WIDTH * samples)] for _ in range(HEIGHT)]
            if kind.endswith("alpha"):
                for row in rows:
                    row[samples - 1 :: samples] = [most] * WIDTH
            name = f"{kind}-{depth}{'-interlaced' if interlace else ''}.png"
            writer = png.Writer(
                WIDTH, HEIGHT, greyscale=kind.startswith("grey"), alpha=kind.endswith("alpha"), bitdepth=depth,
                palette=colours if kind == "palette" else None, interlace=interlace)
            with open(folder / name, "wb") as file:
                writer.write(file, rows)
            if kind == "palette":
                planes = [[colours[v][c] / 255 for row in rows for v in row] for c in range(3)]
            else:
                channels = samples - kind.endswith("alpha")
                planes = [[v / most for row in rows for v in row[c::samples]] for c in range(channels)]
            expected[name] = {"channels": len(planes), "values": [round(v, 7) for plane in planes for v in plane]}
            check(folder / name, depth, expected[name])
    # Every filter, row by row, which no writer does.
    pixels = [[(4 * x + draw.randrange(9), 8 * y, (x * y) % 256) for x in range(16)] for y in range(12)]
    (folder / "filters.png").write_bytes(filtered(pixels))
    found = [list(Image.open(folder / "filters.png").getchannel(c).getdata()) for c in range(3)]
    assert found == [[p[c] for row in pixels for p in row] for c in range(3)]
    expected["filters.png"] = {
        "channels": 3, "width": 16, "height": 12, "values": [round(v / 255, 7) for plane in found for v in plane]}
    grey = Image.new("F", (WIDTH, HEIGHT))
    grey.putdata([draw.random() for _ in range(WIDTH * HEIGHT)])
    sizes = [(4, 3), (23, 9), (11, 2), (1, 1)]
    resized = {
        f"{width}x{height}": [round(v, 7) for v in grey.resize((width, height), Image.Resampling.BILINEAR).getdata()]
        for width, height in sizes}
    (folder / "pictures.json").write_text(json.dumps({
        "width": WIDTH, "height": HEIGHT, "pictures": expected, "source": [round(v, 7) for v in grey.getdata()],
        "resized": resized}, separators=(",", ":")) + "\n")
    print(len(expected), "pictures")


def filtered(pixels):
    """A PNG file of 8-bit colours whose rows take the five filters in turn."""
    raw, above = b"", [0] * (3 * len(pixels[0]))
    for y, row in enumerate(pixels):
        line, kind = [v for p in row for v in p], y % 5
        raw += bytes([kind])
        for i, value in enumerate(line):
            left, up = (line[i - 3] if i >= 3 else 0), above[i]
            corner = above[i - 3] if i >= 3 else 0
            guess = left + up - corner
            nearest = min((left, up, corner), key=lambda v: abs(guess - v))
            raw += bytes([(value - [0, left, up, (left + up) // 2, nearest][kind]) % 256])
        above = line
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", len(pixels[0]), len(pixels), 8, 2, 0, 0, 0)), (b"tEXt", b"Title\0Filters"),
        *((b"IDAT", part) for part in [zlib.compress(raw)[:50], zlib.compress(raw)[50:]]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks)


def check(path, depth, expected):
    """Pillow agrees where it keeps all bits."""
    if depth == 16:
        return
    image = Image.open(path).convert("L" if expected["channels"] == 1 else "RGB")
    found = [v / 255 for c in range(expected["channels"]) for v in image.getchannel(c).getdata()]
    assert all(abs(a - b) < 3e-3 for a, b in zip(found, expected["values"], strict=True)), path


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
