"""CSV files that people write or edit: every field as text, every line by the number an editor shows."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from bnas_face.errors import BnasFaceError


def read(path: Path, error: type[BnasFaceError], expected: str) -> pd.DataFrame:
    """The fields as they stand, indexed by the line each record starts at; blank lines are passed over.

    Parameters
    ----------
    path : Path
        UTF-8, with or without a byte order mark; any line ends.
    error : type
        What is raised.
    expected : str
        What the file should be, such as ``"a file of pairs such as …"``; ends each message about the whole file.

    Raises
    ------
    BnasFaceError
        `error`, if the file cannot be read, is empty or no CSV, or a line has more or fewer fields than the first.
    """
    records: list[list[str]] = []
    lines: list[int] = []
    end = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for record in reader:
                if record:
                    records.append(record)
                    lines.append(end + 1)
                end = reader.line_num
    except FileNotFoundError:
        raise error(f"'{path}' does not exist; expected {expected}") from None
    except UnicodeDecodeError as wrong:
        raise error(f"'{path}' is not UTF-8 text (byte {wrong.start}); save it as CSV in UTF-8.") from None
    except csv.Error as wrong:
        raise error(f"'{path}' is no CSV from line {end + 1} on: {wrong}. Correct its quotes.") from None
    except OSError as wrong:
        raise error(f"'{path}' cannot be read: {wrong.strerror or wrong}; expected {expected}") from None
    if not records:
        raise error(f"'{path}' is empty; expected {expected}")
    for line, record in zip(lines, records, strict=True):
        if len(record) != len(records[0]):
            raise error(
                f"'{path}' line {line} has {len(record)} fields, and line {lines[0]} names {len(records[0])} columns. "
                "Give every line as many; quote a field that holds a comma."
            )
    return pd.DataFrame(records[1:], index=lines[1:], columns=records[0], dtype=object)
