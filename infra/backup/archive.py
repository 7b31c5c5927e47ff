"""A backup as files: a folder, or one tar file, with a manifest of every file's SHA-256 that is checked when it is read."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from pipelines.config.errors import EvergreenError

MANIFEST = "manifest.json"
TAR = (".tar", ".tar.gz", ".tgz")
BLOCK = 2**20


class _Target(Protocol):
    def put(self, file: IO[bytes], name: str, size: int) -> None: ...


class Writer:
    """Adds files to a backup, and knows what it added."""

    def __init__(self, target: _Target) -> None:
        self._target = target
        self.files: dict[str, str] = {}  # name -> SHA-256
        self.size = 0

    def add(self, path: Path, name: str) -> None:
        """A file under a name; one that is gone by now, as a temporary file may be, is left out."""
        with suppress(FileNotFoundError), path.open("rb") as file:
            size = path.stat().st_size
            hashing = _Hashing(file)
            self._target.put(hashing, name, size)  # type: ignore[arg-type]  # it reads, which is all that is asked of it
            self.files[name] = hashing.hexdigest()
            self.size += size

    def add_tree(self, folder: Path, name: str) -> None:
        """Every file below a folder; links and what is being written under a hidden name are left out."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
                self.add(path, f"{name}/{path.relative_to(folder).as_posix()}")


class _Hashing:
    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._sha256 = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self._sha256.update(block)
        return block

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, file: IO[bytes], name: str, size: int) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            left = size  # what is appended meanwhile is no part of it
            while left and (block := file.read(min(BLOCK, left))):
                out.write(block)
                left -= len(block)


class _Tar:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def put(self, file: IO[bytes], name: str, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        self._tar.addfile(info, file)


def is_tar(path: Path) -> bool:
    return path.name.endswith(TAR)


@contextmanager
def local_draft(place: str, scratch: Path) -> Iterator[Path]:
    """Where to write what shall be at `place`: there, or in `scratch` where it is in a bucket, which gets it when it is whole.

    Raises:
        EvergreenError: the bucket is out of reach, something is there already, or it would be no single file.
    """
    if "://" not in place:
        yield Path(place)
        return
    if not is_tar(Path(place)):
        raise EvergreenError(f"{place}: in a bucket a backup is one file. End its name with {', '.join(TAR)}.")
    with _bucket(place) as (files, path):
        if files.exists(path):
            raise EvergreenError(f"{place} is there already: give it another name.")
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".backup-") as folder:
        draft = Path(folder) / PurePosixPath(path).name
        yield draft
        with _bucket(place) as (files, path):
            files.put_file(str(draft), path)


@contextmanager
def local_copy(place: str) -> Iterator[Path]:
    """Where the backup of `place` can be read, which may be in a bucket."""
    if "://" not in place:
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="evergreen-restore-") as folder:
        copy = Path(folder) / PurePosixPath(place).name
        with _bucket(place) as (files, path):
            files.get_file(path, str(copy))
        yield copy


@contextmanager
def _bucket(place: str) -> Iterator[tuple[Any, str]]:
    """fsspec's file system of an address, and the path in it; credentials and endpoint as boto3 finds them."""
    try:
        from botocore.exceptions import BotoCoreError
        from fsspec.core import url_to_fs
    except ImportError:
        raise EvergreenError(f"{place} needs the extra s3: install `evergreen[s3]`.") from None
    try:
        yield url_to_fs(place)
    except (BotoCoreError, OSError, ValueError) as error:
        raise EvergreenError(
            f"{place} is out of reach: {error}. Credentials and endpoint are those of AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL, or of ~/.aws."
        ) from None


@contextmanager
def writing(path: Path, facts: dict[str, Any]) -> Iterator[Writer]:
    """A new backup at `path`, whole or not at all, for its owner's eyes alone.

    Args:
        facts: stand in the manifest; what the block adds to them, too.

    Raises:
        EvergreenError: something is there already.
    """
    if path.exists():
        raise EvergreenError(f"{path} is there already: name a folder or file that is not.")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.partial")
    _discard(draft)
    try:
        if is_tar(path):
            draft.touch(mode=0o600)
            with tarfile.open(draft, "w:gz" if path.name.endswith("gz") else "w") as tar:
                yield from _write(Writer(_Tar(tar)), facts)
        else:
            draft.mkdir(mode=0o700)
            yield from _write(Writer(_Folder(draft)), facts)
        draft.rename(path)
    finally:
        _discard(draft)


def _write(writer: Writer, facts: dict[str, Any]) -> Iterator[Writer]:
    yield writer
    text = json.dumps({**facts, "files": writer.files}, indent=1, sort_keys=True).encode()
    writer._target.put(BytesIO(text), MANIFEST, len(text))


def unpack(path: Path, into: Path) -> dict[str, Any]:
    """Bring every file of a backup into a new folder, and its manifest, which they are held against.

    Raises:
        EvergreenError: that is no backup, or a file is changed, missing or added; nothing stays in `into`.
    """
    into.mkdir(mode=0o700, parents=True)
    try:
        digests = dict(_from_tar(path, into) if is_tar(path) else _from_folder(path, into))
        digests.pop(MANIFEST, None)
        try:
            manifest = json.loads((into / MANIFEST).read_text(encoding="utf-8"))
            listed: dict[str, str] = manifest["files"]
        except (OSError, ValueError, KeyError):
            raise EvergreenError(f"{path} is no backup: it has no {MANIFEST} that can be read.") from None
        wrong = [f"{name}: missing" for name in sorted(listed.keys() - digests.keys())]
        wrong += [f"{name}: not in the manifest" for name in sorted(digests.keys() - listed.keys())]
        wrong += [f"{name}: changed" for name in sorted(listed) if name in digests and digests[name] != listed[name]]
        if wrong:
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise EvergreenError(f"The backup {path} is damaged: {'; '.join(wrong[:5])}{more}. Nothing was restored.")
    except BaseException:
        _discard(into)
        raise
    return manifest


def _from_folder(folder: Path, into: Path) -> Iterator[tuple[str, str]]:
    if not folder.is_dir():
        raise EvergreenError(
            f"{folder} is not there: name a folder or a {', '.join(TAR)} file that `evergreen store backup` made."
        )
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            with path.open("rb") as file:
                yield name, _copy(file, into / name)


def _from_tar(path: Path, into: Path) -> Iterator[tuple[str, str]]:
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                parts = PurePosixPath(member.name).parts
                if not member.isfile() or ".." in parts or member.name.startswith("/"):
                    raise EvergreenError(f"{path} is no backup of ours: it holds {member.name!r}.")
                file = tar.extractfile(member)
                assert file is not None  # it is a file
                yield member.name, _copy(file, into / member.name)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise EvergreenError(f"{path} cannot be read as a backup: {error}.") from None


def _copy(file: IO[bytes], path: Path) -> str:
    """Write it to `path`; its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hashing = _Hashing(file)
    with path.open("wb") as out:
        while block := hashing.read(BLOCK):
            out.write(block)
    return hashing.hexdigest()


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
