"""What a run has gone through, in bounded room: records of every update, later of every second, fourth, … and of the newest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from pirf.training.update import Record

__all__ = ["History"]


@final
class History:
    """At most ``most`` records and the newest: which ones is said by the number of updates alone, also to a resumed run."""

    def __init__(self, records: Iterable[Record] = (), most: int = 4096) -> None:
        self.records, self.most = list(records), most

    def append(self, record: Record) -> None:
        """The record of the update with this ``step``, counted from 1."""
        stride = self._stride(int(record["step"]))
        if self.records and stride != self._stride(int(self.records[-1]["step"])):
            self.records = [r for r in self.records if r["step"] % stride == 0]
        elif self.records and self.records[-1]["step"] % stride:
            self.records.pop()
        self.records.append(record)

    def _stride(self, step: int) -> int:
        return 1 << max(0, -(-step // self.most) - 1).bit_length()
