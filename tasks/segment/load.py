"""Load result files of the store into SQL, two at a time: one is read or committed while the other one is sent."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue

from storage.ledger.commit import load_result
from storage.objects.artifacts import Artifacts
from storage.parquet import Result
from storage.sql.database import Database
from tasks.segment.result_files import ResultReader, fetch

# More were no faster on two cores, with either database.
AT_ONCE = 2


def load_results(
    engine: Database, artifacts: Artifacts, keys: Iterable[str], wanted: Callable[[str, Result], bool]
) -> Iterator[tuple[str, "Future[bool]"]]:
    """Yield each key, in order, with a future: whether its result was loaded now.

    wanted: whether to load it; may raise. The futures raise that, too, or as `fetch` and `load_result` do
    """
    with ExitStack() as stack:
        readers: SimpleQueue[ResultReader] = SimpleQueue()
        for _ in range(AT_ONCE):
            readers.put(stack.enter_context(ResultReader()))

        def load(key: str) -> bool:
            reader = readers.get()
            try:
                result, stored = fetch(artifacts, reader, key)
            finally:
                readers.put(reader)
            return wanted(key, result) and load_result(engine, result, *stored)

        pool = ThreadPoolExecutor(AT_ONCE, "nightjar-load")
        stack.callback(pool.shutdown, cancel_futures=True)
        yield from [(key, pool.submit(load, key)) for key in keys]
