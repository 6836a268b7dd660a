"""A fake `adb`, with the commands that harexport uses: run as `adb ...` by the tests, through a file on the PATH.

Its phones are folders: FAKE_ADB names one that holds scenario.json and, under "sdcard", what is on the phone. The demo
app is played by LiteRT itself: `am start` runs the model and writes the result.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["FAKE_ADB"])
SCENARIO = json.loads((ROOT / "scenario.json").read_text())


def fail(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.exit(1)


def there(path: str) -> Path:
    return ROOT / path.lstrip("/")


def devices() -> dict[str, str]:
    pulled = SCENARIO.get("pulled_at")
    if pulled and (ROOT / "gone").exists():
        return {}
    return dict(SCENARIO["devices"])


def main(arguments: list[str]) -> None:
    if arguments == ["devices"]:
        print("* daemon not running; starting now at tcp:5037\n* daemon started successfully")
        print("List of devices attached")
        for serial, state in devices().items():
            print(f"{serial}\t{state}")
        print()
        return
    assert arguments[0] == "-s", f"harexport must name the phone: {arguments}"
    serial, command, rest = arguments[1], arguments[2], arguments[3:]
    if SCENARIO.get("pulled_at") == command:
        (ROOT / "gone").touch()
    if serial not in devices():
        fail(f"adb: device '{serial}' not found")
    if command == "push":
        source, target = rest
        if not there(target).parent.is_dir():
            fail(f"adb: error: failed to copy '{source}' to '{target}': remote No such file or directory")
        shutil.copy(source, there(target))
        print(f"{source}: 1 file pushed, 0 skipped.")
    elif command == "pull":
        source, target = rest
        if not there(source).is_file():
            fail(f"adb: error: failed to stat remote object '{source}': No such file or directory")
        shutil.copy(there(source), target)
        print(f"{source}: 1 file pulled, 0 skipped.")
    elif command == "shell":
        shell(rest)
    else:
        fail(f"adb: unknown command {command}")


def shell(arguments: list[str]) -> None:
    line = " ".join(arguments)  # as adb passes them to the shell of the phone
    forgiving = line.endswith(" || true")
    words = line.removesuffix(" || true").removesuffix(" 2>&1").split()
    if words[:2] == ["pm", "path"]:
        if SCENARIO.get("installed", True):
            print(f"package:/data/app/~~x==/{words[2]}-y==/base.apk")
        elif not forgiving:
            sys.exit(1)
    elif words[:2] == ["mkdir", "-p"]:
        there(words[2]).mkdir(parents=True, exist_ok=True)
    elif words[:2] == ["rm", "-f"]:
        there(words[2]).unlink(missing_ok=True)
    elif words[:2] == ["am", "start"]:
        start(words[2:])
    elif words[:2] == ["[", "-f"]:
        print("yes" if there(words[2]).is_file() else "no")
    else:
        fail(f"/system/bin/sh: {words[0]}: not found")


def start(words: list[str]) -> None:
    component = words[words.index("-n") + 1]
    print(f"Stopping: {component.partition('/')[0]}\nStarting: Intent {{ cmp={component} }}")
    if SCENARIO.get("old_app"):
        print("Error type 3\nError: Activity class {" + component + "} does not exist.")
        return
    extras = {words[k + 1]: words[k + 2] for k, word in enumerate(words) if word == "--es"}
    print("Status: ok\nLaunchState: COLD")
    if SCENARIO.get("never_ends"):
        return
    folder = there("/sdcard/Android/data/org.harexport.demo/files")
    document = {**app(folder / extras["model"], folder / extras["windows"]), **SCENARIO.get("override", {})}
    for name in SCENARIO.get("untold", ()):
        del document[name]
    (folder / extras["result"]).write_text(json.dumps(document))


def app(path: Path, windows: Path) -> dict[str, object]:
    """Do what the demo app does, as described in selftest.schema.json."""
    import numpy as np  # here: most commands need to be quick
    from ai_edge_litert.interpreter import Interpreter

    data = windows.read_bytes()
    magic, count, samples, channels = np.frombuffer(data, "<i4", 4).tolist()
    assert magic == int.from_bytes(b"HARW", "little"), "the windows' header"
    signals = np.frombuffer(data, "<f4", offset=16).reshape(count, samples, channels)
    model = path.read_bytes()
    began = time.perf_counter()
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    loaded = time.perf_counter()
    (reads,) = interpreter.get_input_details()
    outputs = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}
    index = outputs.get("logits", next(iter(outputs.values())))

    def run_window(k: int) -> list[float]:
        interpreter.reset_all_variables()
        interpreter.set_tensor(reads["index"], signals[k : k + 1])
        interpreter.invoke()
        logits: list[float] = interpreter.get_tensor(index)[0].tolist()
        return logits

    run_window(0)
    first = time.perf_counter()
    rounds = []
    for _ in range(8):
        times = []
        for k in range(25):
            before = time.perf_counter_ns()
            run_window(k % count)
            times.append((time.perf_counter_ns() - before) / 1000)
        rounds.append(times)
    return {
        "schema": "harexport-selftest-2",
        "app_version": "1.0",
        "device": {"manufacturer": "Fake", "model": "Phone 1", "android": "16", "abi": "arm64-v8a"},
        "runtime": {"name": "LiteRT", "version": "1.4.1", "xnnpack": True},
        "sha256": hashlib.sha256(model).hexdigest(),
        "logits": [run_window(k) for k in range(count)],
        "times_us": rounds,
        "load_ms": 1e3 * (loaded - began),
        "first_prediction_ms": 1e3 * (first - loaded),
        "peak_bytes": 90_000_000,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
