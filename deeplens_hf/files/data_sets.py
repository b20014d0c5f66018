"""Pictures in a data set (of the library `datasets`), still encoded: opened one by one, where they are needed."""

import os
from io import BytesIO
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfFileSystem

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


def leave_encoded(table: "Dataset | IterableDataset", columns: list[str]) -> "Dataset | IterableDataset":
    """These columns alone, their pictures as files or bytes: a broken one cannot stop the others."""
    from datasets import Image, IterableDataset

    if isinstance(table, IterableDataset):
        return table.decode(False).select_columns(columns)
    for column in columns:
        table = table.cast_column(column, Image(decode=False))
    return table.select_columns(columns)


def open_picture(value: Any) -> Any:
    """What such a column holds -> what `pictures.read_photo` opens: a path or a file, fetched if it is on the Hub."""
    if not isinstance(value, dict):
        return value
    if value.get("bytes") is not None:
        return BytesIO(value["bytes"])
    path = os.fspath(value["path"])
    return BytesIO(HfFileSystem().cat_file(path)) if path.startswith("hf://") else path
