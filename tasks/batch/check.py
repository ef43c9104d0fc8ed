"""Checks of a batch's parameters before it starts. No Prefect, so that commands check before they start a server."""

from models.inference.devices import check_device
from models.inference.runtime import refuse_unfit
from tasks.batch.spec import NightSpec
from tasks.model.early_checks import check_archive, check_model, refuse_other_rate
from tasks.site.site import Site
from tasks.site_file.load import read_site_file


def check_night(site: Site, spec: NightSpec) -> None:
    """Check the site file, that model and archive exist, and the device if this machine does the work."""
    read_site_file(site.settings)
    check_model_on(site, spec)
    check_archive(site, spec.archive)


def check_model_on(site: Site, spec: NightSpec) -> None:
    """Check that the model exists, and that it fits the device if this machine does the work."""
    manifest = check_model(site, spec.model)
    refuse_other_rate(manifest, spec.model, spec.frames_per_second)
    if spec.own_device is not None:
        check_device(spec.own_device)
        refuse_unfit(manifest, spec.own_device)
