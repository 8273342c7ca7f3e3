"""orgs.yaml: which orgs there are and how to log in to each, without a secret in the file.

Values come from the environment (`${NAME}`) or from a key file. A variable is read when the org is used, not
when the file is loaded: a file that names ten orgs loads on a machine that knows the credentials of two. What
is loaded holds the text of the file only, so its repr, its pickle and its JSON are free of secrets.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from isync_dagster.errors import OrgsError
from isync_dagster.salesforce.tokens import Tokens, TokenStore, token_name, token_store
from isync_dagster.salesforce.urls import checked_url

LOGIN_URL = "https://login.salesforce.com"

Auth = Literal["username_password", "client_credentials", "jwt", "refresh_token", "access_token", "sf_cli", "web"]

SECRETS = frozenset({"password", "security_token", "consumer_secret", "refresh_token", "access_token"})

# auth kind -> (keys it needs, keys it may have); every other login key would be ignored, so it is refused
_KEYS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "username_password": (
        frozenset({"username", "password"}),
        frozenset({"security_token", "login_url", "instance_url", "consumer_key", "consumer_secret"}),
    ),
    "client_credentials": (frozenset({"login_url", "consumer_key", "consumer_secret"}), frozenset({"instance_url"})),
    "jwt": (
        frozenset({"username", "consumer_key", "key_file"}),
        frozenset({"login_url", "instance_url", "audience"}),
    ),
    "refresh_token": (
        frozenset({"refresh_token", "consumer_key"}),
        frozenset({"consumer_secret", "login_url", "instance_url"}),
    ),
    "access_token": (frozenset({"access_token", "instance_url"}), frozenset()),
    "sf_cli": (frozenset({"sf_alias"}), frozenset()),
    "web": (frozenset({"consumer_key"}), frozenset({"consumer_secret", "login_url", "instance_url"})),
}
_LOGIN_KEYS = frozenset().union(*(needed | allowed for needed, allowed in _KEYS.values()))
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Concurrency(BaseModel):
    """How much of an org's capacity one process uses at a time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    jobs: int = Field(4, ge=1, le=25, description="Bulk jobs that run in the org at the same time.")
    calls: int = Field(8, ge=1, le=25, description="HTTP calls in flight at the same time.")


class OrgConfig(BaseModel):
    """One org of orgs.yaml as written there: `${NAME}` stands for an environment variable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    auth: Auth = Field(description="How to log in: " + ", ".join(sorted(_KEYS)) + ".")
    login_url: str = Field(
        LOGIN_URL,
        description="Where to log in: https://login.salesforce.com (default), https://test.salesforce.com for a "
        "sandbox, or the org's My Domain URL (required by client_credentials).",
    )
    instance_url: str | None = Field(
        None, description="Where the org's API is. Needed with access_token; otherwise the login answers it."
    )
    username: str | None = Field(None, description="The user that logs in (username_password, jwt).")
    password: str | None = Field(None, description="The user's password, as ${NAME}.")
    security_token: str | None = Field(
        None, description="The user's security token, as ${NAME}; not needed from a trusted network."
    )
    consumer_key: str | None = Field(None, description="Consumer key (client id) of the connected app.")
    consumer_secret: str | None = Field(None, description="Consumer secret of the connected app, as ${NAME}.")
    key_file: str | None = Field(
        None, description="Private key (PEM) of the JWT bearer flow; a relative path starts at orgs.yaml's folder."
    )
    audience: str | None = Field(
        None, description="Audience of the JWT; by default login or test .salesforce.com, judged by login_url."
    )
    refresh_token: str | None = Field(None, description="OAuth refresh token, as ${NAME}.")
    access_token: str | None = Field(
        None, description="An access token (session id), as ${NAME}; it cannot be renewed when it expires."
    )
    sf_alias: str | None = Field(None, description="Alias or username of an org that the sf CLI is logged in to.")
    api_version: str | None = Field(
        None, description="API version such as 62.0; by default the newest that both sides know.", examples=["62.0"]
    )
    allow_production: bool = Field(
        False, description="True lets this tool write to the org although it is a production org."
    )
    ca_file: str | None = Field(
        None, description="Certificates (PEM) to trust for this org instead of the system's; path as in key_file."
    )
    concurrency: Concurrency = Field(Concurrency(), description="How much is done in the org at the same time.")

    _folder: Path = PrivateAttr(default=Path())
    _environment: Mapping[str, str] | None = PrivateAttr(default=None)

    @field_validator("api_version", mode="before")
    @classmethod
    def _version(cls, value: Any) -> Any:
        if value is None:
            return None
        text = str(value).lstrip("vV")
        if not re.fullmatch(r"\d{2,3}(\.0)?", text):
            raise ValueError(f"{value!r} is not an API version; write it like 62.0")
        if int(text.split(".")[0]) < 47:
            raise ValueError(f"{value!r} is older than 47.0, the first API version with Bulk API 2.0 queries")
        return text if text.endswith(".0") else text + ".0"

    def __getstate__(self) -> dict[Any, Any]:
        """What travels to another process: the text of the file, no environment."""
        state = dict(super().__getstate__())
        state["__pydantic_private__"] = {"_folder": self._folder, "_environment": None}
        return state

    def bound(self, folder: Path, environment: Mapping[str, str] | None) -> OrgConfig:
        """The same org with paths relative to `folder` and variables from `environment` (None: the process's)."""
        copy = self.model_copy()
        copy._folder = folder
        copy._environment = environment
        return copy

    def path(self, text: str) -> Path:
        """A path of the file: `~` and variables expanded, relative to the folder of orgs.yaml."""
        return self._folder / Path(self._expand(text, "path")).expanduser()

    def missing(self) -> list[str]:
        """The environment variables that the org needs and that are not set (or are empty)."""
        environment = self._variables
        names = [name for text in self._texts().values() for name in _VARIABLE.findall(text)]
        return sorted({name for name in names if not environment.get(name)})

    def credentials(self, alias: str) -> Credentials:
        """Everything the login needs, variables filled in; OrgsError names each one that is not set.

        With `auth: web` the tokens of `isync orgs login` are part of it; OrgsError where there are none.
        """
        app = self.app(alias)
        if self.auth != "web":
            return app
        store, name = token_store(self._variables), token_name(alias, app.consumer_key or "")
        tokens = store.load(name)
        if tokens is None:
            raise OrgsError(
                f"org '{alias}': nobody is logged in on this machine; `isync orgs login {alias}`", alias=alias
            )
        return replace(
            app,
            login_url=tokens.login_url,
            refresh_token=tokens.refresh_token,
            kept=Kept(store, name),
        )

    def app(self, alias: str) -> Credentials:
        """As `credentials` without the tokens of a login in the browser: what such a login begins with."""
        missing = self.missing()
        if missing:
            raise OrgsError(
                f"org '{alias}': set the environment variable{'s' if len(missing) > 1 else ''} {', '.join(missing)} "
                "(orgs.yaml reads credentials from there)",
                alias=alias,
                missing=tuple(missing),
            )
        values = {key: self._expand(text, key) for key, text in self._texts().items()}
        for key in ("login_url", "instance_url"):
            if key in values:
                values[key] = checked_url(values[key], f"org '{alias}': {key}")
        private_key = None
        if self.key_file is not None:
            file = self.path(self.key_file)
            try:
                private_key = file.read_text(encoding="utf-8")
            except OSError as error:
                raise OrgsError(
                    f"org '{alias}': key_file {file} cannot be read ({error.strerror})", alias=alias
                ) from None
        ca_file = None
        if self.ca_file is not None:
            ca_file = self.path(self.ca_file)
            if not ca_file.exists():
                raise OrgsError(f"org '{alias}': ca_file {ca_file} does not exist", alias=alias)
        hidden: dict[str, Any] = {key: values.get(key) for key in SECRETS}
        return Credentials(
            auth=self.auth,
            login_url=values["login_url"],
            instance_url=values.get("instance_url"),
            username=values.get("username"),
            consumer_key=values.get("consumer_key"),
            audience=values.get("audience"),
            sf_alias=values.get("sf_alias"),
            ca_file=ca_file,
            private_key=private_key,
            **hidden,
        )

    @property
    def _variables(self) -> Mapping[str, str]:
        return os.environ if self._environment is None else self._environment

    def _texts(self) -> dict[str, str]:
        values = {key: getattr(self, key) for key in (*sorted(_LOGIN_KEYS), "ca_file")}
        return {key: value for key, value in values.items() if value is not None}

    def _expand(self, text: str, key: str) -> str:
        variables = self._variables
        return _VARIABLE.sub(lambda match: variables.get(match.group(1), ""), text).strip(
            None if key not in SECRETS else "\r\n"
        )


@dataclass(frozen=True)
class Kept:
    """The place of one org's tokens."""

    store: TokenStore
    name: str

    def load(self) -> Tokens | None:
        """The tokens as they are now: another process may have renewed them."""
        return self.store.load(self.name)

    def save(self, tokens: Tokens) -> None:
        """Keep renewed tokens."""
        self.store.save(self.name, tokens)


@dataclass(frozen=True)
class Credentials:
    """What a login needs, secrets included: never stored, never pickled, shown without its secrets."""

    auth: Auth
    login_url: str
    instance_url: str | None = None
    username: str | None = None
    consumer_key: str | None = None
    audience: str | None = None
    sf_alias: str | None = None
    ca_file: Path | None = None
    password: str | None = field(default=None, repr=False)
    security_token: str | None = field(default=None, repr=False)
    consumer_secret: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    kept: Kept | None = field(default=None, repr=False)
    """Where the tokens of a login in the browser lie, to be kept up to date."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled; pass the org's alias and read orgs.yaml where it is used")


class OrgsFile(BaseModel):
    """orgs.yaml as a whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    orgs: dict[str, OrgConfig] = Field(description="The orgs by the alias that templates name.")


def load_orgs(path: Path | str, env: Mapping[str, str] | None = None) -> dict[str, OrgConfig]:
    """The orgs of `path` by alias; variables come from `env` (None: the process's environment) when used.

    Every problem of the file is in the one OrgsError, a line each, as `file:line: text`.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise OrgsError(f"{file} does not exist; copy templates/orgs.yaml and name your orgs in it") from None
    except OSError as error:
        raise OrgsError(f"{file} cannot be read ({error.strerror})") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise OrgsError(f"{file} is not YAML: {error}") from None
    lines = dict(_lines(root, ()))
    problems = _Problems(file, lines)
    if not isinstance(content, Mapping):
        raise OrgsError(f"{file}:1: expected the key 'orgs' with an entry for each org")
    for key in content:
        if key != "orgs":
            problems.add((key,), f"unknown key '{key}'{_nearest(str(key), ['orgs'])}")
    entries = content.get("orgs")
    found: dict[str, OrgConfig] = {}
    if not isinstance(entries, Mapping):
        problems.add(("orgs",), "expected the key 'orgs' with an entry for each org, such as `orgs: {my_org: {...}}`")
    else:
        for alias, entry in entries.items():
            config = _org(str(alias), entry, problems)
            if config is not None:
                found[str(alias)] = config.bound(file.parent, env)
    problems.raise_any()
    return found


class _Problems:
    """What is wrong with a file, collected so that one reading tells everything."""

    def __init__(self, file: Path, lines: Mapping[tuple[str, ...], int]) -> None:
        self._file = file
        self._lines = lines
        self._found: list[tuple[int, str]] = []

    def add(self, where: tuple[str, ...], text: str) -> None:
        place = where
        while place and place not in self._lines:
            place = place[:-1]
        self._found.append((self._lines.get(place, 1), text))

    def raise_any(self) -> None:
        if self._found:
            found = sorted(self._found)
            message = "\n".join(f"{self._file}:{line}: {text}" for line, text in found)
            raise OrgsError(message, file=str(self._file), line=found[0][0])


def _lines(node: yaml.Node | None, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    """(key path, line) of every key below a YAML node."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*path, str(key.value))
            yield place, key.start_mark.line + 1
            yield from _lines(value, place)


def _org(alias: str, entry: Any, problems: _Problems) -> OrgConfig | None:
    """One entry of the file, or None with its problems noted."""
    where = ("orgs", alias)
    if not isinstance(entry, Mapping):
        problems.add(where, f"org '{alias}': expected its keys (auth, ...) below the alias")
        return None
    known = list(OrgConfig.model_fields)
    bad = False
    for key, value in entry.items():
        if key not in OrgConfig.model_fields:
            problems.add((*where, str(key)), f"org '{alias}': unknown key '{key}'{_nearest(str(key), known)}")
            bad = True
        elif (
            key in SECRETS and value is not None and not (isinstance(value, str) and _VARIABLE.fullmatch(value.strip()))
        ):
            name = f"{re.sub(r'[^A-Za-z0-9]', '_', alias)}_{key}".upper()
            problems.add(
                (*where, str(key)),
                f"org '{alias}': {key} stands in the file; write `{key}: ${{{name}}}`, put the value into the "
                f"environment variable {name}, and replace the secret, for the file may have been copied",
            )
            bad = True
    auth = entry.get("auth")
    if isinstance(auth, str) and auth in _KEYS:
        needed, allowed = _KEYS[auth]
        given = {str(key) for key, value in entry.items() if value is not None}
        for key in sorted(needed - given):
            problems.add(where, f"org '{alias}': auth {auth} needs '{key}'")
            bad = True
        for key in sorted((given & _LOGIN_KEYS) - needed - allowed):
            problems.add((*where, key), f"org '{alias}': auth {auth} does not use '{key}'; remove it")
            bad = True
        if auth == "username_password" and ("consumer_key" in given) != ("consumer_secret" in given):
            problems.add(where, f"org '{alias}': give both consumer_key and consumer_secret, or neither")
            bad = True
    for key in ("login_url", "instance_url"):
        url = entry.get(key)
        if isinstance(url, str) and not _VARIABLE.search(url):
            try:
                checked_url(url, f"org '{alias}': {key}")
            except OrgsError as error:
                problems.add((*where, key), str(error))
                bad = True
    if bad:
        return None
    try:
        return OrgConfig.model_validate(dict(entry))
    except ValidationError as error:
        # include_input=False: a message must not repeat what may be a secret
        for item in error.errors(include_input=False, include_url=False):
            place = tuple(str(part) for part in item["loc"])
            shown = ".".join(place) or "entry"
            problems.add((*where, *place), f"org '{alias}': {shown}: {item['msg'].removeprefix('Value error, ')}")
        return None


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f" (known: {', '.join(sorted(known))})"
