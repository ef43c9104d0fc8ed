"""A run of analyses as a person asks for it: over all videos, or some."""

from prefect import task

from tasks.analysis.check import read_day
from tasks.analysis.due import Analysed, analyse_history
from tasks.analysis.events import make_events
from tasks.analysis.places import place_files
from tasks.analysis.recordings import arrange
from tasks.analysis.spec import AnalyzeSpec
from tasks.runs.policy import TASK
from tasks.site.site import Site, reopen_site
from tasks.site.stored_videos import find_stored_video
from tasks.site_file.load import read_site_file


@task(name="analyse videos", **TASK)
def analyse_videos_task(spec: AnalyzeSpec) -> Analysed:
    """Analyse the videos of a spec. Raises as analyse_videos does."""
    with reopen_site() as site:
        return analyse_videos(site, spec)


def analyse_videos(site: Site, spec: AnalyzeSpec) -> Analysed:
    """Analyse the videos of a spec, show this version when it has analysed all videos, and make all missing events.

    Cameras and clocks are brought to what the site file says. Raises SiteFileError or DatabaseError.
    """
    site_file = read_site_file(site.settings)
    place_files(site.engine, site_file)
    arrange(site.engine, site_file.site.recording_gap_s)
    video_id = find_stored_video(site, spec.video).video_id if spec.video else None
    done = analyse_history(site.engine, spec.params, site.settings.lease_s, read_day(site, spec.since), video_id)
    done.events = make_events(site.engine, site_file)
    done.failed |= {f"events of {name}": reason for name, reason in done.events.failed.items()}
    return done
