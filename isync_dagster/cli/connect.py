"""`isync orgs login` and `logout`: tokens of an org by way of the browser."""

from __future__ import annotations

import webbrowser
from dataclasses import replace

import typer
from rich.console import Console
from rich.markup import escape

from isync_dagster.assets.settings import Settings
from isync_dagster.errors import OrgsError
from isync_dagster.salesforce.orgs import Credentials, load_orgs
from isync_dagster.salesforce.tokens import token_name, token_store
from isync_dagster.salesforce.urls import checked_url
from isync_dagster.salesforce.web_login import PATH, Attempt, Callback, revoke

SANDBOX = "https://test.salesforce.com"


def login(console: Console, alias: str, *, sandbox: bool, url: str, browser: bool, port: int, paste: bool) -> None:
    """Send the person to the org's login, take the answer, keep the tokens."""
    if sandbox and url:
        raise OrgsError("give --sandbox or --url, not both")
    app = _app(alias)
    if sandbox or url:
        app = replace(app, login_url=checked_url(url or SANDBOX, "--url"))
    if paste:
        attempt = Attempt(app, f"http://localhost:{port or 1717}{PATH}")
        _say(console, attempt)
        address = typer.prompt("The browser ends at a page that does not load. Paste its address here", hide_input=True)
        code = attempt.code(address)
    else:
        with Callback(port) as callback:
            attempt = Attempt(app, callback.redirect_uri)
            _say(console, attempt)
            if browser and not webbrowser.open(attempt.url):
                console.print("[yellow]No browser could be opened:[/] open the address yourself.")
            code = callback.wait(attempt)
    tokens = attempt.tokens(code)
    store = token_store()
    store.save(token_name(alias, app.consumer_key or ""), tokens)
    console.print(
        f"[green]✓[/] [bold]{escape(alias)}[/] is org {tokens.org_id}, user {tokens.user_id}; tokens are in "
        f"{escape(store.place)}. `isync orgs check {escape(alias)}` says what the user may do.",
        soft_wrap=True,
    )


def logout(console: Console, alias: str) -> None:
    """Revoke the tokens, then forget them; where Salesforce cannot be reached they stay."""
    app = _app(alias)
    store, name = token_store(), token_name(alias, app.consumer_key or "")
    tokens = store.load(name)
    if tokens is None:
        console.print(f"[yellow]–[/] [bold]{escape(alias)}[/]: nobody is logged in on this machine.")
        return
    revoke(replace(app, login_url=tokens.login_url), tokens)
    store.forget(name)
    console.print(f"[green]✓[/] [bold]{escape(alias)}[/]: the tokens are revoked, and gone from {escape(store.place)}.")


def _say(console: Console, attempt: Attempt) -> None:
    console.print("Log in and allow the access in the browser:")
    console.out(attempt.url, highlight=False)


def _app(alias: str) -> Credentials:
    settings = Settings.from_env()
    configs = load_orgs(settings.orgs)
    config = configs.get(alias)
    if config is None or config.auth != "web":
        what = "has no org" if config is None else f"has `auth: {config.auth}` for"
        raise OrgsError(
            f"{settings.orgs} {what} {alias!r}. To log in in the browser, its entry is\n"
            f"  {alias}:\n    auth: web\n    consumer_key: ${{{alias.upper()}_CONSUMER_KEY}}\n"
            "    login_url: https://test.salesforce.com    # or the My Domain URL; production without this line"
        )
    return config.app(alias)
