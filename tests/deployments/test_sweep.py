"""`nightjar sweep` as cron runs it, and its systemd units."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from deployments.cli import main
from storage.ledger.commit import load_result
from storage.sql.database import open_database
from tasks.site.settings import read_settings
from tests.servers_postgres import write_migrated
from tests.storage.samples import make_video, planned_batch
from tests.tasks.sweep.test_sweep import Site

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deployments" / "systemd"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An installation on SQLite, with a batch left running by a dead process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path))
    read_settings.cache_clear()
    url = write_migrated(tmp_path / "nightjar.db")
    engine = open_database(url)
    planned_batch(engine, make_video(frames=100), length=20, owner="another-host:1:1")
    return Site(engine, url, tmp_path / "artifacts")


def test_exit_code_1_only_for_problems_that_need_attention(site: Site) -> None:
    result = CliRunner().invoke(main, ["sweep", "--expect-within", "26"])
    assert (result.exit_code, result.output) == (0, "")

    key = site.store(0)
    result = CliRunner().invoke(main, ["sweep"])
    assert result.exit_code == 0
    assert result.output.startswith("Loaded 1 results")

    Path(site.artifacts.url(key)).unlink()
    result = CliRunner().invoke(main, ["sweep", "--dry-run"])
    assert result.exit_code == 1
    assert "WRONG 1 result files of model version 111111111111… are missing in the store" in result.stderr
    assert key in result.stderr


def test_loaded_results_are_not_loaded_again(site: Site) -> None:
    site.load(0)
    assert not load_result(site.engine, site.result(0))
    assert CliRunner().invoke(main, ["sweep", "--verify"]).exit_code == 0


def test_the_sweep_imports_nothing_heavy(site: Site) -> None:
    """It runs every quarter of an hour, possibly on a small machine."""
    code = (
        "import sys; from click.testing import CliRunner; from deployments.cli import main;"
        "assert CliRunner().invoke(main, ['sweep']).exit_code == 0;"
        "print(*{'tensorflow', 'openvino', 'cv2', 'boto3'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_units_are_valid_and_run_an_existing_command(tmp_path: Path) -> None:
    service = (UNITS / "nightjar-sweep.service").read_text()
    [command] = [line.partition("=")[2].split() for line in service.splitlines() if line.startswith("ExecStart=")]
    assert Path(command[0]).name == "nightjar"
    context = main.commands[command[1]].make_context("sweep", command[2:])
    assert context.params["expect_within"] == 26
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here: install systemd")
    names = ("nightjar-sweep.service", "nightjar-sweep.timer", "nightjar-browse.service")
    for name in names:
        text = (UNITS / name).read_text().replace(command[0], sys.executable)
        (tmp_path / name).write_text(text.replace("User=nightjar", "User=root"))
    units = [str(tmp_path / name) for name in names]
    found = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert not [line for line in found.stderr.splitlines() if "nightjar-" in line], found.stderr
