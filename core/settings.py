"""Settings, the only place that reads the environment (``ANCHORHOOD_*``)."""

import hashlib
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url

from core.errors import BadSettings

_SOCKET_LIMIT = 100  # a unix socket's path must stay below 108 bytes


class Settings(BaseSettings):
    """What a deployment may change; every value has a default that works on one machine without preparation."""

    model_config = SettingsConfigDict(env_prefix="ANCHORHOOD_", frozen=True, extra="ignore")

    data_dir: Path = Field(Path("data"), description="Everything the system keeps: uploads, shards, models, database.")
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in the data folder.")
    database_password_file: Path | None = Field(None, description="File with the database's password, put into the URL.")
    broker_url: str = Field("", description="Redis URL for Celery; empty: the embedded Valkey's socket.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    api_processes: int = Field(1, ge=1, le=256, description="API processes that share the port.")
    device: str = Field("auto", description="Training device: auto, cpu, cuda or cuda:N.")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of a training process; 0: torch's choice.")
    heartbeat_seconds: float = Field(5.0, gt=0, description="Time between a worker's signs of life.")
    lost_after_seconds: float = Field(30.0, gt=0, description="Silence after which a worker's job is given to another.")
    checkpoint_seconds: float = Field(15.0, ge=0, description="Time between checkpoints within a round.")
    checkpoint_days: float = Field(
        14, ge=0, description="Days for which a failed or cancelled training keeps its checkpoints, to be continued."
    )
    index: Literal["auto", "flat", "hnsw", "ivf"] = Field("auto", description="Index of models: auto, flat, hnsw or ivf.")
    log_format: Literal["text", "json"] = Field("text", description="Log lines: text, or json (one object a line).")
    import_roots: str = Field("", description="Folders of this machine that may be imported, separated by colons; empty: none.")
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
        return self.data_dir.expanduser().resolve()

    @property
    def database(self) -> str:
        """The database's URL, with its password.

        Raises:
            BadSettings: the password's file cannot be read.
        """
        url = self.database_url or f"sqlite:///{self.root / 'anchorhood.sqlite3'}"
        if self.database_password_file is None:
            return url
        try:
            password = self.database_password_file.read_text().strip()
        except OSError as error:
            raise BadSettings(f"ANCHORHOOD_DATABASE_PASSWORD_FILE: cannot be read: {error.strerror}") from error
        return make_url(url).set(password=password).render_as_string(hide_password=False)

    @cached_property
    def socket(self) -> Path:
        """The embedded Valkey's socket: in the data folder, or in the temporary one where that path is too long."""
        path = self.root / "run" / "valkey.sock"
        if len(str(path).encode()) < _SOCKET_LIMIT:
            return path
        name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"anchorhood-{name}.sock"

    @property
    def broker(self) -> str:
        return self.broker_url or f"redis+socket://{self.socket}?virtual_host=0"

    def folder(self, name: str) -> Path:
        """A folder under the data folder, made if it is not there."""
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path
