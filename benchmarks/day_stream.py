"""A day of sensor data through `harexport predict --follow` at full speed: memory and windows.

Sends 24 hours of two sensors at 50 Hz, walking and standing in turn, to the command, and checks every window: its time
follows from its number. Writes benchmarks/day_stream.json. Some minutes.
Usage: python benchmarks/day_stream.py [--hours N]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harexport.evaluation import environment
from harexport.utils import files

JSON = ROOT / "benchmarks" / "day_stream.json"
MODEL = "artifacts/edge/edge-fused-float32.tflite"
RATE_HZ, HOP, WINDOW = 50, 64, 128
PERIOD_S = 60  # of the synthetic motion


def sensor_values() -> list[str]:
    """The six values of each sample of a minute: 30 s of walking, 30 s of standing."""
    rows = []
    for k in range(PERIOD_S * RATE_HZ):
        t = k / RATE_HZ
        strength = 1.0 if t < PERIOD_S / 2 else 0.01
        phase = 2 * math.pi * 2 * t  # two steps a second: periodic in the minute
        acc = (
            9.7 + 3 * strength * math.sin(phase),
            -1.2 + strength * math.cos(phase),
            0.9 + strength * math.sin(phase / 2),
        )
        gyro = (
            1.2 * strength * math.cos(phase),
            0.9 * strength * math.sin(phase),
            0.7 * strength * math.cos(phase / 2),
        )
        rows.append(",".join(f"{value:.4f}" for value in (*acc, *gyro)) + "\n")
    return rows


def send(stream: IO[bytes], hours: float, on_hour: Any) -> int:
    """Write the lines; return the number of samples."""
    values, count = sensor_values(), round(hours * 3600 * RATE_HZ)
    stream.write(b"timestamp_s,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z\n")
    period = len(values)
    for start in range(0, count, period):
        lines = (f"{(start + k) / RATE_HZ:.2f},{values[k]}" for k in range(min(period, count - start)))
        stream.write("".join(lines).encode())
        if start % (3600 * RATE_HZ) == 0:
            on_hour()
    stream.close()
    return count


def memory_mb(pid: int) -> float:
    """Resident memory of a process and its children in MB."""
    pids = [pid]
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if children.exists():
        pids += [int(child) for child in children.read_text().split()]
    total = 0
    for each in pids:
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            total += 1024 * int(line.split()[1]) if line.startswith("VmRSS") else 0
    return round(total / 1e6, 1)


def measure(hours: float) -> dict[str, Any]:
    """Run the command and check its output."""
    command = [sys.executable, "-m", "harexport", "predict", "--follow", "--gyro-unit", "rad/s", "--model", MODEL]
    start = time.monotonic()
    child = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert child.stdin is not None
    assert child.stdout is not None
    memory: list[float] = []
    sent: list[int] = []

    def feed() -> None:
        sent.append(send(child.stdin, hours, lambda: memory.append(memory_mb(child.pid))))

    thread = threading.Thread(target=feed)
    thread.start()
    windows, wrong, first_ns = 0, 0, 0
    for line in child.stdout:
        found = json.loads(line)
        if "time_ns" not in found:
            continue
        first_ns = first_ns or found["time_ns"]
        wrong += found["time_ns"] != first_ns + windows * HOP * 1_000_000_000 // RATE_HZ
        windows += 1
    thread.join()
    code = child.wait()
    cpu = os.times()
    # The last window ends with the last sample that completes a hop.
    last_ns = first_ns + (windows - 1) * HOP * 1_000_000_000 // RATE_HZ
    end_ns = (sent[0] - 1) * 1_000_000_000 // RATE_HZ
    steady = memory[1:] or memory
    return {
        "command": f"python benchmarks/day_stream.py --hours {hours:g}",
        "model": MODEL,
        "hours": hours,
        "rate_hz": RATE_HZ,
        "samples": sent[0],
        "windows": windows,
        "windows_at_wrong_time": wrong,
        "first_window_ends_s": first_ns / 1e9,
        "unused_at_the_end_s": round((end_ns - last_ns) / 1e9, 3),
        "exit_code": code,
        "memory_mb_each_hour": memory,
        "memory_growth_mb": round(max(steady) - min(steady), 1),
        "cpu_seconds": round(cpu.children_user + cpu.children_system, 1),
        "seconds": round(time.monotonic() - start, 1),
        "machine": environment.describe(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=24.0)
    options = parser.parse_args()
    result = measure(options.hours)
    files.write_json(JSON, result)
    print(json.dumps({key: value for key, value in result.items() if key not in ("machine", "memory_mb_each_hour")}))
