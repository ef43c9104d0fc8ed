"""Section [notify]: messages about events and nights. Their addresses are a setting, as they contain secrets."""

from models.events.definition import Severity
from tasks.site_file.section import Section


class Notify(Section):
    """Choice of messages. severity: least severity of events that are sent; night: one message per night"""

    severity: Severity = "warning"
    night: bool = True
