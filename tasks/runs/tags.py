"""Tags of a flow run, by which the sweep finds it after its process has died."""

from contextlib import suppress
from uuid import UUID

from prefect import get_client
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.site.owner import PROCESS, TAG, this_owner

TIMEOUT_S = 10.0


def tag_run() -> None:
    """Tag this run as Nightjar's, and with its process, if its command or deployment did not.

    A restarted run has another process. If the server does not answer, the run continues without tags.
    """
    run_id = flow_run.get_id()
    if not run_id:
        return
    before = set(flow_run.get_tags())
    tags = {tag for tag in before if not tag.startswith(PROCESS)} | {TAG, f"{PROCESS}{this_owner()}"}
    if tags != before:
        soon = {"timeout": TIMEOUT_S}
        with (
            suppress(Exception),
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}),
            get_client(sync_client=True, httpx_settings=soon) as client,
        ):
            client.update_flow_run(UUID(run_id), tags=sorted(tags))
