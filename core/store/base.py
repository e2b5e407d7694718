"""What all tables share: the names of their keys and indexes, and which column holds which type."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, LargeBinary, MetaData, Text
from sqlalchemy.orm import DeclarativeBase

from core.store.columns import UtcDateTime


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[Mapping[object, type[JSON | Text | UtcDateTime | LargeBinary]]] = {
        dict[str, Any]: JSON,
        str: Text,
        datetime: UtcDateTime,
        bytes: LargeBinary,
    }
