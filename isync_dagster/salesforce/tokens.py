"""Tokens of orgs that were logged in to in the browser: in the system's keyring, or in a file of the user's own.

The keyring is used where the `keyring` package is installed and has a place to keep secrets. `ISYNC_TOKENS` names a
file to use instead; without either it is `~/.config/isync/tokens.json`. The file is readable by its owner only.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, Protocol

from isync_dagster.errors import OrgsError

SERVICE = "isync"
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


@dataclass(frozen=True)
class Tokens:
    """What a login in the browser gave."""

    refresh_token: str = field(repr=False)
    access_token: str = field(repr=False)
    instance_url: str
    login_url: str
    org_id: str
    user_id: str
    at: float
    """When the access token was issued, in seconds since 1970."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("tokens are not pickled; read them where they are used")


class TokenStore(Protocol):
    """Where tokens are kept."""

    @property
    def place(self) -> str:
        """The place as people would find it."""

    def load(self, name: str) -> Tokens | None:
        """The tokens of that name, or None."""

    def save(self, name: str, tokens: Tokens) -> None:
        """Keep tokens, replacing those of the name."""

    def forget(self, name: str) -> None:
        """Remove tokens; harmless where there are none."""


def token_name(alias: str, consumer_key: str) -> str:
    """The name that the tokens of an org's entry are kept by: another app under the same alias has its own."""
    return f"{alias} {consumer_key}"


def token_store(environment: Mapping[str, str] | None = None) -> TokenStore:
    """The place that this machine offers."""
    values = os.environ if environment is None else environment
    named = values.get("ISYNC_TOKENS")
    if named:
        return TokenFile(Path(named).expanduser())
    ring = _keyring()
    if ring is not None:
        return ring
    config = values.get("XDG_CONFIG_HOME") or "~/.config"
    return TokenFile(Path(config).expanduser() / "isync" / "tokens.json")


@dataclass(frozen=True)
class TokenFile:
    """A JSON file of tokens by name; a change is made under a lock and whole or not at all."""

    path: Path

    @property
    def place(self) -> str:
        return str(self.path)

    def load(self, name: str) -> Tokens | None:
        found = self._read().get(name)
        return _tokens(found, self.place) if found is not None else None

    def save(self, name: str, tokens: Tokens) -> None:
        with self._locked():
            self._write({**self._read(), name: asdict(tokens)})

    def forget(self, name: str) -> None:
        with self._locked():
            found = self._read()
            if found.pop(name, None) is not None:
                self._write(found)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
            handle = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, PRIVATE_FILE)
        except OSError as error:
            raise OrgsError(f"tokens cannot be kept in {self.path} ({error.strerror}); set ISYNC_TOKENS") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _read(self) -> dict[str, Any]:
        try:
            mode = self.path.stat().st_mode & 0o077
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise OrgsError(f"tokens in {self.path} cannot be read ({error.strerror})") from None
        if mode:
            raise OrgsError(
                f"{self.path} holds tokens and others may read it: `chmod 600 {self.path}`, and log in anew"
            )
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError:
            raise OrgsError(f"{self.path} is not JSON; remove it and log in anew") from None
        return found

    def _write(self, content: Mapping[str, Any]) -> None:
        # A temporary file of mkstemp is the owner's alone from its first byte on.
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".tokens-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@dataclass(frozen=True)
class Keyring:
    """The system's keyring."""

    ring: Any

    @property
    def place(self) -> str:
        return f"the system's keyring ({type(self.ring.get_keyring()).__name__})"

    def load(self, name: str) -> Tokens | None:
        text = self.ring.get_password(SERVICE, name)
        return _tokens(json.loads(text), self.place) if text else None

    def save(self, name: str, tokens: Tokens) -> None:
        self.ring.set_password(SERVICE, name, json.dumps(asdict(tokens)))

    def forget(self, name: str) -> None:
        if self.ring.get_password(SERVICE, name):
            self.ring.delete_password(SERVICE, name)


def _keyring() -> Keyring | None:
    """The keyring, where the package is there and has a backend that keeps secrets (priority 1 and above)."""
    try:
        keyring = import_module("keyring")
    except ImportError:
        return None
    return Keyring(keyring) if getattr(keyring.get_keyring(), "priority", 0) >= 1 else None


def _tokens(found: Any, place: str) -> Tokens:
    try:
        return Tokens(**found)
    except TypeError:
        raise OrgsError(f"the tokens in {place} are of another version of this tool: log in anew") from None
