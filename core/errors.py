"""The errors that a request or a file can cause. ``code`` is stable; the message names what is allowed.

DomainError
  NotFound            DatasetNotFound, JobNotFound, ModelNotFound, ImageNotFound, FileNotInModel, KeyNotFound,
                      AttentionNotFound
  BadRequest          BadArchive, BadParameters, BadImage, BadLabels, BadQuery, BadCursor, BadSettings, TooFewImages
  Conflict            DatasetNotReady, DatasetInUse, ModelInUse, NoModel, NoTable, NoCheckpoints, CannotContinue, JobOver,
                      KeyReused, DataDirInUse
  NotAllowed          what this key may not do
  TooLarge
  Busy                as many requests are being worked on as there may be
  StaleAttempt        a worker that lost its job

Stopped is not an error: it ends the work of a job that was cancelled or lost, or whose worker shuts down.
"""


class DomainError(Exception):
    """Base of all domain errors."""

    code = "error"


class NotFound(DomainError):
    """The thing named does not exist."""

    kind = "thing"

    def __init__(self, id_: object) -> None:
        super().__init__(f"there is no {self.kind} {id_}")


class DatasetNotFound(NotFound):
    code, kind = "dataset_not_found", "dataset"


class JobNotFound(NotFound):
    code, kind = "job_not_found", "job"


class ModelNotFound(NotFound):
    code, kind = "model_not_found", "model"


class ImageNotFound(NotFound):
    code, kind = "image_not_found", "image"


class FileNotInModel(NotFound):
    code, kind = "file_not_found", "file"


class KeyNotFound(NotFound):
    code, kind = "key_not_found", "key"


class AttentionNotFound(NotFound):
    code, kind = "attention_not_found", "attention map"


class BadRequest(DomainError):
    """The input cannot be used."""

    code = "bad_request"


class BadArchive(BadRequest):
    code = "bad_archive"


class BadParameters(BadRequest):
    code = "bad_parameters"


class TooFewImages(BadRequest):
    """A dataset has too few images for training."""

    code = "too_few_images"


class BadImage(BadRequest):
    """An image that cannot be decoded; ``decoding_timeout`` and ``decoder_crashed`` are codes of their own."""

    def __init__(self, message: str, code: str = "bad_image") -> None:
        super().__init__(message)
        self.code = code


class BadLabels(BadRequest):
    code = "bad_labels"


class BadQuery(BadRequest):
    code = "bad_query"


class BadCursor(BadRequest):
    """``after`` of a list is not the ``next`` of one of its pages."""

    code = "bad_cursor"


class BadSettings(BadRequest):
    code = "bad_settings"


class NotAllowed(DomainError):
    """The request's key may not do this."""

    code = "not_allowed"


class TooLarge(DomainError):
    """More bytes than allowed."""

    code = "too_large"


class Busy(DomainError):
    """Nothing is wrong with the request; a later one may be answered."""

    code = "busy"


class Conflict(DomainError):
    """The request is fine but the state of things does not allow it."""


class DatasetNotReady(Conflict):
    code = "dataset_not_ready"


class DatasetInUse(Conflict):
    code = "dataset_in_use"


class ModelInUse(Conflict):
    code = "model_in_use"


class NoModel(Conflict):
    code = "no_model"


class JobOver(Conflict):
    code = "job_over"


class NoTable(Conflict):
    code = "no_table"


class NoCheckpoints(Conflict):
    code = "no_checkpoints"


class CannotContinue(Conflict):
    """A job that has no checkpoint to continue from, or cannot be continued with these parameters."""

    code = "cannot_continue"


class KeyReused(Conflict):
    code = "idempotency_key_reused"


class DataDirInUse(Conflict):
    code = "data_dir_in_use"


class StaleAttempt(DomainError):
    """This worker no longer owns the job, which was requeued, cancelled or taken over. It must stop at once and write nothing."""

    code = "stale_attempt"


class Stopped(Exception):
    """A job's work ends where it is: it was cancelled or lost, or its worker is shutting down."""
