"""Generate the generated parts of the documentation (make docs): docs/cli.md, and blocks in Markdown files.

The blocks of measurements come from their JSON files (see benchmarks/readme.py), the others from the code.
"""

from __future__ import annotations

import json
import sys
import types
import typing
from pathlib import Path

import click
import msgspec
from msgspec import Meta

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.readme import BLOCKS, replace_block
from harexport.cli import main as cli
from harexport.exporters.android_library import read_example
from harexport.exporters.export import ExportResult, format_result
from harexport.exporters.options import resolve_all
from harexport.model import checkpoint as checkpoints
from harexport.model.layer_config import LayerConfig
from harexport.model.recipe import Recipe
from tests.helpers.requirements import REQUIREMENTS

_WIDTH = 110  # of the help texts


def cli_reference() -> str:
    """Render docs/cli.md: the help text of every command."""
    parts = ["# Command line", "Generated from `--help` by `make docs`. Shared options: `--data`, `--out`, `--json`."]

    def add(command: click.Command, path: str, parent: click.Context | None) -> None:
        settings = {**command.context_settings, "terminal_width": _WIDTH}
        context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent, **settings)
        parts.append(f"## {path}")
        parts.append(f"```text\n{command.get_help(context).rstrip()}\n```")
        if isinstance(command, click.Group):
            for name, child in command.commands.items():
                add(child, f"{path} {name}", context)

    add(cli, "harexport", None)
    return "\n\n".join(parts) + "\n"


def recipe_keys() -> str:
    """Render the table of all keys of a recipe."""
    lines = ["| key | values | default | meaning |", "|---|---|---|---|"]
    for section, config in typing.get_type_hints(Recipe).items():
        if not hasattr(config, "__struct_fields__"):
            continue
        for name, hint in typing.get_type_hints(config, include_extras=True).items():
            kind, meta = _split_hint(hint)
            default = getattr(config(), name)
            shown = "[]" if default == () else str(default).lower() if isinstance(default, bool) else default
            meaning = (meta.description or "").replace("|", "\\|")
            lines.append(f"| `{section}.{name}` | {_values(kind, meta)} | {shown} | {meaning} |")
    return "\n".join(lines)


def recipe_layers() -> str:
    """Render the table of all kinds of layers of a recipe."""
    lines = ["| kind | keys | meaning |", "|---|---|---|"]
    for layer in typing.get_args(LayerConfig):
        keys = []
        defaults = dict(zip(reversed(layer.__struct_fields__), reversed(layer.__struct_defaults__), strict=False))
        for name, hint in typing.get_type_hints(layer, include_extras=True).items():
            kind, meta = _split_hint(hint)
            default = f"; default {str(defaults[name]).lower()}" if name in defaults else ""
            keys.append(f"`{name}`: {meta.description or 'number of steps'} ({_values(kind, meta)}{default})")
        kind = layer.__struct_config__.tag
        lines.append(f"| `{kind}` | {'<br>'.join(keys)} | {(layer.__doc__ or '').strip()} |")
    return "\n".join(lines)


def _split_hint(hint: typing.Any) -> tuple[typing.Any, Meta]:
    """Return the type of a key, and its limits and description."""
    kind, *metas = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
    found = [meta for meta in metas if isinstance(meta, Meta)]
    limits = next((meta for meta in found if meta.ge is not None), Meta())
    description = next((meta.description for meta in reversed(found) if meta.description), None)
    return kind, Meta(ge=limits.ge, le=limits.le, description=description)


def _values(kind: typing.Any, meta: Meta) -> str:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(_values(*_split_hint(part)) for part in typing.get_args(kind))
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return "list"
    name = {int: "integer", float: "number", bool: "`true`, `false`", str: "text"}[kind]
    if meta.ge is not None and meta.le is not None:
        return f"{name}, {meta.ge:g} to {meta.le:g}"
    return f"{name}, at least {meta.ge:g}" if meta.ge is not None else name


def requirements() -> str:
    """Render the table of what some tests need."""
    lines = ["| requirement | what is not checked without it | how to get it |", "|---|---|---|"]
    lines += [f"| `{name}` | {each.checks} | {each.remedy} |" for name, each in REQUIREMENTS.items()]
    return "\n".join(lines)


def kotlin() -> str:
    """Render the example of the Android demo from the source that is compiled."""
    return f"```kotlin\n{read_example(ROOT / 'android_demo')}```"


def export_example() -> str:
    """Render what `harexport export` prints about a file, as benchmarks/exports.json records it."""
    options = "--format tflite --quantize"
    network = checkpoints.load(ROOT / "artifacts" / "edge" / "edge.safetensors").network
    (form,) = resolve_all(network, "tflite", ["int8-weights"], "auto", 1, "float32")
    recorded = json.loads((ROOT / "benchmarks" / "exports.json").read_text("utf-8"))["edge"]
    (entry,) = [entry for entry in recorded if entry["path"] == form.file_name("edge")]
    result = msgspec.convert({**entry, "reason": form.reason}, ExportResult, dec_hook=lambda kind, value: kind(value))
    printed = "\n".join(format_result(result).splitlines()[1:])
    return f"```console\n$ harexport export artifacts/edge/edge.safetensors {options}\n...\n{printed}\n```"


# name of a block -> file, function that renders it
GENERATED = {
    "export-example": ("README.md", export_example),
    "recipe-keys": ("docs/training.md", recipe_keys),
    "recipe-layers": ("docs/training.md", recipe_layers),
    "requirements": ("CONTRIBUTING.md", requirements),
    "kotlin": ("android_demo/README.md", kotlin),
    **{name: (block.file, block.render) for name, block in BLOCKS.items()},
}


def generate() -> dict[str, str]:
    """Return the content of every file that has generated parts, by its path."""
    files = {"docs/cli.md": cli_reference()}
    for name, (path, render) in GENERATED.items():
        text = files.get(path) or (ROOT / path).read_text("utf-8")
        files[path] = replace_block(text, name, render())
    return files


def main() -> None:
    """Write the files that changed."""
    for path, text in generate().items():
        target = ROOT / path
        if not target.exists() or target.read_text("utf-8") != text:
            target.write_text(text, "utf-8")
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
