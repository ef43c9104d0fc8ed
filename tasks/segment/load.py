"""Load result files of the store into SQL, two at a time, so that downloads and commits overlap."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue

from storage.ledger.commit import load_result
from storage.objects.artifacts import Artifacts
from storage.parquet import Result
from storage.sql.database import Database
from tasks.segment.result_files import ResultReader, fetch

# More threads were not faster on two cores, with either database.
AT_ONCE = 2


def load_results(
    engine: Database, artifacts: Artifacts, keys: Iterable[str], wanted: Callable[[str, Result], bool]
) -> Iterator[tuple[str, "Future[bool]"]]:
    """Yield each key, in order, with a future that is True if its result was loaded now.

    wanted: returns True for results to load. The futures raise its errors, and those of `fetch` and `load_result`
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
