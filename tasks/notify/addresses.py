"""Addresses of messages. They may contain passwords, so that only their scheme and a part of a hash are ever shown."""

import hashlib
from dataclasses import dataclass
from functools import cache

from pydantic import SecretStr

from tasks.site.settings import Settings, split_addresses

# A weak password in an address must not be found by trying many of them on the hash, which the database holds.
ROUNDS = 100_000
SALT = b"an address of Nightjar's messages"


@dataclass(frozen=True)
class Address:
    """One address of the setting. number: from 1, in the order of the setting"""

    number: int
    url: SecretStr

    @property
    def scheme(self) -> str:
        return self.url.get_secret_value().partition("://")[0].lower()

    @property
    def sha256(self) -> str:
        """The name of the address in the database."""
        return _hashed(self.url.get_secret_value())

    def __str__(self) -> str:
        return f"address {self.number} ({self.scheme}, {self.sha256[:8]})"


@cache
def _hashed(url: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", url.encode(), SALT, ROUNDS).hex()


def read_addresses(settings: Settings) -> list[Address]:
    """Return the addresses of the settings."""
    return [Address(number, url) for number, url in enumerate(split_addresses(settings.notify_urls), 1)]
