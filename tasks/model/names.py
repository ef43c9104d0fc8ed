"""Models by the name that a person typed: the one that was meant, or a sentence that says what to type instead.

No Prefect: commands ask before it is imported.
"""

from models.types import ModelVersion, NightjarError
from storage.objects.downloads import PUBLISHED
from storage.sql import catalogue
from tasks.model.stored import register_stored_model
from tasks.site.site import Site
from tasks.text.wording import nearest

DEMO_MODEL = "posenet-demo"
CONVERTIBLE = (*PUBLISHED, DEMO_MODEL)
"""Names that `nightjar convert NAME` can do without --source."""


def require_model(site: Site, name: str) -> tuple[int, ModelVersion]:
    """Return id and version of the model of this name or hash; a new database gets it from the store.

    Raises NightjarError that names the nearest one.
    """
    found = catalogue.find_model(site.engine, name)
    if found is None:
        register_stored_model(site, name)
        found = catalogue.find_model(site.engine, name)
    if found is None:
        raise NightjarError(f"no model {name!r} here{_remedy(name, catalogue.model_names(site.engine))}")
    return found


def _remedy(name: str, known: list[str]) -> str:
    if name in CONVERTIBLE:
        return f". Run 'nightjar convert {name}' first"
    meant = nearest(name, [*known, *CONVERTIBLE])
    if meant in known:
        return f". Did you mean {meant!r}?"
    if meant:
        return f". Did you mean {meant!r}? Run 'nightjar convert {meant}' first"
    if known:
        return f". Choose one of: {', '.join(known)}"
    return ". Convert one first, such as 'nightjar convert posenet-075'"


def refuse_run_number(name: str) -> None:
    """Raise NightjarError where a new model would be called as a training run is, such as run-7 or 7."""
    if catalogue.RUN_NUMBER.fullmatch(name):
        raise NightjarError(f"A model cannot be called {name!r}: this names a training run. Choose another name.")


def require_source(name: str) -> None:
    """Raise NightjarError where `nightjar convert NAME` needs a --source: nobody publishes a model of this name."""
    if name in CONVERTIBLE:
        return
    meant = nearest(name, CONVERTIBLE)
    hint = f" Did you mean {meant!r}?" if meant else ""
    raise NightjarError(
        f"no model {name!r} is published.{hint} Choose one of {', '.join(CONVERTIBLE)}, or give --source PATH"
    )
