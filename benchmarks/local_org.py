"""How fast a local org serves and takes Bulk CSV, and how it keeps its rows: one core, loopback, numbers only.

    python benchmarks/local_org.py throughput --rows 300000
    python benchmarks/local_org.py storage --rows 1000000

The server runs in a process of its own on one core; the client runs on another where there is one, and its cost is
told apart: `wall` is what a client waits, `cpu` is the processor time of the server alone. On a machine that others
use too, `cpu` and the ratios to the references measured in the same run are the numbers to compare: a plain socket
that sends the same bytes, and DuckDB's own COPY to CSV on one thread. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import duckdb
import polars as pl

from isync_dagster.local_org.ids import id_range
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.standard import standard

OBJECTS = ("Account", "Contact")
FIELDS = (
    "LastName", "FirstName", "Email", "Phone", "Title", "Department", "AccountId", "MailingStreet", "MailingCity",
    "MailingPostalCode", "MailingCountry", "Birthdate", "Description",
)  # fmt: skip
VERSION = "62.0"
MEGA = 1e6


def contacts(rows: int, accounts: pl.Series) -> pl.DataFrame:
    """Contacts as text, one row in eight without a phone; about 260 bytes a row."""
    number = pl.int_range(rows, eager=True)
    text = number.cast(pl.String)
    words = pl.Series(["North", "South", "West", "East", "Müller", 'O"Neill', "Li, Wei", "Ångström"])
    return pl.DataFrame({
        "LastName": words.gather(number % 8) + " " + text,
        "FirstName": words.gather(number * 7 % 8),
        "Email": "person" + text + "@example.com",
        "Phone": pl.select(pl.when(number % 8 > 0).then("+49 30 " + text)).to_series(),
        "Title": words.gather(number * 3 % 8) + " manager",
        "Department": words.gather(number * 5 % 8),
        "AccountId": accounts.gather(number % accounts.len()),
        "MailingStreet": text + " Long Street",
        "MailingCity": words.gather(number % 8) + " City",
        "MailingPostalCode": (10_000 + number % 80_000).cast(pl.String),
        "MailingCountry": pl.Series(["Germany"] * rows),
        "Birthdate": (number % 14_000).cast(pl.Int32).cast(pl.Date).dt.to_string("%Y-%m-%d"),
        "Description": "Met at the fair in hall " + (number % 90).cast(pl.String) + ", wants a call back next quarter.",
    })  # fmt: skip


class Server:
    """A served org in a process of its own, pinned to one core."""

    def __init__(self, folder: Path, core: int) -> None:
        started = time.perf_counter()
        environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "isync_dagster.local_org", "serve", str(folder)],
            stdout=subprocess.PIPE, env=environment, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip
        assert self.process.stdout is not None
        self.credentials = json.loads(self.process.stdout.readline())
        self.seconds_to_start = time.perf_counter() - started
        self.address = urlsplit(self.credentials["url"])

    def cpu(self) -> float:
        """Processor seconds of the server so far."""
        parts = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """The most memory that the server held, MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1000

    def stop(self) -> None:
        """End the server in order."""
        self.process.terminate()
        self.process.wait(600)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Wire:
    """One keep-alive connection to a server; bodies are counted and dropped."""

    def __init__(self, server: Server) -> None:
        assert server.address.hostname is not None
        self.http = http.client.HTTPConnection(server.address.hostname, server.address.port)
        given = server.credentials
        form = urlencode({
            "grant_type": "password", "client_id": given["consumer_key"], "client_secret": given["consumer_secret"],
            "username": given["username"], "password": given["password"] + given["security_token"],
        })  # fmt: skip
        self.http.request("POST", "/services/oauth2/token", form, {"Content-Type": "application/x-www-form-urlencoded"})
        self.token = json.loads(self.http.getresponse().read())["access_token"]

    def json(self, method: str, path: str, body: object = None) -> Any:
        """A small call."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        self.http.request(method, f"/services/data/v{VERSION}{path}", json.dumps(body) if body else None, headers)
        answer = self.http.getresponse()
        content = answer.read()
        assert answer.status < 300, content
        return json.loads(content) if content else None

    def send(self, path: str, content: bytes) -> None:
        """A PUT of CSV."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "text/csv"}
        self.http.request("PUT", f"/services/data/v{VERSION}{path}", content, headers)
        answer = self.http.getresponse()
        assert answer.status == 201, answer.read()
        answer.read()

    def receive(self, path: str) -> tuple[int, str]:
        """The size of a CSV answer, and the locator of what follows."""
        self.http.request("GET", f"/services/data/v{VERSION}{path}", None, {"Authorization": f"Bearer {self.token}"})
        answer = self.http.getresponse()
        assert answer.status == 200
        size, piece = 0, bytearray(1 << 20)
        while count := answer.readinto(piece):
            size += count
        return size, answer.headers.get("Sforce-Locator", "null")

    def finished(self, path: str) -> dict[str, Any]:
        """Poll a job to its end."""
        while True:
            info: dict[str, Any] = self.json("GET", path)
            if info["state"] in ("JobComplete", "Failed", "Aborted"):
                assert info["state"] == "JobComplete", info
                return info
            time.sleep(0.02)


def measured(server: Server, work: Callable[[], int]) -> dict[str, float]:
    """Bytes that a piece of work moved, and what that cost the server and the client."""
    wall, cpu, own = time.perf_counter(), server.cpu(), time.process_time()
    size = work()
    wall, cpu, own = time.perf_counter() - wall, server.cpu() - cpu, time.process_time() - own
    return {
        "MB": round(size / MEGA, 1), "wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "client_cpu_s": round(own, 2),
        "MB_per_s_wall": round(size / MEGA / wall, 1), "MB_per_s_cpu": round(size / MEGA / max(cpu, 0.01), 1),
    }  # fmt: skip


def socket_copy(size: int) -> float:
    """MB/s of a plain loopback socket on the cores that are left to this process."""
    left, right = socket.socketpair()
    block = bytes(1 << 20)

    def sender() -> None:
        for _ in range(size // len(block) + 1):
            left.sendall(block)
        left.close()

    started = time.perf_counter()
    thread = threading.Thread(target=sender)
    thread.start()
    piece, total = bytearray(1 << 20), 0
    while count := right.recv_into(piece):
        total += count
    thread.join()
    right.close()
    return total / MEGA / (time.perf_counter() - started)


def copy_alone(folder: Path) -> float:
    """MB/s of DuckDB's own COPY of the same columns to CSV, one thread."""
    target = folder.parent / "copy.csv"
    listed = ", ".join(f'"{name}"' for name in ("Id", *FIELDS))
    with duckdb.connect(str(folder / "org.duckdb"), read_only=True, config={"threads": "1"}) as connection:
        started = time.process_time()
        connection.execute(f"COPY (SELECT {listed} FROM \"Contact\") TO '{target}' (FORCE_QUOTE *)")
        seconds = time.process_time() - started
    size = target.stat().st_size
    target.unlink()
    return size / MEGA / seconds


def throughput(folder: Path, rows: int) -> dict[str, Any]:
    """Ingest `rows` contacts by Bulk 2.0, read the results, query all of them back."""
    cores = sorted(os.sched_getaffinity(0))
    with LocalOrg.create(folder, standard(OBJECTS), name="Benchmark", seed=1) as org:
        accounts = org.load("Account", pl.DataFrame({"Name": [f"Account {n}" for n in range(2000)]}))
    content = contacts(rows, accounts).write_csv(quote_style="necessary").encode()
    os.sched_setaffinity(0, {cores[-1]})
    with Server(folder, cores[0]) as server:
        wire = Wire(server)
        job = wire.json("POST", "/jobs/ingest", {"object": "Contact", "operation": "insert"})["id"]

        def ingest() -> int:
            wire.send(f"/jobs/ingest/{job}/batches", content)
            wire.json("PATCH", f"/jobs/ingest/{job}", {"state": "UploadComplete"})
            info = wire.finished(f"/jobs/ingest/{job}")
            assert (info["numberRecordsProcessed"], info["numberRecordsFailed"]) == (rows, 0), info
            return len(content)

        into = measured(server, ingest)
        results = measured(server, lambda: wire.receive(f"/jobs/ingest/{job}/successfulResults")[0])
        query = f"SELECT Id, {', '.join(FIELDS)} FROM Contact"

        def extract() -> int:
            asked = wire.json("POST", "/jobs/query", {"operation": "query", "query": query})["id"]
            wire.finished(f"/jobs/query/{asked}")
            size, locator = wire.receive(f"/jobs/query/{asked}/results")
            while locator != "null":
                more, locator = wire.receive(f"/jobs/query/{asked}/results?locator={locator}")
                size += more
            return size

        out = measured(server, extract)
        memory = server.memory()
    references = {
        "socket_copy_MB_per_s": round(socket_copy(len(content)), 0),
        "duckdb_copy_MB_per_s_cpu": round(copy_alone(folder), 1),
    }
    return {"rows": rows, "ingest": into, "results": results, "query": out, "memory_MB": round(memory), **references}


def write_contacts(path: Path, rows: int, accounts: pl.Series, pod: str) -> None:
    """Typed contacts with Ids of the org, a million rows at a time."""
    step, part = 1_000_000, path.with_suffix("")
    part.mkdir()
    for first in range(0, rows, step):
        count = min(step, rows - first)
        ids = id_range("003", pod, first + 1, count).alias("Id")
        frame = contacts(count, accounts).with_columns(pl.col("Birthdate").str.to_date("%Y-%m-%d"), ids)
        frame.write_parquet(part / f"{first:012d}.parquet")
    pl.scan_parquet(part).sink_parquet(path)
    shutil.rmtree(part)


def storage(folder: Path, rows: int) -> dict[str, Any]:
    """Import `rows` contacts from Parquet, start, answer one call, export, reset."""
    from isync_dagster.local_org.parquet import export_parquet, import_parquet

    source, target = folder.parent / "parquet", folder.parent / "out"
    source.mkdir()
    answer: dict[str, Any] = {"rows": rows}

    def timed(name: str, work: Callable[[], object]) -> None:
        started, own = time.perf_counter(), time.process_time()
        work()
        answer[name] = {"wall_s": round(time.perf_counter() - started, 2), "cpu_s": round(time.process_time() - own, 2)}

    with LocalOrg.create(folder, standard(OBJECTS), name="Benchmark", seed=1) as org:
        accounts = org.load("Account", pl.DataFrame({"Name": [f"Account {n}" for n in range(2000)]}))
        write_contacts(source / "Contact.parquet", rows, accounts, org.storage.pod)
        timed("import", lambda: import_parquet(org, source))
        timed("checkpoint", org.storage.checkpoint)
    answer["disk_MB"] = round((folder / "org.duckdb").stat().st_size / MEGA)
    server = Server(folder, sorted(os.sched_getaffinity(0))[0])
    with server:
        answer["start"] = {"wall_s": round(server.seconds_to_start, 2), "cpu_s": round(server.cpu(), 2)}
        timed("first_count", lambda: Wire(server).json("GET", "/query?q=SELECT+COUNT()+FROM+Contact"))
    with LocalOrg.open(folder) as org:
        timed("export", lambda: export_parquet(org, target))
        timed("reset", org.reset)
        assert org.counts()["Contact"] == 0
    answer["memory_MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
    return answer


def markdown(found: dict[str, Any]) -> str:
    """The same numbers as a table."""
    flat = {
        (f"{name} {key}" if isinstance(value, dict) else name): inner
        for name, value in found.items()
        for key, inner in (value.items() if isinstance(value, dict) else [("", value)])
    }
    return "\n".join(["| measure | value |", "|---|---:|", *(f"| {name} | {value} |" for name, value in flat.items())])


def main() -> None:
    """Run one measurement in a folder that is taken away afterwards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("throughput", "storage"))
    parser.add_argument("--rows", type=int, default=300_000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="local-org-"))
    try:
        found = (throughput if options.what == "throughput" else storage)(folder / "org", options.rows)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(found, indent=2))
    print(markdown(found))


if __name__ == "__main__":
    main()
