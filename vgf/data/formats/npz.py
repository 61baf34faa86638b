"""NumPy archives with one array a column. (OGBench's own files are read by :mod:`vgf.data.npz`.)"""

from __future__ import annotations

from typing import Any

import numpy as np

from vgf.data.formats.source import Source
from vgf.data.formats.table import read_table
from vgf.data.recording import Recording

__all__ = ["read_npz_table"]


def read_npz_table(source: Source) -> Recording:
    """Read ``observations``, ``actions``, ``rewards``, ``terminals`` and what else of the roles there is.

    Raises:
        UserError: as :func:`vgf.data.formats.table.read_table`, and for archives that cannot be read.
    """
    with source.library("the npz archive"):
        archive: Any = np.load(source.path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise source.complaint("holds a single array, not an archive of named ones; save it with np.savez")

    def read(key: str) -> np.ndarray:
        with source.library(f"'{key}'"):
            try:
                array = archive[key]
            except ValueError as error:
                if "allow_pickle" not in str(error):
                    raise
                array = np.empty(0, object)  # complained about by its dtype; the pickle stays unread
        if not isinstance(array, np.ndarray):  # an archive member that is not an npy file comes back as bytes
            raise source.complaint(f"'{key}' is not an array; save it with np.savez")
        return array

    with archive:
        return read_table(source, archive.files, read, "npz file")
