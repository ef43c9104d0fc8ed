"""Make model_versions.ir_sha256 the hash of both files of the IR; it was that of model.bin alone.

Each version's manifest, which lies in the same row, has the sha256 of both files, so that no file is read. A version
whose manifest lacks one of them gets 'unknown': its version_sha256 still tells it apart.
"""

import hashlib
import json
from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# A migration is a record: it repeats the names of its day and imports nothing that may change.
FILES = ("model.bin", "model.xml")
VERSIONS = sa.table(
    "model_versions",
    sa.column("model_version_id", sa.Integer),
    sa.column("ir_sha256", sa.Text),
    sa.column("manifest", sa.Text),
)


def upgrade() -> None:
    _rewrite(_of_both_files)


def downgrade() -> None:
    _rewrite(lambda files: files["model.bin"])


def _rewrite(digest: Callable[[dict[str, str]], str]) -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.select(VERSIONS.c.model_version_id, VERSIONS.c.manifest)).all()
    for model_version_id, manifest in rows:
        files = _files(manifest)
        mine = VERSIONS.c.model_version_id == model_version_id
        connection.execute(VERSIONS.update().where(mine).values(ir_sha256=digest(files) if files else "unknown"))


def _of_both_files(files: dict[str, str]) -> str:
    return hashlib.sha256("".join(f"{name} {files[name]}\n" for name in FILES).encode()).hexdigest()


def _files(manifest: str) -> dict[str, str] | None:
    """File of the IR -> sha256; None where the manifest does not have them."""
    try:
        files = json.loads(manifest)["ir_sha256"]
        return {name: str(files[name]) for name in FILES}
    except (ValueError, KeyError, TypeError):
        return None
