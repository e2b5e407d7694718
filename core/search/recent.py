"""A cache of what takes long to make, for all threads of a process."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Slot(Generic[T]):
    def __init__(self, version: Hashable) -> None:
        self.version = version
        self.lock = threading.Lock()
        self.values: list[T] = []


class Recent(Generic[T]):
    """A cache of the most recently used values: each is made once, and kept in its newest version only. While one is made,
    threads that ask for others do not wait."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._slots: OrderedDict[Hashable, _Slot[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, version: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            slot = self._slots.get(key)
            if slot is None or slot.version != version:
                slot = self._slots[key] = _Slot(version)
            self._slots.move_to_end(key)
            while len(self._slots) > self._size:
                self._slots.popitem(last=False)
        if not slot.values:
            with slot.lock:
                if not slot.values:
                    slot.values.append(make())
        return slot.values[0]

    def known(self, key: Hashable, version: Hashable) -> T | None:
        """A value in this version, if it was made; waits for nothing."""
        slot = self._slots.get(key)
        return slot.values[0] if slot and slot.version == version and slot.values else None

    def drop(self, useless: Callable[[T], bool]) -> None:
        """Forget the values for which ``useless`` is true."""
        with self._lock:
            for key in [key for key, slot in self._slots.items() if slot.values and useless(slot.values[0])]:
                del self._slots[key]
