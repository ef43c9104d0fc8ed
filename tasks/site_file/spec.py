"""The site file as a whole. Each section's model is in a module of its own."""

from collections.abc import Mapping

from pydantic import Field, PrivateAttr

from tasks.site_file.cameras import CameraEntry
from tasks.site_file.notify import Notify
from tasks.site_file.rules import Rules
from tasks.site_file.section import Section, TimeZone
from tasks.site_file.sidecar import SidecarRow
from tasks.site_file.zones import Zones


class SiteSection(Section):
    """Section [site]. time_zone: of cameras without one of their own; "" = as the setting says

    recording_gap_s: files of a camera that are closer than this are one recording
    """

    time_zone: TimeZone | None = None
    recording_gap_s: float = Field(2.0, ge=0, le=3600)


class SiteFile(Section):
    """Everything that a site says about its cameras. Without a file: the defaults, and no camera."""

    site: SiteSection = SiteSection()
    cameras: tuple[CameraEntry, ...] = ()
    zones: Zones = ()
    rules: Rules = ()
    notify: Notify = Notify()
    _sidecars: Mapping[str, Mapping[str, SidecarRow]] = PrivateAttr(default_factory=dict)

    @property
    def sidecars(self) -> Mapping[str, Mapping[str, SidecarRow]]:
        """Content of the cameras' CSV files, by their names as the site file has them."""
        return self._sidecars

    def with_sidecars(self, sidecars: Mapping[str, Mapping[str, SidecarRow]]) -> "SiteFile":
        """Return a copy that knows the content of these CSV files."""
        made = self.model_copy()
        made._sidecars = sidecars
        return made
