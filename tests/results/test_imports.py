"""What only reads results starts light."""

import subprocess
import sys
from pathlib import Path

import results
import results.migrations


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    return set(
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True
        ).stdout.split()
    )


def test_reading_side_imports_no_torch():
    loaded = modules_after("import results.store, results.front, results.plots")
    assert {"results.store", "sqlalchemy", "moocore", "matplotlib.figure"} <= loaded
    assert not {"torch", "ray", "matplotlib.pyplot"} & loaded


def test_front_imports_no_database():
    assert not {"sqlalchemy", "sqlite3", "torch"} & modules_after("import results.front")


def test_opening_a_current_store_imports_no_alembic(tmp_path):
    opening = f"from results.store import Store\nStore.open({str(tmp_path / 's.db')!r}).close()"
    assert "alembic" in modules_after(opening)
    assert "alembic" not in modules_after(opening)


def test_migrations_lie_in_the_package():
    """So that a wheel, which ships what lies under `results`, can upgrade a store."""
    folder = Path(results.migrations.__file__).parent
    assert folder.parent == Path(results.__file__).parent
    assert {"env.py", "0001_initial.py"} <= {path.name for path in folder.rglob("*.py")}
