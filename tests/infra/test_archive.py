"""A backup's files: what is read is what was written, and anything else is refused by name."""

from __future__ import annotations

import io
import json
import stat
import tarfile
from pathlib import Path

import pytest

from infra.backup import archive
from pipelines.config.errors import EvergreenError

CONTENT = {"evergreen.dump": b"ledger", "dvc/cache/files/md5/ab/cd": b"rows", "site/index.html": b""}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    for name, content in CONTENT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "dvc/cache/.half.partial").write_bytes(b"being written")
    (folder / "dvc/cache/link").symlink_to(folder / "site")
    return folder


@pytest.fixture(params=["rejected", "kept.tar", "kept.tar.gz", "kept.tgz"])
def kept(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    with archive.writing(path, {"version": 1}) as writer:
        writer.add(home / "evergreen.dump", "evergreen.dump")
        writer.add(home / "gone", "gone")
        for name in ("dvc", "site"):
            writer.add_tree(home / name, name)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rewritten(kept: Path, change) -> Path:
    """The backup with other files in it: `change` is given name -> content."""
    if kept.is_dir():
        found = contents(kept)
        change(found)
        for path in [path for path in kept.rglob("*") if path.is_file()]:
            path.unlink()
        for name, content in found.items():
            (kept / name).parent.mkdir(parents=True, exist_ok=True)
            (kept / name).write_bytes(content)
        return kept
    with tarfile.open(kept) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}
    change(found)
    with tarfile.open(kept, "w:gz" if kept.name.endswith("gz") else "w") as tar:
        for name, content in found.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return kept


def test_what_was_written_comes_back(kept, tmp_path):
    manifest = archive.unpack(kept, tmp_path / "back")
    found = contents(tmp_path / "back")
    found.pop("manifest.json")
    assert found == CONTENT
    assert manifest["version"] == 1 and set(manifest["files"]) == set(CONTENT)
    assert stat.S_IMODE(kept.stat().st_mode) == (0o700 if kept.is_dir() else 0o600)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: files.update({"evergreen.dump": b"Ledger"}), "evergreen.dump: changed"),
        (lambda files: files.pop("site/index.html"), "site/index.html: missing"),
        (lambda files: files.update({"site/more.html": b"x"}), "site/more.html: not in the manifest"),
        (lambda files: files.update({"manifest.json": b"{"}), "has no manifest.json that can be read"),
    ],
)
def test_what_was_changed_missing_or_added_is_named_and_nothing_stays(kept, tmp_path, change, said):
    with pytest.raises(EvergreenError, match=said):
        archive.unpack(rewritten(kept, change), tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("name", ["../outside", "/etc/outside"])
def test_nothing_leaves_its_folder(tmp_path, name):
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(name)
        tar.addfile(info, io.BytesIO(b""))
    with pytest.raises(EvergreenError, match="no backup of ours"):
        archive.unpack(path, tmp_path / "back")


def test_a_backup_that_was_cut_off_is_refused(kept, tmp_path):
    if kept.is_dir():
        (kept / "manifest.json").write_bytes((kept / "manifest.json").read_bytes()[:-20])
    else:
        kept.write_bytes(kept.read_bytes()[: min(1500, kept.stat().st_size // 2)])
    with pytest.raises(EvergreenError, match=r"cannot be read as a backup|has no manifest|damaged"):
        archive.unpack(kept, tmp_path / "back")


def test_a_backup_is_whole_or_not_there(home, tmp_path):
    path = tmp_path / "kept.tar"
    with pytest.raises(ValueError, match="the disk"), archive.writing(path, {}) as writer:
        writer.add(home / "evergreen.dump", "evergreen.dump")
        raise ValueError("the disk")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["home"]


def test_what_is_there_already_is_not_written_over(kept):
    with pytest.raises(EvergreenError, match="is there already"), archive.writing(kept, {}):
        pass


def test_a_file_that_grows_meanwhile_is_kept_as_long_as_it_was(tmp_path):
    (tmp_path / "out").mkdir()
    archive._Folder(tmp_path / "out").put(io.BytesIO(b"abcdef"), "log", 3)
    assert (tmp_path / "out" / "log").read_bytes() == b"abc"


def test_what_is_no_backup_is_said(tmp_path):
    with pytest.raises(EvergreenError, match="is not there: name a folder"):
        archive.unpack(tmp_path / "nowhere", tmp_path / "back")
    (tmp_path / "x.tar").write_bytes(json.dumps({}).encode())
    with pytest.raises(EvergreenError, match="cannot be read as a backup"):
        archive.unpack(tmp_path / "x.tar", tmp_path / "back")
