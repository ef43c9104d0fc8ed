"""A fleet's night is estimated from its workers, and accounted for by worker: real server, real workers."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tasks.site.settings import read_settings
from tests.flows.conftest import register_tiny_model, spot_video
from tests.flows.fleet import deploy_edge, worker
from tests.flows.test_nightly_batch import ask, run

pytestmark = pytest.mark.usefixtures("prefect_fleet", "home")


@pytest.fixture
def archive(tmp_path: Path, home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One video of 345 frames; the store is a folder that workers share."""
    monkeypatch.setenv("NIGHTJAR_ARTIFACTS", str(tmp_path / "store"))
    monkeypatch.setenv("NIGHTJAR_LEASE_S", "60")
    read_settings.cache_clear()
    register_tiny_model(tiny_model)
    deploy_edge()
    (tmp_path / "archive").mkdir()
    spot_video(tmp_path / "archive" / "one.mp4", 345)
    return tmp_path / "archive"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_fleets_second_night_is_estimated_from_its_workers(
    archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Within a factor of three, or in the next night; a new worker is assumed to be as fast as others of its kind."""
    with ExitStack() as workers:
        workers.enter_context(worker("pi-1", tmp_path / "pi-1"))
        first = run(archive, dispatch="fleet", segment_s=4)
        assert "unknown, as this model was never measured here: 345 frames by 1 device" in caplog.text
        workers.enter_context(worker("pi-2-CPU", tmp_path / "pi-2"))
        wrong = []
        for night in range(2):
            spot_video(archive / f"night {night}.mp4", 300, first=1000 * night + 1000)
            batch = run(archive, dispatch="fleet", segment_s=4).account.batch
            assert batch.estimated_s is not None
            wrong.append(max(batch.took_s / batch.estimated_s, batch.estimated_s / batch.took_s))
            print(f"estimated {batch.estimated_s:.1f} s, took {batch.took_s:.1f} s")
            if wrong[-1] < 3:
                break
    assert min(wrong) < 3
    assert "300 frames by " in caplog.text
    assert "pi-1/CPU (" in caplog.text
    assert "the mean of all CPU devices" in caplog.text
    done = dict(ask(f"SELECT worker, sum(frames_done) FROM segments WHERE batch_id = {first.batch_id} GROUP BY worker"))
    assert {device.worker: device.frames_done for device in first.account.devices} == done == {"pi-1": 345}
