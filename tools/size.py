"""How large the product is, `make size`: lines of Python by top-level folder, the longest modules, and the smallest layers.

Lines are those of the files, comments and blank ones included. Tests, tools and what lies in a folder `templates` do not count.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
LONGEST = 10
LAYER = 40  # lines below which a module with a single importer is asked whether it belongs into it


def packages(root: Path) -> list[str]:
    """The product's packages: what hatchling puts into the wheel."""
    return tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def lines(root: Path, package: str) -> dict[Path, int]:
    """File, below the root -> its lines."""
    files = [path for path in sorted((root / package).rglob("*.py")) if "templates" not in path.parts]
    return {path.relative_to(root): len(path.read_text(encoding="utf-8").splitlines()) for path in files}


def single_importers(root: Path, sizes: dict[Path, int]) -> list[tuple[Path, int, str]]:
    """Modules of fewer than LAYER lines that one module alone imports, types included: file, lines, importer."""
    graph, found = grimp.build_graph(*packages(root), cache_dir=None), []
    for path, size in sizes.items():
        importers = (
            graph.find_modules_that_directly_import(".".join(path.with_suffix("").parts)) if path.name != "__init__.py" else ()
        )
        if size < LAYER and len(importers) == 1:
            found.append((path, size, *importers))
    return found


def report(root: Path) -> str:
    by_package = {package: lines(root, package) for package in packages(root)}
    rows = [f"{sum(sizes.values()):>7,}  {package}/ ({len(sizes)} modules)" for package, sizes in by_package.items()]
    sizes = {path: size for found in by_package.values() for path, size in found.items()}
    longest = sorted(sizes.items(), key=lambda item: -item[1])[:LONGEST]
    rows += [
        f"{sum(sizes.values()):>7,}  product",
        "",
        "The longest modules:",
        *[f"{size:>7,}  {path}" for path, size in longest],
    ]
    small = [f"{size:>7,}  {path} by {importer}" for path, size, importer in single_importers(root, sizes)]
    return "\n".join([*rows, "", f"Modules of fewer than {LAYER} lines with a single importer:", *(small or ["   none"])])


if __name__ == "__main__":
    print(report(ROOT))
