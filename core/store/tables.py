"""The tables. Where rows, files and messages disagree, the rows are right."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from core.ground.notices import Notice, messages
from core.store.base import Base as Base
from core.store.columns import ImageId


class Dataset(Base):
    """A collection of images from one upload."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    status: Mapped[str]
    labels: Mapped[str]  # "none" or "folders"
    images: Mapped[int] = mapped_column(default=0)
    rejected: Mapped[int] = mapped_column(default=0)
    duplicates: Mapped[int] = mapped_column(default=0)
    classes: Mapped[int] = mapped_column(default=0)
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    generation: Mapped[int] = mapped_column(default=0)  # incremented by everything that changes an answer
    label_generation: Mapped[int] = mapped_column(default=0)  # incremented by every change of labels
    depths: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")  # core.ground.pictures.depths
    noticed: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")  # counts by code: core.ground.notices
    model_id: Mapped[str | None]  # the alias; no foreign key, since models refer to datasets
    dataset_metadata: Mapped[dict[str, Any]] = mapped_column(default=dict)  # a client's own
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]

    @property
    def notices(self) -> list[Notice]:
        """What the validation of its files did that a person should know."""
        return messages(self.noticed)


class Image(Base):
    """One distinct content; its bytes are ``length`` bytes of the shard from ``offset``."""

    __tablename__ = "images"
    __table_args__ = (
        UniqueConstraint("dataset_id", "sha256"),
        Index(None, "path", postgresql_using="hash"),  # its ordered indexes refuse long values
        Index(None, "job_id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(ImageId, primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    job_id: Mapped[str]  # the upload's validation that added it
    path: Mapped[str]
    sha256: Mapped[str]
    shard: Mapped[str]  # relative to the data folder
    offset: Mapped[int] = mapped_column(BigInteger)
    length: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    grey: Mapped[bool | None]  # None: validated before this was asked


class Label(Base):
    """An image's class."""

    __tablename__ = "labels"

    image_id: Mapped[int] = mapped_column(ImageId, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    label: Mapped[str]


class Deletion(Base):
    """The id of an image that was deleted: models trained with it still hold its vector, and no answer may name it."""

    __tablename__ = "deletions"
    __table_args__ = (Index(None, "dataset_id"),)

    image_id: Mapped[int] = mapped_column(ImageId, primary_key=True, autoincrement=False)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))


class Rejection(Base):
    """A file of an upload that is not in the dataset, and why; exact duplicates name the image they repeat."""

    __tablename__ = "rejections"
    __table_args__ = (Index(None, "dataset_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(ImageId, primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    job_id: Mapped[str | None]  # the job that looked at it
    path: Mapped[str]
    code: Mapped[str]
    reason: Mapped[str]


class Job(Base):
    """A unit of work; the broker's message only says that there is one."""

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "queue", "status", "seq"), {"sqlite_autoincrement": True})

    seq: Mapped[int] = mapped_column(ImageId, primary_key=True)  # order of submission
    id: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    queue: Mapped[str]
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    evaluation_dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id"))
    status: Mapped[str]
    name: Mapped[str | None]
    request_id: Mapped[str | None]  # of the HTTP request that made it, perhaps by way of another job
    trace: Mapped[str | None]  # the W3C traceparent of that request
    params: Mapped[dict[str, Any]]
    job_metadata: Mapped[dict[str, Any]]
    progress: Mapped[dict[str, Any] | None]
    unlisted: Mapped[
        dict[str, Any] | None
    ]  # of an upload: the refused files by code that no rejection lists, since they are many
    evaluation: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    model_id: Mapped[str | None]
    continues: Mapped[str | None]  # the id of a job whose checkpoints it starts from
    # Of a training that succeeded: how long each step took, as a multiple of the estimate.
    paces: Mapped[dict[str, Any] | None]
    attempt: Mapped[int] = mapped_column(default=0)
    heartbeat: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    mark: Mapped[str] = mapped_column(default="")  # the newest checkpoint
    mark_at_claim: Mapped[str] = mapped_column(default="")
    fruitless: Mapped[int] = mapped_column(default=0)  # lost attempts in a row that made no newer checkpoint
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class ApiKey(Base):
    """A key to the service; its text is not kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    scope: Mapped[str]
    sha256: Mapped[str]  # of the text
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    limited: Mapped[bool] = mapped_column(default=False, server_default=false())  # to the datasets of ``KeyDataset``


class KeyDataset(Base):
    """A dataset that a limited key may see."""

    __tablename__ = "key_datasets"

    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True, index=True)


class PageSession(Base):
    """A browser that a key was exchanged in; the session's id is not kept."""

    __tablename__ = "sessions"

    sha256: Mapped[str] = mapped_column(primary_key=True)  # of the id
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime]


class IdempotencyKey(Base):
    """A key that a client sent with a job, so that sending it again makes no second one."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]  # SHA-256 of the request
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]


class JobEvent(Base):
    """What happened to a job, in order and without gaps: ``seq`` counts from 1."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str]
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Metric(Base):
    """Figures of one epoch of a training job."""

    __tablename__ = "metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    round: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    loss: Mapped[float]
    learning_rate: Mapped[float]
    images_per_second: Mapped[float]
    anchors: Mapped[float]


class Model(Base):
    """A published model: an immutable folder ``models/<directory>``."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    directory: Mapped[str]
    images: Mapped[int]
    dim: Mapped[int]
    created_at: Mapped[datetime]


class Embedding(Base):
    """An image that was added after a model was trained, embedded by it: d numbers, float32, little-endian."""

    __tablename__ = "embeddings"
    __table_args__ = (Index(None, "image_id"),)

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[int] = mapped_column(ImageId, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    vector: Mapped[bytes]


class Attention(Base):
    """Where the encoders of a model's rounds look in an image: row ``position`` of ``attention/<model>/<directory>``."""

    __tablename__ = "attention"
    __table_args__ = (Index(None, "image_id"), Index(None, "neighbour_id"))

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[int] = mapped_column(ImageId, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True)
    neighbour_id: Mapped[int] = mapped_column(ImageId, ForeignKey("images.id", ondelete="CASCADE"))
    directory: Mapped[str]  # <job>-<attempt>
    position: Mapped[int]
