"""Synthetic custom recordings: three people who sit, walk and jump, in the formats of three phones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.preprocessing.motion import SECOND, Floats, Times, regular
from tests.preprocessing.phones import G

LABELS = ("jump", "sit", "walk")
PEOPLE = ("anna", "ben", "carla")
TOML = """\
rate_hz = 50                        # of the model's windows; recordings can be faster, hardly slower
window = 100                        # samples: 2 s
hop = 50                            # samples between the starts of two windows
sensors = ["accelerometer"]         # no gyroscope needed
labels = ["sit", "walk", "jump"]    # in this order; other labels are ignored
subject_pattern = "{subject}_*.csv"
test_subjects = ["carla"]
validation_subjects = ["ben"]

[columns]                           # only those that `harexport predict` would not recognize
time = "t"
acc = ["ax", "ay", "az"]
label = "what"

[units]
time = "ms"
acc = "m/s2"
"""


def moving(times: Times, label: str, person: int) -> tuple[Floats, Floats]:
    """Acceleration [n, 3] in g and angular velocity [n, 3] in rad/s of a person who does this in their own way."""
    rng = np.random.default_rng([person, LABELS.index(label)])
    t = times[:, None] / SECOND
    strength, hertz = {"sit": (0.0, 1.0), "walk": (0.25, 1.9), "jump": (0.9, 2.6)}[label]
    hertz *= 1 + 0.04 * person
    phases = np.array([0.0, 1.0, 2.0]) + 0.3 * person
    upright = np.array([0.95, -0.1 - 0.05 * person, 0.25]) if label != "sit" else np.array([0.25, 0.1, 0.96])
    swing = np.sin(2 * np.pi * hertz * t + phases) * np.array([1.0, 0.4, 0.5])
    noise = rng.normal(0, 0.01, (2, len(times), 3))
    return upright + strength * swing + noise[0], 3 * strength * swing[:, ::-1] + noise[1]


def recording(
    person: int, plan: Sequence[tuple[str, float]], rate_hz: float
) -> tuple[Times, Floats, Floats, list[str]]:
    """Times, acceleration in g, angular velocity in rad/s and labels of (label, seconds), one after the other."""
    times = regular(sum(seconds for _, seconds in plan), rate_hz, 7.0)
    acc, gyro, labels = np.empty((len(times), 3)), np.empty((len(times), 3)), np.empty(len(times), object)
    began = float(times[0] / SECOND)
    for label, seconds in plan:
        inside = (times >= round(began * SECOND)) & (times < round((began + seconds) * SECOND))
        acc[inside], gyro[inside] = moving(times[inside], label or "sit", person)
        labels[inside] = label
        began += seconds
    return times, acc, gyro, labels.tolist()


def csv_of(person: int, plan: Sequence[tuple[str, float]], rate_hz: float = 50.0) -> str:
    """A recording with the columns of TOML: t in ms, ax, ay, az in m/s2, what."""
    times, acc, _, labels = recording(person, plan, rate_hz)
    rows = zip(times.tolist(), (acc * G).tolist(), labels, strict=True)
    return "t,ax,ay,az,what\n" + "".join(
        f"{time / 1e6:.3f},{x:.5f},{y:.5f},{z:.5f},{label}\n" for time, (x, y, z), label in rows
    )


def record_screen(person: int, plan: Sequence[tuple[str, float]]) -> str:
    """A recording as the Android demo's screen Record writes it: nanoseconds, one line per sample of a sensor."""
    times, acc, gyro, labels = recording(person, plan, 100.0)
    header = "timestamp_ns,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s,label\n"
    lines = []
    for time, a, g, label in zip(times.tolist(), (acc * G).tolist(), gyro.tolist(), labels, strict=True):
        lines.append(f"{time},{a[0]},{a[1]},{a[2]},,,,{label}\n")
        lines.append(f"{time + 3_000_000},,,,{g[0]},{g[1]},{g[2]},{label}\n")
    return header + "".join(lines)


def write(
    folder: Path, toml: str = TOML, seconds: float = 20.0, rates: tuple[float, float, float] = (50.0, 52.6, 100.0)
) -> Path:
    """Three recordings at these rates: 6 s without a label, then 6 s of each label; and harexport.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    for person, (name, rate_hz) in enumerate(zip(PEOPLE, rates, strict=True)):
        plan = [("", 6.0), ("sit", seconds), ("walk", seconds), ("jump", seconds)]
        (folder / f"{name}_monday.csv").write_text(csv_of(person, plan, rate_hz), "utf-8")
    (folder / "harexport.toml").write_text(toml, "utf-8")
    return folder
