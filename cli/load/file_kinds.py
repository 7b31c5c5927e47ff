"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from cli.load import delimited
from pipelines.config.errors import EvergreenError

PARQUET, ZIP, OLE, ARROW = b"PAR1", b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"ARROW1"
EMPTY_ZIP = b"PK\x05\x06"
READ = {rb"\x1f\x8b": ".gz", rb"BZh[1-9]1AY&": ".bz2", rb"\x28\xb5\x2f\xfd": ".zst"}  # by a file's ending alone
UNREAD = {b"\xfd7zXZ\0": "xz", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "RAR"}
TAR_AT, TAR = 257, b"ustar"
WORKBOOKS = ("xl/workbook.xml", "xl/workbook.bin", "content.xml")  # Excel's, and that of OpenDocument


def is_parquet(file: Path) -> bool:
    """Whether a file is Parquet; a CSV otherwise, as far as its bytes tell.

    Raises:
        EvergreenError: it is missing, a folder, a workbook, an archive, or of another binary format: a sentence each.
    """
    try:
        if file.is_dir():
            raise EvergreenError(f"{file} is a folder: load its files one by one. {delimited.NOTHING}")
        with file.open("rb") as raw:
            head = raw.read(8)
    except FileNotFoundError:
        raise EvergreenError(f"{file} is missing.") from None
    except OSError as error:
        raise EvergreenError(f"{file} cannot be read: {(error.strerror or 'no file').lower()}.") from None
    for start, kind in UNREAD.items():
        if head.startswith(start):
            raise EvergreenError(
                f"{file} is compressed as {kind}: unpack it, and load the file that is inside. {delimited.NOTHING}"
            )
    for start, ending in READ.items():
        if re.match(start, head) and file.suffix != ending:
            raise EvergreenError(f"{file} is compressed: rename it to end in {ending}. {delimited.NOTHING}")
    if head.startswith((ZIP, EMPTY_ZIP)):
        raise EvergreenError(_of_zip(file))
    if head.startswith(OLE):
        raise EvergreenError(_workbook(file))
    if head.startswith(ARROW):
        raise EvergreenError(f"{file} is an Arrow file: write it as Parquet. {delimited.NOTHING}")
    if head.startswith(PARQUET) or file.suffix == ".parquet":
        return True
    try:
        with delimited.opened(file) as inside:
            start = inside.read(512)
    except OSError:
        raise EvergreenError(f"{file} cannot be decompressed: it is broken, or not what its name says.") from None
    if start[TAR_AT:].startswith(TAR):
        raise EvergreenError(f"{file} is an archive: unpack it, and load its files one by one. {delimited.NOTHING}")
    return False


def _of_zip(file: Path) -> str:
    try:
        names = [name for name in zipfile.ZipFile(file).namelist() if not name.endswith("/")]
    except zipfile.BadZipFile:
        names = []
    if any(name in WORKBOOKS for name in names):
        return _workbook(file)
    return f"{file} is an archive of {len(names)} file(s): unpack it, and load one file. {delimited.NOTHING}"


def _workbook(file: Path) -> str:
    return f"{file} is a workbook: save the sheet that is meant as CSV (UTF-8). {delimited.NOTHING}"
