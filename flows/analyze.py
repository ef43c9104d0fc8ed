"""Flow analyze: tracks and motion of people from stored rows, without inference."""

import logging
from functools import partial

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from models.types import NightjarError
from tasks.analysis.check import check_analysis
from tasks.analysis.due import Analysed, outcome
from tasks.analysis.history import analyse_videos_task
from tasks.analysis.spec import AnalyzeSpec
from tasks.browse.links import EVENTS, START, pages_of
from tasks.runs.cancelling import cancellable
from tasks.runs.forms import form
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW
from tasks.site.settings import read_settings
from tasks.site.site import open_site
from tasks.text.markdown import cell, link
from tasks.waiting.retry import OutageRetry

log = logging.getLogger(__name__)

DESCRIPTION = """\
Follow the people of all videos in the database, and measure their motion. Nothing is inferred again.

A nightly batch does this for its own videos. Run it after a change of parameters: the views show the new tracks when
all videos are analysed. An interrupted run resumes.
"""


class AnalysisIncomplete(NightjarError):
    """Some videos could not be analysed."""


@flow(
    name="analyze",
    flow_run_name=named_after(lambda given: f"analysis of {given['video'] or 'all videos'}"),
    description=DESCRIPTION,
    **FLOW,
)
@cancellable
@form(AnalyzeSpec)
def analyze(spec: AnalyzeSpec) -> Analysed:
    """Analyse the videos whose analysis with these parameters is missing or outdated.

    Raises NightjarError; AnalysisIncomplete when a video could not be analysed.
    """
    retry = OutageRetry(read_settings().outage_s)
    with open_site(retry) as site:
        retry(partial(check_analysis, site, spec))
    done = retry(partial(analyse_videos_task, spec))
    pages = pages_of(read_settings())
    lines = [f"- {cell(video)}: {cell(reason)}" for video, reason in done.failed.items()]
    lines += ["", f"{link('Videos', pages.at(START))}, {link('events', pages.at(EVENTS))}"]
    create_markdown_artifact("\n".join([outcome(done), "", *lines]), key="analysis", description=outcome(done))
    log.info("%s", outcome(done))
    if done.failed:
        raise AnalysisIncomplete(
            f"{len(done.failed)} videos could not be analysed, such as {next(iter(done.failed))}. See the log above "
            "for the reasons, and run this again to retry."
        )
    return done


if __name__ == "__main__":
    analyze.serve()
