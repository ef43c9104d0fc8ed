"""The only reader of the environment: NIGHTJAR_… variables and `.env`. Opens nothing."""

import os
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.types import NightjarError


class SettingsError(NightjarError):
    """A variable has a value that cannot be used."""


class Settings(BaseSettings):
    """Everything has a default under `home`, so that nothing needs to be set on one machine."""

    model_config = SettingsConfigDict(env_prefix="NIGHTJAR_", env_file=".env", extra="ignore")

    home: Path = Field(Path(".nightjar"), description="where everything goes that is not told otherwise")
    database_url: SecretStr | None = Field(None, description="SQLAlchemy address; default SQLite in home")
    artifacts: str = Field("", description="folder, or s3://bucket/prefix; default the folder artifacts in home")
    s3_endpoint_url: str | None = Field(None, description="for S3 stores that are not Amazon's")
    s3_region: str = "us-east-1"
    s3_access_key_id: str | None = Field(None, description="default: boto3's own chain")
    s3_secret_access_key: SecretStr | None = None
    s3_path_style: bool | None = Field(None, description="https://host/bucket; default: with an endpoint of one's own")
    s3_verify_tls: bool = True
    s3_ca_bundle: Path | None = Field(None, description="certificates to trust, for a store with its own authority")
    s3_checksum_mode: Literal["when_supported", "when_required"] = "when_supported"
    cache_bytes: int = Field(20 * 2**30, gt=0, description="at most this much of an S3 archive is kept on disk")
    decoder_memory_bytes: int = Field(4 * 2**30, gt=0, description="a video that needs more is quarantined")
    decoder_cpu_s: int = Field(3600, gt=0, description="a segment that needs more CPU is quarantined")
    lease_s: int = Field(120, ge=10, description="a segment whose worker is silent this long is given to another")

    @property
    def database(self) -> str:
        """The database's address, with its password."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.home.resolve() / 'nightjar.db'}"

    @property
    def artifacts_location(self) -> str:
        return self.artifacts or str(self.home.resolve() / "artifacts")

    @property
    def model_cache(self) -> Path:
        return self.home.resolve() / "cache" / "models"

    @property
    def video_cache(self) -> Path:
        return self.home.resolve() / "cache" / "videos"

    @property
    def download_cache(self) -> Path:
        return self.home.resolve() / "cache" / "downloads"


@cache
def read_settings() -> Settings:
    """Raises SettingsError naming each variable that is wrong, never its value where that is a secret."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"NIGHTJAR_{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors())
        raise SettingsError(f"{wrong}: correct it in the environment or in .env") from None


def prepare_prefect(settings: Settings) -> None:
    """Prefect's own settings, where the user has none. To be called before Prefect is first imported."""
    if "PREFECT_HOME" not in os.environ:
        folder = settings.home.resolve() / "prefect"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # its database holds the key to Prefect's secrets
        os.environ["PREFECT_HOME"] = str(folder)
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")  # without the internet, its call home waits for DNS
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "20")


def prefect_api_url() -> str | None:
    """The address of the user's own Prefect server, if one is set."""
    return os.environ.get("PREFECT_API_URL")


def use_prefect_api(url: str) -> None:
    """Let Prefect, when it is imported, talk to this server."""
    os.environ["PREFECT_API_URL"] = url
