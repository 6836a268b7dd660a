"""Keep the README's pictures of the app: `python android_demo/checks/app/screenshots.py`, after the checks have run.

The checks draw every screen into target/screenshots; of those in KEPT, copies with 256 colours, a third of the size, go
into android_demo/screenshots.
"""

from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent
DRAWN, SHOWN = HERE / "target" / "screenshots", HERE.parents[1] / "screenshots"
KEPT = ("live", "live-dark", "live-settling", "live-large-text", "live-no-gyroscope", "self-test", "record")


def main() -> None:
    SHOWN.mkdir(exist_ok=True)
    for name in KEPT:
        with Image.open(DRAWN / f"{name}.png") as drawn:
            palette = drawn.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        palette.save(SHOWN / f"{name}.png", optimize=True)
        print(f"{SHOWN / name}.png: {palette.width} x {palette.height}")


if __name__ == "__main__":
    main()
