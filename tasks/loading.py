"""Result files of the store into SQL, two at a time: while one is read or committed, the other one goes in."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from storage.artifacts import Artifacts
from storage.database import Engine
from storage.parquet import Result
from storage.results import load_result
from tasks.result_store import fetch

# More were no faster on two cores, with either database.
AT_ONCE = 2


def load_results(
    engine: Engine, artifacts: Artifacts, keys: Iterable[str], wanted: Callable[[str, Result], bool]
) -> Iterator[tuple[str, "Future[bool]"]]:
    """Each key, in order, with whether its result was loaded now, or what kept it from that.

    wanted: whether to load it; may raise. The futures raise that, too, or as `fetch` and `load_result` do
    """

    def load(key: str) -> bool:
        result, stored = fetch(artifacts, key)
        return wanted(key, result) and load_result(engine, result, *stored)

    pool = ThreadPoolExecutor(AT_ONCE, "nightjar-load")
    try:
        yield from [(key, pool.submit(load, key)) for key in keys]
    finally:
        pool.shutdown(cancel_futures=True)
