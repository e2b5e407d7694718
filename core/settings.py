"""Settings. Only this module reads the environment (``ANCHORHOOD_*``)."""

import os
import sys
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from core.errors import BadSettings
from core.files.layout import DataFolder

_SOCKET_LIMIT = 107 if sys.platform == "linux" else 103  # bytes of a unix socket's path, of sun_path without its end
_OPEN_FOLDERS = Path("/proc/self/fd")  # Linux: a folder that this process has open, by its number


def _networks(text: str) -> str:
    """Addresses and networks, separated by commas. Raises ``ValueError`` for anything else."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    for part in parts:
        ip_network(part)
    return ",".join(parts)


class Settings(BaseSettings):
    """What a deployment may change; every value has a default that works on one machine without preparation."""

    model_config = SettingsConfigDict(env_prefix="ANCHORHOOD_", frozen=True, extra="ignore")

    data_dir: Path = Field(Path("data"), description="Everything the system keeps: uploads, shards, models, database.")
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in the data folder.")
    database_password_file: Path | None = Field(None, description="File with the database's password, put into the URL.")
    broker_url: str = Field("", description="Redis URL for Celery; empty: the embedded Valkey's socket.")
    broker_password_file: Path | None = Field(None, description="File with Redis's password, put into the URL.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    root_path: str = Field(
        "", pattern=r"^(/[A-Za-z0-9._~-]+)*$", description="Path of a proxy below which the service is seen, such as /anchorhood."
    )
    trusted_proxies: Annotated[str, AfterValidator(_networks)] = Field(
        "", description="Addresses or networks of proxies whose X-Forwarded-* are believed, separated by commas; empty: none."
    )
    session_hours: float = Field(
        12, gt=0, le=8760, description="Hours after which an unused session of the page ends; a used one after 14 times as many."
    )
    api_processes: int = Field(1, ge=1, le=256, description="API processes that share the port.")
    max_request_seconds: float = Field(
        120, gt=0, description="Longest time until an answer begins; of an upload, after its last byte."
    )
    max_requests: int = Field(16, ge=1, description="Most requests of one client that an API process works on at one time.")
    max_requests_per_second: float = Field(2000, gt=0, description="Most requests of one client that an API process answers.")
    max_streams: int = Field(16, ge=1, description="Most event streams and uploads of one client that are open at one time.")
    device: str = Field("auto", description="Training device: auto, cpu, cuda or cuda:N.")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of a training process; 0: measured again and again.")
    heartbeat_seconds: float = Field(5.0, gt=0, description="Time between a worker's signs of life.")
    lost_after_seconds: float = Field(30.0, gt=0, description="Silence after which a worker's job is given to another.")
    checkpoint_seconds: float = Field(15.0, ge=0, description="Time between checkpoints within a round.")
    checkpoint_days: float = Field(
        14, ge=0, description="Days for which a failed or cancelled training keeps its checkpoints, to be continued."
    )
    audit_days: int = Field(400, ge=1, le=36_500, description="Days for which the audit trail keeps a line.")
    index: Literal["auto", "flat", "hnsw", "ivf"] = Field("auto", description="Index of models: auto, flat, hnsw or ivf.")
    log_format: Literal["text", "json"] = Field("text", description="Log lines: text, or json (one object a line).")
    import_roots: str = Field("", description="Absolute folders here that may be imported, separated by colons; empty: none.")
    max_upload_bytes: int = Field(64 << 30, gt=0, description="Largest upload.")
    max_entries: int = Field(5_000_000, gt=0, description="Most files in one archive.")
    max_unpacked_bytes: int = Field(256 << 30, gt=0, description="Most bytes of one archive, unpacked.")
    max_image_bytes: int = Field(64 << 20, gt=0, description="Largest image file, unpacked.")
    max_unpacked_ratio: int = Field(200, gt=0, description="Most bytes unpacked for each packed one, beyond 64 MiB.")
    max_validation_seconds: float = Field(86_400, gt=0, description="Longest validation of one upload.")
    max_pixels: int = Field(64_000_000, gt=0, description="Most pixels in one image.")
    decode_seconds: float = Field(20, gt=0, description="CPU time that decoding one image may take.")
    decode_memory_bytes: int = Field(2 << 30, ge=64 << 20, description="Memory that decoding one image may take.")

    @classmethod
    def load(cls) -> "Settings":
        """From the environment.

        Raises:
            BadSettings: a value that is not allowed; the message names the variable.
        """
        try:
            return cls()
        except ValidationError as error:
            wrong = "; ".join(f"ANCHORHOOD_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
            raise BadSettings(wrong) from error

    @cached_property
    def root(self) -> Path:
        """The data folder, absolute."""
        return Path(os.path.expanduser(self.data_dir)).resolve()  # Path.expanduser refuses a name like ~old

    @property
    def database(self) -> URL:
        """The database's URL, with its password.

        Raises:
            BadSettings: the URL is not valid, or the password's file cannot be read.
        """
        try:
            url = make_url(self.database_url or URL.create("sqlite", database=str(self.layout.rows)))
        except (ArgumentError, ValueError) as error:
            raise BadSettings("ANCHORHOOD_DATABASE_URL: is not a URL like postgresql+psycopg://user@host/name") from error
        if self.database_password_file is None:
            return url
        return url.set(password=_password("ANCHORHOOD_DATABASE_PASSWORD_FILE", self.database_password_file))

    @cached_property
    def socket(self) -> Path:
        """The embedded Valkey's socket in the data folder, as this process can reach it.

        The address of a socket holds about a hundred bytes, and a URL only UTF-8. Where the folder's path is longer or not UTF-8,
        the folder is kept open and the socket is reached through the number of its descriptor.

        Raises:
            BadSettings: the path is too long here for a socket.
        """
        path = self.layout.broker_socket
        if _is_utf8(path) and len(os.fsencode(path)) <= _SOCKET_LIMIT:
            return path
        if not _OPEN_FOLDERS.exists():
            raise BadSettings(
                f"ANCHORHOOD_DATA_DIR: {path} is too long for a socket, which takes {_SOCKET_LIMIT} bytes of UTF-8 here; "
                "use a folder with a shorter path, or set ANCHORHOOD_BROKER_URL"
            )
        folder = os.open(self.layout.processes, os.O_RDONLY | os.O_DIRECTORY)  # open as long as the process lives
        return _OPEN_FOLDERS / str(folder) / path.name

    @property
    def broker(self) -> str:
        """The broker's URL, with its password. Kombu unquotes the password, and the path of a socket.

        Raises:
            BadSettings: the URL takes no password, or the password's file cannot be read.
        """
        if not self.broker_url:
            return f"redis+socket://{quote(str(self.socket))}?virtual_host=0"
        if self.broker_password_file is None:
            return self.broker_url
        password = _password("ANCHORHOOD_BROKER_PASSWORD_FILE", self.broker_password_file)
        scheme, separator, rest = self.broker_url.partition("://")
        login, at, host = rest.rpartition("@")
        if not separator or (at and ":" in login):
            raise BadSettings("ANCHORHOOD_BROKER_URL: is not a URL like redis://host:6379/0, without a password of its own")
        return f"{scheme}://{login}:{quote(password, safe='')}@{host}"

    @cached_property
    def layout(self) -> DataFolder:
        """The names of everything in the data folder."""
        return DataFolder(self.root)


def _password(name: str, path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise BadSettings(f"{name}: cannot be read: {error.strerror}") from error


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # the path has bytes that are not UTF-8, which os.fsdecode escaped
        return False
    return True
