"""A folder with the demo's params.yaml in git, and a source into which small tables are brought as text."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from cli.init import command
from cli.init.survey import Options
from cli.load import load_file
from flows.execution.workspace import git
from pipelines.config import params
from pipelines.config.settings import Settings
from pipelines.data import extract

ROOT = Path(__file__).parents[2]
CASES = ROOT.parent / "shared" / "cases"


class Clone:
    """Where `init` runs; what it says is returned."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        shutil.copy(ROOT / "params.yaml", folder)
        git(folder, "init", "--quiet")
        git(folder, "add", "params.yaml")
        git(folder, "commit", "--quiet", "--message", "Params")

    def load(self, header: str, rows: Sequence[str], table: str = "crm.t") -> None:
        """A table of these lines of CSV, with the types that `load` gives it."""
        file = self.folder / "t.csv"
        file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        load_file.load(self.url, file, table)
        file.unlink()

    def init(self, target: str, table: str = "crm.t", *, force: bool = False, **options: object) -> str:
        said: list[str] = []
        here = Settings.load_from(self.folder, {"SOURCE_URL": self.url})
        command.run(here, "mine", table, Options(target, **options), force=force, say=said.append)
        return "\n".join(said)

    @property
    def params(self) -> params.Params:
        return params.read(self.folder / "params.yaml")

    @property
    def queries(self) -> extract.Queries:
        return extract.Queries(self.folder / "sql" / "mine")

    def extracted(self) -> tuple[dict, dict]:
        """Manifest and account of rows.parquet, which is written; pinned at the newest day."""
        pin = extract.pin(self.url, self.queries, self.params.data)
        params.write_pin(self.folder / "params.yaml", pin.as_of, pin.fingerprint)
        return extract.extract(self.url, self.queries, self.params.data, self.folder / "rows.parquet")
