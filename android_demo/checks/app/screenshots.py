"""Copy screenshots of the app for the README: python android_demo/checks/app/screenshots.py, after the checks.

The checks render every screen to target/screenshots. Those in SELECTED get a plain frame, are reduced to their 256 most
frequent colors, a third of the size, and written to android_demo/screenshots.
"""

from pathlib import Path

from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parent
SOURCE, TARGET = HERE / "target" / "screenshots", HERE.parents[1] / "screenshots"
SELECTED = (
    "live",
    "live-dark",
    "live-german",
    "live-large-text",
    "live-landscape",
    "live-mounting",
    "live-page",
    "record",
    "record-replay",
    "self-test",
)
_COLORS = 256
_FRAME, _FRAME_COLOR = 4, "#5f6368"


def reduce_colors(image: Image.Image) -> Image.Image:
    """Return the image in its most frequent colors: Pillow's palette would merge background and cards."""
    by_frequency = sorted(image.getcolors(image.width * image.height) or [], reverse=True)
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for _, color in by_frequency[:_COLORS] for part in color])
    return image.quantize(palette=palette, dither=Image.Dither.NONE)


def main() -> None:
    TARGET.mkdir(exist_ok=True)
    for name in SELECTED:
        with Image.open(SOURCE / f"{name}.png") as image:
            reduced = reduce_colors(ImageOps.expand(image.convert("RGB"), _FRAME, _FRAME_COLOR))
        reduced.save(TARGET / f"{name}.png", optimize=True)
        print(f"{TARGET / name}.png: {reduced.width} x {reduced.height}")


if __name__ == "__main__":
    main()
