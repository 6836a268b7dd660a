"""kill -9 at random moments: python -m tests.fuzz.kills [--kills N] [--seconds N]

Runs `data fetch`, `train`, `export`, `export --android`, `bench` and `predict` in forked processes, kills each after a
random part of its usual time, and checks that no file is partial under its final name and that the same command then
succeeds with the usual files. Writes tests/fuzz/kills.json. A second run continues.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import importlib
import json
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harexport.utils.files import write_json
from tests.helpers import custom_dataset, uci_har

RECORD = Path(__file__).with_name("kills.json")
_MODULES = (
    "harexport.cli", "harexport.training.train", "harexport.exporters.export", "harexport.exporters.android",
    "harexport.bench.run", "harexport.predict.predict", "harexport.evaluation.plots", "torch", "onnx",
    "matplotlib.pyplot", "harexport.runtimes.litert", "harexport.runtimes.onnx",
)  # fmt: skip
_MOST_SECONDS = 900  # of a run that is not killed
_RECIPE = """\
name = "tiny"
description = "A few steps"
[model]
frame = 10
hop = 10
input_units = 4
relu = true
hidden = 4
layers = 1
[optimizer]
name = "adamw"
learning_rate = 0.005
[schedule]
epochs = 2
batch = 64
order = "shuffled"
rate = "one-cycle"
"""
# Files that contain times or memory: complete, but not the same bytes in every run.
_VARIABLE = (".json", ".html", ".csv", ".png", ".md")
_ENDS = {".html": b"</html>", ".png": b"IEND\xaeB`\x82", ".csv": b"\n", ".json": b"}"}


@dataclass(frozen=True)
class Case:
    """A command that is killed.

    Attributes:
        arguments: Its arguments; it runs in an empty folder.
        share: Relative number of kills.
    """

    arguments: tuple[str, ...]
    share: float


def build_inputs(folder: Path) -> dict[str, Case]:
    """Write a dataset, a recipe and a recording, and train and export once; return the cases."""
    data = custom_dataset.write(folder / "data", seconds=10.0)
    (folder / "tiny.toml").write_text(_RECIPE, "utf-8")
    recording = folder / "data" / "anna_monday.csv"
    common = ("--data", str(data))
    cases = {"train": Case(("train", "--recipe", str(folder / "tiny.toml"), *common, "--out", "out"), 2)}
    _run(cases["train"].arguments, folder / "trained")
    checkpoint = str(folder / "trained" / "out" / "tiny.safetensors")
    export = ("export", checkpoint, *common, "--format", "tflite", "--out", "out")
    _run(export, folder / "exported")
    model = str(next((folder / "exported" / "out").glob("*.tflite")))
    predict = ("predict", str(recording), *common, "--model", model, "--out", "out")
    return {
        "data fetch": Case(("data", "fetch", "--source", "uci"), 5),
        "predict": Case(predict, 5),
        "export": Case((*export, "--quantize", "--quantize=float16"), 4),
        "export --android": Case((*export, "--android", "app"), 3),
        **cases,
        "bench": Case(("bench", model, checkpoint, *common, "--out", "out"), 1),
    }


def _child(arguments: tuple[str, ...], folder: Path) -> None:
    """Run a command in this forked process and end it."""
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ["HAREXPORT_CACHE"] = str(folder / "cache")
        from harexport.cli import main

        main(list(arguments), standalone_mode=False)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _run(arguments: tuple[str, ...], folder: Path, kill_after: float | None = None) -> int | None:
    """Run a command; return its exit code, None if it was killed."""
    folder.mkdir(exist_ok=True)
    if "app" in arguments:
        (folder / "app" / "app" / "src" / "main").mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        _child(arguments, folder)
    deadline = time.monotonic() + (_MOST_SECONDS if kill_after is None else kill_after)
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return None if kill_after is not None else -9


def _files(folder: Path) -> dict[str, bytes]:
    """Files with final names: temporary ones begin with a dot, and interrupted runs have names of their own."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.name != "output"
        and not path.name.endswith((".resume.pt", ".part", ".lock"))
    }


def find_partial(found: Mapping[str, bytes], usual: Mapping[str, bytes]) -> list[str]:
    """Names of files that are not what a complete run writes."""
    partial_files = []
    for name, content in found.items():
        suffix = Path(name).suffix
        if name in usual and content == usual[name]:
            continue
        is_complete = name in usual and suffix in _VARIABLE
        if is_complete and suffix == ".json":
            try:
                json.loads(content)
            except ValueError:
                is_complete = False
        elif is_complete:
            is_complete = content.rstrip(b"\0 ").endswith(_ENDS.get(suffix, b"")) and len(content) > 0
        if not is_complete:
            partial_files.append(name)
    return partial_files


def try_kill(case: Case, usual: dict[str, bytes], after: float, folder: Path) -> dict[str, Any]:
    """Kill a command after some seconds and run it again."""
    code = _run(case.arguments, folder, after)
    partial_files = find_partial(_files(folder), usual)
    again = _run(case.arguments, folder)
    missing = sorted(set(usual) - set(_files(folder)))
    wrong = find_partial(_files(folder), usual)
    problems = [f"partial: {name}" for name in partial_files] + [
        f"after the next run: {name}" for name in wrong + missing
    ]
    if again != 0:
        problems.append(f"the next run ends with {again}: {(folder / 'output').read_text('utf-8', 'replace')[-200:]}")
    return {"killed": code is None, "problems": problems}


def _serve(folder: Path) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _offer_uci_har(folder: Path) -> None:
    """Let `data fetch` download a small data set from this process."""
    import hashlib

    from harexport.data.uci_har import download
    from harexport.data.uci_har.manifest import PublishedFile

    small = uci_har.write(folder)
    (folder / "served").mkdir()
    (folder / "served" / "uci.zip").write_bytes(uci_har.zipped(small, nested=True))
    listed = {
        file.relative_to(small).as_posix(): PublishedFile(len(data), hashlib.sha256(data).hexdigest())
        for file in small.rglob("*.txt")
        for data in [file.read_bytes()]
    }
    address = _serve(folder / "served").server_address
    fetch_small: Callable[..., Path] = download.fetch_uci
    url = f"http://127.0.0.1:{address[1]}/uci.zip"
    download.fetch_uci = lambda cache, _: fetch_small(cache, url, listed)


def _add_up(counts: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    total = {key: sum(entry[key] for entry in counts.values()) for key in ("runs", "killed")}
    return {**total, "problems": sum(len(entry["problems"]) for entry in counts.values())}


def main(kills: int, seconds: float) -> int:
    """Kill until a limit is reached; return the exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for module in _MODULES:
        importlib.import_module(module)
    stored = json.loads(RECORD.read_text("utf-8"))["commands"] if RECORD.exists() else {}
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        _offer_uci_har(root)
        cases = build_inputs(root)
        counts = {name: stored.get(name, {"runs": 0, "killed": 0, "problems": []}) for name in cases}
        usual, duration = {}, {}
        while time.monotonic() < deadline and sum(entry["killed"] for entry in counts.values()) < kills:
            name = min(cases, key=lambda case: counts[case]["killed"] / cases[case].share)
            folder = root / "run"
            if name not in usual:
                start = time.monotonic()
                code = _run(cases[name].arguments, folder)
                assert code == 0, (name, (folder / "output").read_text("utf-8", "replace"))
                usual[name], duration[name] = _files(folder), time.monotonic() - start
                shutil.rmtree(folder)
            after = random.Random(f"{name} {counts[name]['runs']}").uniform(0, duration[name])
            result = try_kill(cases[name], usual[name], after, folder)
            shutil.rmtree(folder)
            counts[name]["runs"] += 1
            counts[name]["killed"] += result["killed"]
            counts[name]["problems"] += result["problems"]
            for problem in result["problems"]:
                print(f"{name}: {problem}", flush=True)
            total = _add_up(counts)
            write_json(RECORD, {"command": "python -m tests.fuzz.kills", "total": total, "commands": counts})
    total = _add_up(counts)
    print(f"{total['killed']} kills, {total['problems']} problems: {RECORD.name}")
    return int(total["problems"] > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Kill commands at random moments; see the head of this file.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=7200)
    options = parser.parse_args()
    raise SystemExit(main(options.kills, options.seconds))
