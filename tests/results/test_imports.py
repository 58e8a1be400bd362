"""What only reads results starts light."""

import subprocess
import sys
from pathlib import Path

import results
import results.store.migrations


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(sys.modules))"
    return set(
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True
        ).stdout.split()
    )


def test_reading_side_imports_no_torch():
    loaded = modules_after("import results.store.store, results.analysis.front, results.render.plots")
    assert {"results.store.store", "sqlalchemy", "moocore", "matplotlib.figure"} <= loaded
    assert not {"torch", "ray", "matplotlib.pyplot"} & loaded


def test_looking_at_a_study_imports_no_torch(filled, tmp_path):
    """All of it: the front, its tables, CSV and JSON, a trial's view and the figures."""
    code = f"""
from pathlib import Path
from results.analysis import overview
from results.render import figures, tables
from results.store.store import Store
with Store.open({str(filled[0])!r}, create=False) as store:
    found = overview.overview(store, "phone")
    tables.studies_table(store.studies())
    rungs = store.rungs(found.study.id, trial_id=found.best.id)
    lineage = store.lineage(found.best.id)
    tables.trial_view(found.study, lineage, rungs, store.artifacts(found.best.id), store.children(found.best.id))
tables.front_table(found), tables.front_csv(found), overview.as_json(found)
figures.save_front_figure(found, Path({str(tmp_path / "front.png")!r}))
figures.save_curve_figure(found.study, found.best, rungs, Path({str(tmp_path / "curve.png")!r}))
"""
    loaded = modules_after(code)
    assert {
        "results.analysis.overview",
        "results.render.tables",
        "results.render.figures",
        "spaces.topologies.chain",
    } <= loaded
    assert not {"torch", "ray", "alembic", "matplotlib.pyplot"} & loaded
    assert (tmp_path / "front.png").stat().st_size > 10_000
    assert (tmp_path / "curve.png").stat().st_size > 10_000


def test_front_imports_no_database():
    assert not {"sqlalchemy", "sqlite3", "torch"} & modules_after("import results.analysis.front")


def test_opening_a_current_store_imports_no_alembic(tmp_path):
    opening = f"from results.store.store import Store\nStore.open({str(tmp_path / 's.db')!r}).close()"
    assert "alembic" in modules_after(opening)
    assert "alembic" not in modules_after(opening)


def test_migrations_lie_in_the_package():
    """So that a wheel, which ships what lies under `results`, can upgrade a store."""
    folder = Path(results.store.migrations.__file__).parent
    assert folder.parent.parent == Path(results.__file__).parent
    assert {"env.py", "0001_initial.py"} <= {path.name for path in folder.rglob("*.py")}
