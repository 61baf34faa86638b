"""One data set that is being read: names of its columns, and one-line complaints about what it holds.

A *role* is what a column means (``observations``, ``terminals``, ...); a *key* is its name in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vgf.errors import UserError, did_you_mean

__all__ = ["DICT_KEYS", "ROLES", "Read", "Source"]

Read = Callable[[str], np.ndarray]  # key -> array as it is in the file

DICT_KEYS = ("desired_goal", "observation")  # of Dict observations, in this order

_SHAPES = {1: "[rows]", 2: "[rows, size]"}
_SHOWN = 12  # keys listed in a message


@dataclass(frozen=True)
class _Role:
    rank: int
    kinds: str  # NumPy's kinds of dtypes it may have
    names: tuple[str, ...]  # keys it is looked for under, the first one wins
    flag: bool = False  # 0 or 1


ROLES = {
    "observations": _Role(2, "fiu", ("observations", "observation", "obs")),
    "actions": _Role(2, "f", ("actions", "action", "act")),
    "rewards": _Role(1, "fiub", ("rewards", "reward")),
    "terminals": _Role(1, "fiub", ("terminals", "terminal", "terminations", "termination", "terminated"), True),
    "timeouts": _Role(1, "fiub", ("timeouts", "timeout", "truncations", "truncation", "truncated"), True),
    "masks": _Role(1, "fiub", ("masks",), True),
    "next_observations": _Role(2, "fiu", ("next_observations", "next_observation", "next_obs")),
    "episode": _Role(1, "fiuU", ("episode", "episode_id", "episode_index")),
}
_REQUIRED = ("observations", "actions", "rewards")
_ENDS = ("terminals", "timeouts", "episode")  # any of them says where episodes end


@dataclass(frozen=True)
class Source:
    """Where data are read from, and how.

    Attributes:
        path: the file or folder, named in every complaint.
        columns: role -> key, for columns that are not called as in ``ROLES``.
        finite: NaN and infinity are complained about; otherwise they are let through.
        dict_keys: which parts of Dict observations are put side by side, in this order.
    """

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    finite: bool = True
    dict_keys: tuple[str, ...] = DICT_KEYS

    def complaint(self, text: str) -> UserError:
        """An error of one line that begins with the path."""
        return UserError(f"{self.path}: {' '.join(text.split())}")

    @contextmanager
    def library(self, what: str) -> Iterator[None]:
        """Whatever a library raises on bytes that it does not like becomes a complaint about ``what``."""
        try:
            yield
        except PermissionError:
            raise self.complaint(f"no permission to read {what}; change the file's permissions") from None
        except Exception as error:  # a dozen kinds, MemoryError for absurd sizes among them
            cause = str(error)[:200] or type(error).__name__
            advice = "the file is damaged, incomplete or of another format; fetch or make it again"
            raise self.complaint(f"{what} cannot be read ({cause}); {advice}") from error

    def keys(
        self,
        present: Collection[str],
        where: str = "the data set",
        roles: Collection[str] = tuple(ROLES),
        ends: Sequence[str] = _ENDS,
    ) -> dict[str, str]:
        """Find ``roles`` among the keys that are present: role -> key. One of the roles ``ends`` must be among them.

        Raises:
            UserError: a required or renamed column is missing, and the line lists what there is; or two roles are given
                the same one.
        """
        found: dict[str, str] = {}
        for role in roles:
            for name in (self.columns[role],) if role in self.columns else ROLES[role].names:
                if name in present:
                    found[role] = name
                    break
            else:
                if role in self.columns:
                    raise self._missing(role, self.columns[role], present, where)
        for role in _REQUIRED:
            if role not in found:
                raise self._missing(role, role, present, where)
        if not any(role in found for role in ends):
            raise self._missing(ends[0], ends[0], present, where, ends)
        for role, key in self.columns.items():
            if twins := [other for other in found if other != role and found[other] == key]:
                meanings = f"'{key}' would be read as {role} and as {twins[0]}, which have different meanings"
                raise self.complaint(f"{meanings}; leave out columns {role}={key}")
        return found

    def _missing(
        self, role: str, key: str, present: Collection[str], where: str, instead: Sequence[str] = ()
    ) -> UserError:  # fmt: skip
        """The complaint that ``key`` is not there; ``instead``: roles any one of which will do."""
        there = sorted(present)
        shown = ", ".join(repr(name) for name in there[:_SHOWN]) + (", ..." if there[_SHOWN:] else "")
        hint = did_you_mean(key, there)
        names = " or ".join(f"{name}=NAME" for name in instead or (role,))
        rename = "" if role in self.columns else f"; if it has another name, say so with columns {names}"
        return self.complaint(f"{where} has no '{key}' (it has {shown or 'nothing'}){rename}.{hint}")

    def checked(self, role: str, key: str, array: np.ndarray) -> np.ndarray:
        """The column as float32, or as bool for flags; episode numbers as they are.

        Raises:
            UserError: its dtype, shape or values are not what the role needs.
        """
        facts = ROLES[role]
        kind = array.dtype.kind
        if role == "actions" and kind in "biu":
            raise self.complaint(
                f"discrete actions are not supported: '{key}' has dtype {array.dtype}; give continuous ones as float32"
            )
        if kind not in facts.kinds:
            what = {"O": "Python objects or text, which are never loaded", "V": "several fields of mixed dtypes"}
            raise self.complaint(f"'{key}' holds {what.get(kind, f'dtype {array.dtype}, not numbers')}; use float32")
        if array.ndim != facts.rank:
            raise self.complaint(f"'{key}' has shape {list(array.shape)}; it should be {_SHAPES[facts.rank]}")
        if 0 in array.shape:
            raise self.complaint(f"'{key}' is empty, of shape {list(array.shape)}")
        if role == "episode":
            return array
        with np.errstate(over="ignore"):  # what float32 cannot hold turns into infinity and is reported below
            numbers = array.astype(np.float32, copy=False)
        if facts.flag:
            return self._flags(key, numbers)
        if self.finite and not (good := np.isfinite(numbers)).all():
            row = int(np.argwhere(~good)[0, 0])
            raise self.complaint(f"'{key}' holds NaN or infinity, first in row {row}; mend or drop that episode")
        return np.require(numbers, requirements=["C", "W"])  # pyarrow hands out read-only memory

    def _flags(self, key: str, numbers: np.ndarray) -> np.ndarray:
        odd = np.flatnonzero((numbers != 0) & (numbers != 1))
        if odd.size:
            raise self.complaint(f"'{key}' is {numbers[odd[0]]:g} in row {odd[0]}; it should be 0 or 1 everywhere")
        return numbers.astype(bool)
