"""Intervals of a classifier's labels: at which probabilities they begin and end."""

import json

from models.types import ModelVersion, NightjarError
from storage.sql.label_settings import LabelSettings, read_label_settings, set_label_settings
from tasks.model.interval_request import IntervalRequest
from tasks.model.names import require_model
from tasks.site.site import Site


def settings_of(site: Site, name: str, request: IntervalRequest) -> LabelSettings | None:
    """Return the settings of a model's intervals, after the change that is asked for; None = it has none.

    Raises NightjarError where the model is no classifier of two labels, or the values make no sense.
    """
    model_version_id, version = require_model(site, name)
    if request.off:
        set_label_settings(site.engine, model_version_id, None)
    elif request.enter is not None or request.leave is not None or request.min_duration_s:
        set_label_settings(site.engine, model_version_id, _asked(version, request))
    return read_label_settings(site.engine, model_version_id)


def _asked(version: ModelVersion, request: IntervalRequest) -> LabelSettings:
    """Complete the request: where one probability is given, intervals begin and end at it."""
    params = json.loads(version.manifest).get("decode_params", {})
    labels = params.get("labels", ())
    if len(labels) != 2:
        raise NightjarError(f"{version.name} has no two labels. Name a classifier of two labels.")
    label = request.label or labels[1]
    if label not in labels:
        raise NightjarError(f"{version.name} has the labels {labels[0]} and {labels[1]}. Name one of them.")
    enter, leave = request.enter, request.leave
    if enter is None:
        enter = leave if leave is not None else params.get("threshold", 0.5)
    if leave is None:
        leave = enter
    try:
        return LabelSettings(label, labels[1 - labels.index(label)], enter, leave, request.min_duration_s)
    except ValueError as error:
        raise NightjarError(str(error)) from error
