"""A data set that is not laid out as a family needs it ends in a sentence, not in a traceback."""

from __future__ import annotations

import traceback
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFIT = (ValueError, LookupError, EOFError, zipfile.BadZipFile)  #: what readers and libraries raise of it


@contextmanager
def of(name: str, data: Path) -> Iterator[None]:
    """Raises Misconfigured with what was met, and where in the code for whoever doubts it.

    A library's own words are left out: they may quote a row, and a row may be a person's.
    """
    from db.errors import Misconfigured
    from db.logs import ROOT, place

    try:
        yield
    except (IsADirectoryError, NotADirectoryError) as error:
        there, asked = ("folder", "file") if data.is_dir() else ("file", "folder")
        raise Misconfigured(
            f"{data.name} is a {there}, {name} reads a {asked}; docs/training.md tells each family's layout"
        ) from error
    except UNFIT as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        ours = Path(frame.filename).is_relative_to(ROOT) and "site-packages" not in frame.filename
        met = f"{error} " if ours and isinstance(error, ValueError) else ""
        raise Misconfigured(
            f"{data.name} is not a data set as {name} reads them: {met}({place(error)}); docs/training.md "
            "tells each family's layout"
        ) from error
