"""A migrated database for new Prefect servers, since migrations take most of a server's first start.

`make` writes it once per installation: `python -m deployments.prefect_database`. Without it, or if the user has chosen
a database, Prefect runs its migrations itself.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tasks.site.settings import fresh_prefect_environment, prefect_has_own_database

DATABASE = "prefect.db"  # in PREFECT_HOME, Prefect's default


def template_path() -> Path:
    """Return the path of the migrated database for the installed version of Prefect."""
    return Path(sys.prefix) / "share" / "nightjar" / f"prefect-{version('prefect')}.db"


def write_template(path: Path) -> None:
    """Write an empty, migrated database. It contains no key and no secret: Prefect creates them at its first use.

    Raises subprocess.CalledProcessError, with Prefect's messages in stderr.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        subprocess.run(
            [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
            cwd=folder,  # no .env
            env=fresh_prefect_environment(Path(folder)),
            check=True,
            capture_output=True,
        )
        (Path(folder) / DATABASE).replace(path)


def place_database(home: Path) -> bool:
    """Copy the migrated database to a Prefect home without a database. Return True if it was copied.

    Of two concurrent commands, the first one's copy stays.
    """
    template, target = template_path(), home / DATABASE
    if prefect_has_own_database() or target.exists() or not template.exists():
        return False
    try:
        with tempfile.TemporaryDirectory(dir=home) as folder:
            copy = Path(folder) / DATABASE
            shutil.copyfile(template, copy)
            copy.chmod(0o600)
            os.link(copy, target)
    except OSError:  # another command was first, the disk is full, or its file system has no links: Prefect migrates
        return False
    return True


if __name__ == "__main__":
    write_template(template_path())
