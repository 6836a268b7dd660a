"""Keep the README's pictures of the app: `python android_demo/checks/app/screenshots.py`, after the checks have run.

The checks draw every screen into target/screenshots; of those in KEPT, copies in their 256 most frequent colours, a
third of the size, go into android_demo/screenshots.
"""

from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
DRAWN, SHOWN = HERE / "target" / "screenshots", HERE.parents[1] / "screenshots"
KEPT = ("live", "live-dark", "live-settling", "live-large-text", "live-no-gyroscope", "self-test", "record")
_COLORS = 256


def with_few_colors(drawn: Image.Image) -> Image.Image:
    """The picture in its most frequent colours: Pillow's own choice would make ground and cards one colour."""
    counted = sorted(drawn.getcolors(drawn.width * drawn.height) or [], reverse=True)
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for _, color in counted[:_COLORS] for part in color])
    return drawn.quantize(palette=palette, dither=Image.Dither.NONE)


def main() -> None:
    SHOWN.mkdir(exist_ok=True)
    for name in KEPT:
        with Image.open(DRAWN / f"{name}.png") as drawn:
            kept = with_few_colors(drawn.convert("RGB"))
        kept.save(SHOWN / f"{name}.png", optimize=True)
        print(f"{SHOWN / name}.png: {kept.width} x {kept.height}")


if __name__ == "__main__":
    main()
