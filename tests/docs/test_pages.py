"""The documentation is complete and current: generated parts, links, length."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harexport.inspection import performance_rules, rules
from harexport.model import recipe as recipes
from harexport.version import __version__
from tests.docs.pages import PAGES, ROOT, code_blocks, read
from tools import docs


def test_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) <= 200


@pytest.mark.parametrize("name", docs.GENERATED)
def test_generated_block_is_current(name: str) -> None:
    """A block has the content that its JSON or the code gives."""
    page, render = docs.GENERATED[name]
    text, block = read(page), render()
    assert docs.replace_block(text, name, block) == text, "run: make docs"
    assert len(block) > 200


def test_cli_reference_is_current() -> None:
    assert read("docs/cli.md") == docs.cli_reference(), "run: make docs"


def test_every_block_is_generated() -> None:
    """There is no block of figures that no script renders."""
    for page in PAGES:
        names = set(re.findall(r"<!-- ([\w-]+) -->", read(page)))
        assert names == {name for name, (path, _) in docs.GENERATED.items() if path == page}


def _anchors(page: str) -> set[str]:
    text = re.sub(r"^```.*?^```", "", read(page), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_have_targets(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target.resolve().relative_to(ROOT).as_posix()), link


def test_every_page_is_linked_from_the_readme_or_another_page() -> None:
    linked = {
        ((ROOT / page).parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in re.findall(r"\]\(([^)\s]+)\)", read(page))
    }
    for page in PAGES:
        assert page in ("README.md", "tests/golden/README.md") or (ROOT / page).resolve() in linked, page


def test_paths_in_text_exist() -> None:
    """Source files that pages name in backticks exist."""
    for page in PAGES:
        if page == "CHANGELOG.md":
            continue
        for name in re.findall(
            r"`((?:harexport|tests|tools|benchmarks|artifacts|android_demo)/[\w./*-]*)`", read(page)
        ):
            assert list(ROOT.glob(name.rstrip("/"))), f"{page}: {name}"


def test_every_finding_is_documented() -> None:
    source = "".join(Path(module.__file__).read_text("utf-8") for module in (rules, performance_rules))
    found = set(re.findall(r'Finding\(\s*(?:id=)?"([a-z0-9-]+)"', source))
    assert len(found) > 20
    rows = re.findall(r"^\| (`[a-z0-9-]+`(?:, `[a-z0-9-]+`)*) \|", read("docs/inspect.md"), re.MULTILINE)
    assert found == {name.strip("`") for row in rows for name in row.split(", ")}


def test_every_recipe_is_documented() -> None:
    table = read("docs/training.md").partition("## Recipes")[2].partition("### Layers")[0]
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == set(recipes.list_shipped())


def test_changelog_starts_with_this_version() -> None:
    (version, *_) = re.findall(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)
    assert version == __version__


def test_no_machine_paths() -> None:
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    assert {"LICENSE", *PAGES} <= {*tracked.stdout.splitlines(), *PAGES}
    for page in PAGES:
        assert not re.search(r"/(work|root|home)/\w", read(page)), page


def test_every_code_block_names_its_language() -> None:
    """So that a test can run or parse it; `text` is for diagrams and output."""
    known = {"bash", "console", "python", "toml", "yaml", "json", "csv", "kotlin", "text"}
    assert {block.language for block in code_blocks()} <= known
