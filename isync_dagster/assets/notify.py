"""Messages to people: a webhook (Slack, Teams, anything that takes `{"text": …}`) and e-mail, by environment variables."""

from __future__ import annotations

import os
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage

from isync_dagster.errors import ConfigError, TransientError

WEBHOOK, SMTP, TO, FROM = "ISYNC_NOTIFY_WEBHOOK", "ISYNC_NOTIFY_SMTP", "ISYNC_NOTIFY_TO", "ISYNC_NOTIFY_FROM"
USER, PASSWORD = "ISYNC_NOTIFY_SMTP_USER", "ISYNC_NOTIFY_SMTP_PASSWORD"
SECONDS = 20.0


@dataclass(frozen=True)
class Channels:
    """Where messages go; an address that holds a secret is never shown."""

    webhook: str = field(default="", repr=False)
    smtp: str = ""
    """host or host:port; STARTTLS is used where the server offers it, and required with a password."""
    to: tuple[str, ...] = ()
    sender: str = ""
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Channels:
        """Read the variables; `ConfigError` where one that is needed is missing or cannot be right."""
        values = os.environ if environment is None else environment
        webhook, smtp = values.get(WEBHOOK, "").strip(), values.get(SMTP, "").strip()
        to = tuple(item.strip() for item in values.get(TO, "").split(",") if item.strip())
        if webhook and not webhook.startswith(("https://", "http://")):
            raise ConfigError(f"{WEBHOOK} is no http(s) address.")
        if bool(smtp) != bool(to):
            raise ConfigError(f"E-mail needs both {SMTP} (host:port of the server) and {TO} (addresses with commas).")
        host, _, port = smtp.partition(":")
        if smtp and (not host or (port and not port.isdigit())):
            raise ConfigError(f"{SMTP} is {smtp!r}: it takes host or host:port.")
        sender = values.get(FROM, "").strip() or (to[0] if to else "")
        return cls(webhook, smtp, to, sender, values.get(USER, ""), values.get(PASSWORD, ""))

    @property
    def any(self) -> bool:
        """True where somebody is to be told."""
        return bool(self.webhook or self.smtp)

    def send(self, subject: str, text: str) -> tuple[str, ...]:
        """Tell all of them; the names of the channels that took it. `TransientError` names those that did not."""
        done, failed = [], []
        for name, wanted, tell in (("webhook", self.webhook, self._post), ("e-mail", self.smtp, self._mail)):
            if not wanted:
                continue
            try:
                tell(subject, text)
                done.append(name)
            except OSError as error:
                # Both libraries' errors are OSErrors.
                # The text of the error may hold the address, and the address of a webhook is a secret.
                status = getattr(getattr(error, "response", None), "status_code", "")
                failed.append(f"{name} ({type(error).__name__}{f' {status}' if status else ''})")
        if failed:
            raise TransientError(
                f"Not everybody was told: {', '.join(failed)}. Told by: {', '.join(done) or 'nothing'}."
            )
        return tuple(done)

    def _post(self, subject: str, text: str) -> None:
        # Not at import: the code location loads this module.
        import requests

        answer = requests.post(
            self.webhook, json={"text": f"{subject}\n{text}"}, timeout=SECONDS, allow_redirects=False
        )
        answer.raise_for_status()

    def _mail(self, subject: str, text: str) -> None:
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = subject, self.sender, ", ".join(self.to)
        message.set_content(text)
        host, _, port = self.smtp.partition(":")
        with smtplib.SMTP(host, int(port or 25), timeout=SECONDS) as server:
            server.ehlo()
            if server.has_extn("starttls") or self.password:
                server.starttls(context=ssl.create_default_context())
                server.ehlo()
            if self.password:
                server.login(self.user, self.password)
            server.send_message(message)
