"""Find models by the name that a user typed, or suggest another name.

No Prefect: commands check names before they import it.
"""

from models.evaluation.reference import RECOMMENDED as RECOMMENDED_MODELS
from models.types import ModelVersion, NightjarError
from storage.objects.downloads import PUBLISHED
from storage.sql import catalogue
from tasks.model.stored import register_stored_model
from tasks.site.site import Site
from tasks.text.wording import nearest

DEMO_MODEL = "posenet-demo"
RECOMMENDED = RECOMMENDED_MODELS["PC"].model
CONVERTIBLE = (*PUBLISHED, DEMO_MODEL)
"""Names that `nightjar convert NAME` accepts without --source."""


def require_model(site: Site, name: str) -> tuple[int, ModelVersion]:
    """Return id and version of the model of this name or hash; a new database gets it from the store.

    Raises NightjarError that names the nearest one.
    """
    found = catalogue.find_model(site.engine, name)
    if found is None:
        register_stored_model(site, name)
        found = catalogue.find_model(site.engine, name)
    if found is None:
        raise NightjarError(f"Model {name!r} does not exist. {_remedy(name, catalogue.model_names(site.engine))}")
    return found


def _remedy(name: str, known: list[str]) -> str:
    if name in CONVERTIBLE:
        return f"Run 'nightjar convert {name}' first."
    meant = nearest(name, [*known, *CONVERTIBLE])
    if meant in known:
        return f"Did you mean {meant!r}?"
    if meant:
        return f"Did you mean {meant!r}? Run 'nightjar convert {meant}' first."
    if known:
        return f"Choose one of: {', '.join(known)}."
    return f"Convert one first, such as 'nightjar convert {RECOMMENDED}'."


def refuse_run_number(name: str) -> None:
    """Raise NightjarError if a new model would have the name of a training run, such as run-7 or 7."""
    if catalogue.RUN_NUMBER.fullmatch(name):
        raise NightjarError(f"A model cannot be called {name!r}: this names a training run. Choose another name.")


def require_source(name: str) -> None:
    """Raise NightjarError if no model of this name is published, so that `nightjar convert` needs a --source."""
    if name in CONVERTIBLE:
        return
    meant = nearest(name, CONVERTIBLE)
    hint = f" Did you mean {meant!r}?" if meant else ""
    raise NightjarError(
        f"No model {name!r} is published.{hint} Choose one of {', '.join(CONVERTIBLE)}, or give --source PATH."
    )
