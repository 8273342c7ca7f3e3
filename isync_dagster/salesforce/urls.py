"""URLs of orgs: credentials travel by https, and by http to this machine only."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from isync_dagster.errors import OrgsError


def checked_url(url: str, what: str) -> str:
    """The URL without path, checked: https, or http to this machine only; OrgsError says `what` is wrong."""
    text = url.strip()
    parts = urlsplit(text if "://" in text else f"https://{text}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.username or parts.password or parts.query or parts.scheme not in ("http", "https"):
        raise OrgsError(f"{what} is not a URL of a Salesforce org; write it like https://acme.my.salesforce.com")
    if parts.scheme == "http" and not is_loopback(host):
        raise OrgsError(
            f"{what} is {parts.scheme}://{host}: credentials travel by https only (http: this machine only)"
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port else "")


def is_loopback(host: str) -> bool:
    """True where the host is this machine by its very name: localhost, 127.0.0.0/8 or ::1."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
