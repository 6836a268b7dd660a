"""Time and memory of `harexport predict` for an hour of two sensors at 100 Hz, as the command is run by default.

Writes an hour of walking and standing in turn as a plain CSV and as a zip of Sensor Logger, and runs the whole command
on each in a new process. Writes benchmarks/hour_speed.json. A minute.
Usage: python benchmarks/hour_speed.py [--package DIR --name NAME]
  --package DIR   measure the package in DIR, such as a checkout of an earlier version, instead of this one
  --name NAME     its name in the JSON (default: present)
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.converters import converting
from harexport.evaluation import environment
from harexport.utils import files

JSON = ROOT / "benchmarks" / "hour_speed.json"
RATE_HZ, SECONDS = 100, 3600
REPETITIONS = 3
GRAVITY = 9.80665


def motion() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times [n] in s, acceleration [n, 3] in m/s2 and angular velocity [n, 3] in rad/s: minutes of walking and rest."""
    t = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    rng = np.random.default_rng(0)
    step = 2 * np.pi * t / 0.55  # two steps of 0.55 s a stride
    strength = np.where(t // 60 % 2 == 0, 1.0, 0.0)[:, None]
    vertical = (
        0.22 * np.sin(step) + 0.17 * np.sin(2 * step + 0.8) + 0.1 * np.sin(3 * step + 2) + 0.05 * np.sin(step / 2)
    )
    sway, forward = 0.15 * np.sin(step / 2 + 1.0), 0.18 * np.sin(step + 0.5)
    acc = np.array([0.95, -0.15, 0.2]) + strength * np.stack([vertical, sway, forward], axis=1)
    gyro = strength * np.stack([0.9 * np.sin(step / 2), 1.3 * np.sin(step + 0.3), 0.5 * np.cos(step / 2)], axis=1)
    noise = rng.normal(size=(2, len(t), 3))
    return t, GRAVITY * (acc + 0.004 * noise[0]), gyro + 0.01 * noise[1]


def write_recordings(folder: Path) -> dict[str, Path]:
    """Write the recording in two formats."""
    t, acc, gyro = motion()
    plain = folder / "hour.csv"
    header = "timestamp_s,acc_x_m/s2,acc_y_m/s2,acc_z_m/s2,gyro_x_rad/s,gyro_y_rad/s,gyro_z_rad/s"
    np.savetxt(plain, np.column_stack([t, acc, gyro]), "%.2f" + ",%.6f" * 6, header=header, comments="")
    logger = folder / "hour.zip"
    start_ns = 1_700_000_000_000_000_000
    with zipfile.ZipFile(logger, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in (("TotalAcceleration.csv", acc), ("Gyroscope.csv", gyro)):
            lines = [
                f"{start_ns + round(seconds * 1e9)},{seconds:.9f},{z:.15f},{y:.15f},{x:.15f}\n"
                for seconds, (x, y, z) in zip(t.tolist(), values.tolist(), strict=True)
            ]
            archive.writestr(name, "time,seconds_elapsed,z,y,x\n" + "".join(lines))
    return {"plain CSV": plain, "Sensor Logger zip": logger}


def run(recording: Path, package: Path) -> converting.ProcessResult:
    """Run the command; return its wall and processor seconds and its largest resident memory in MiB."""
    os.environ |= {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "harexport", "predict", str(recording), "--out", str(recording.parent / "out")]
    result = converting.run(command)
    if result.failure:
        raise SystemExit(f"{' '.join(command)} failed: {result.failure}")
    return result


def measure(package: Path) -> dict[str, Any]:
    """Measure both formats; the least time of some repetitions, and the most memory."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, recording in write_recordings(Path(temporary)).items():
            runs = [run(recording, package) for _ in range(REPETITIONS)]
            results[name] = {
                "seconds": round(min(each.seconds for each in runs), 2),
                "cpu_seconds": round(min(each.cpu_seconds for each in runs), 2),
                "memory_mib": round(max(each.megabytes for each in runs)),
            }
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", type=Path, default=ROOT)
    parser.add_argument("--name", default="present")
    options = parser.parse_args()
    stored = json.loads(JSON.read_text("utf-8"))["packages"] if JSON.exists() else {}
    stored[options.name] = measure(options.package.resolve())
    files.write_json(
        JSON,
        {
            "command": "python benchmarks/hour_speed.py",
            "recording": f"{SECONDS} s of two sensors at {RATE_HZ} Hz",
            "repetitions": REPETITIONS,
            "packages": stored,
            "machine": environment.describe(),
        },
    )
    print(json.dumps(stored[options.name], indent=2))
