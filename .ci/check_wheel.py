"""Check what a wheel holds: every file of the package and its data, and nothing else of the repository."""

import sys
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "unlogit"


def problems_of(wheel: Path) -> list[str]:
    """Return what is missing and what should not be there."""
    names = zipfile.ZipFile(wheel).namelist()
    modules = {f"unlogit/{path.relative_to(PACKAGE).as_posix()}" for path in PACKAGE.rglob("*.py")}
    data = {f"unlogit/data/{path.name}" for path in (PACKAGE / "data").glob("*.jsonl")}
    expected = modules | data | {"unlogit/py.typed"}
    metadata = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/"
    missing = sorted(expected - set(names))
    strange = [name for name in names if name not in expected and not name.startswith(metadata)]
    problems = [f"{name} is missing" for name in missing] + [f"{name} should not be in it" for name in strange]
    return problems if data else [*problems, "there are no data files to look for"]


if __name__ == "__main__":
    if problems := problems_of(Path(sys.argv[1])):
        sys.exit(f"{sys.argv[1]}: {'; '.join(problems)}")
    print(f"{Path(sys.argv[1]).name} holds the package and its data, and nothing else.")
