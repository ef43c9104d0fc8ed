"""Errors of users are shown once, with a remedy, before a Prefect server is started."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from deployments import prefect_server
from deployments.cli import main
from models.manifest import MANIFEST_FILE, Manifest
from models.types import NightjarError
from storage.sql.catalogue import register_model
from tasks.model.early_checks import refuse_other_rate
from tasks.model.stored import version_of
from tasks.site.settings import ALREADY_WARNED, read_settings, unknown_variables
from tasks.site.site import open_site
from tasks.text.wording import nearest
from tests.servers_postgres import write_migrated
from tests.tiny_model import write_tiny_classifier, write_tiny_model

NIGHTJAR = Path(sys.executable).with_name("nightjar")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A site with the models `tiny` and `spotter`, a folder `videos`, and no Prefect server."""

    def refuse() -> None:
        raise AssertionError("a Prefect server was waited for")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv(ALREADY_WARNED, "")
    monkeypatch.setattr(prefect_server, "begin_server", lambda: None)
    monkeypatch.setattr(prefect_server, "ensure_server", refuse)
    (tmp_path / "videos").mkdir()
    (tmp_path / "file").touch()
    read_settings.cache_clear()
    yield tmp_path / "home"
    read_settings.cache_clear()


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "tiny")
    write_tiny_classifier(folder / "spotter")
    return [Manifest.from_json((folder / name / MANIFEST_FILE).read_text()) for name in ("tiny", "spotter")]


@pytest.fixture
def models(manifests: list[Manifest], home: Path) -> list[str]:
    """The names of the registered models."""
    write_migrated(home / "nightjar.db")
    with open_site() as site:
        for manifest in manifests:
            register_model(site.engine, version_of(manifest))
    return [manifest.name for manifest in manifests]


def nightjar(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run videos --model tiyn", "Model 'tiyn' does not exist. Did you mean 'tiny'?"),
        ("run videos --model posenet-75", "Did you mean 'posenet-075'? Run 'nightjar convert posenet-075' first"),
        ("run videos --model PoseNet-075", "Did you mean 'posenet-075'?"),
        (
            "run videos --model posenet-075",
            "Model 'posenet-075' does not exist. Run 'nightjar convert posenet-075' first.",
        ),
        ("run videos --model xyz", "Choose one of: "),
        ("run vidoes --model tiny", "nothing at"),
        ("run file --model tiny", "no folder at"),
        ("run s3:/bucket/x --model tiny", "nothing at"),
        ("run gs://bucket/x --model tiny", "is not a folder, file:///folder or s3://bucket/prefix"),
        ("run videos --model tiny --device TOASTER", "no device TOASTER here, only CPU"),
        ("run videos --model tiny --device cpu", "Use --device CPU"),
        ("run videos --model tiny --device MYRIAD", "no device MYRIAD here"),
        ("run videos --model tiny --device MULTI:CPU,GPU", "no device MULTI:CPU,GPU here"),
        ("run videos --model tiny --device SIMULATED:ms=x", "SIMULATED"),
        ("convert posenet-75", "Did you mean 'posenet-075'?"),
        ("convert my-model", "or give --source PATH"),
        ("convert my-model --source /no/such", "The file or folder '/no/such' does not exist. Give --source a path"),
        ("convert posenet-demo --images /no/such", "The folder '/no/such' does not exist. Give --images a path"),
        ("convert My_Model --source file", "Use small letters, digits and '-'"),
        ("convert posenet-demo --width 3", "0<x<=2"),
        ("benchmark tiny nobody", "Model 'nobody' does not exist"),
        ("benchmark tiny --device TOASTER", "no device TOASTER"),
        ("benchmark tiny --video none.mp4", "The file 'none.mp4' does not exist. Give --video a path"),
        ("evaluate tiny --coco none.json --images videos", "The file 'none.json' does not exist. Give --coco a path"),
        ("evaluate tiny --coco file --images none", "The folder 'none' does not exist. Give --images a path"),
        ("evaluate spotter --coco file --images videos", "Choose a pose model"),
        ("evaluate tiny --coco file --images videos --device TOASTER", "no device TOASTER"),
        ("quantize tiny --archive vidoes", "nothing at"),
        ("quantize tiny --archive videos --coco file", "Give both --coco and --images, or neither"),
        ("quantize spotter --archive videos", "Choose a pose model"),
        ("quantize tiny --archive videos --name Small!", "Use small letters"),
        ("finetune", "Give --pictures FOLDER"),
        ("finetune --stanford videos", "Give both --stanford and --devkit, or neither"),
        ("finetune --devkit videos --pictures videos", "Give both --stanford and --devkit, or neither"),
        ("finetune --pictures nowhere", "The folder 'nowhere' does not exist. Give --pictures a path"),
        (
            "finetune --pictures videos --pictures nowhere",
            "The folder 'nowhere' does not exist. Give --pictures a path",
        ),
        ("finetune --caltech nowhere", "Give --caltech a path"),
        ("finetune --pictures videos --weights none.h5", "The file 'none.h5' does not exist. Give --weights a path"),
        ("models --show tiyn", "Did you mean 'tiny'?"),
        (
            "sql SELECT --output /no/such/x.csv",
            "The folder '/no/such' does not exist. Give --output a path in an existing folder",
        ),
        ("sql SELECT --output videos", "is a folder. Give --output the path of a file"),
        ("sql SELECT --format parquet --output file/x.parquet", "Give --output a path in an existing folder"),
        ("rnu", "Did you mean 'run'?"),
        ("run videos --modle tiny", "Did you mean '--model'?"),
    ],
)
def test_errors_are_one_sentence_before_a_server_is_started(arguments: str, words: str, models: list[str]) -> None:
    assert models == ["tiny", "spotter"]
    result = nightjar(*arguments.split())
    assert result.exit_code in (1, 2), result.output
    assert words in result.output
    assert result.output.count("Error: ") == 1
    assert result.exception is None or isinstance(result.exception, SystemExit), "no traceback"


def test_a_typo_is_reported_within_seconds_without_importing_prefect(models: list[str]) -> None:
    code = (
        "import sys; from click.testing import CliRunner; from deployments.cli import main;"
        "result = CliRunner().invoke(main, ['run', 'videos', '--model', 'tiyn']);"
        "print(result.exit_code, *{'prefect', 'tensorflow', 'openvino'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


def test_missing_parts_of_an_edge_environment_give_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('psycopg', 'tensorflow')));"
        "from deployments.cli import main; main(sys.argv[1:])"
    )
    for command in (["videos"], ["sql", "SELECT 1"], ["batches"], ["models"], ["run", "videos", "--model", "tiny"]):
        done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith(
            "Error: psycopg is not installed, because this is the environment of an edge worker."
        )
        assert len(done.stderr.splitlines()) == 1, command


def test_unknown_variables_are_reported_once_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NIGHTJAR_DATABSE_URL", "sqlite:///elsewhere.db")
    monkeypatch.setenv("NIGHTJAR_TEST_DATA", "a test's own")
    (tmp_path / ".env").write_text("NIGHTJAR_LEASES=60\nNIGHTJAR_LEASE_S=60\nNIGHTJAR_ZZZ=1\nOTHER=1\n")
    assert unknown_variables() == {
        "NIGHTJAR_DATABSE_URL": "the environment",
        "NIGHTJAR_LEASES": ".env",
        "NIGHTJAR_ZZZ": ".env",
    }
    read_settings.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert read_settings().lease_s == 60
    assert [record.getMessage() for record in caplog.records] == [
        "NIGHTJAR_DATABSE_URL in the environment is not a setting of Nightjar and has no effect."
        " Did you mean NIGHTJAR_DATABASE_URL?",
        "NIGHTJAR_LEASES in .env is not a setting of Nightjar and has no effect. Did you mean NIGHTJAR_LEASE_S?",
        "NIGHTJAR_ZZZ in .env is not a setting of Nightjar and has no effect."
        " Remove it. docs/settings.md lists the settings.",
    ]
    child = subprocess.run([NIGHTJAR, "videos"], capture_output=True, text=True)
    assert (child.returncode, child.stderr) == (0, ""), "a child does not repeat its parent's warning"


def test_the_rate_of_the_version_itself_is_accepted(manifests: list[Manifest]) -> None:
    import dataclasses

    sampling = dataclasses.replace(manifests[0], frames_per_second=2.0)
    for asked in (None, 2.0):
        refuse_other_rate(sampling, "tiny", asked)
    with pytest.raises(NightjarError, match="Give its name, 'tiny'"):
        refuse_other_rate(sampling, "abcdef12", 5.0)


NAMES = st.lists(st.text("abcdef0123456789-", min_size=4, max_size=20), min_size=1, max_size=20, unique=True)


def test_a_wrong_letter_among_equal_ones_is_found() -> None:
    assert nearest("0_00", ["0000"]) == "0000"
    assert nearest("AA_A", ["aaaa", "abab"]) == "aaaa"


@given(NAMES, st.data())
def test_a_name_with_one_wrong_letter_finds_a_known_one(names: list[str], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(names))
    at = data.draw(st.integers(0, len(name) - 1))
    found = nearest(name[:at] + "_" + name[at + 1 :], names)
    assert found in names


def test_nothing_is_suggested_for_another_word() -> None:
    assert nearest("giraffe", ["posenet-075", "openpose"]) is None
