"""Places of a disk that something is going on at. Belongs to whoever holds its owner's lock."""

Span = tuple[int, int]  # the first octet, and the first one after


class Ranges:
    """A few spans at once; they do not overlap."""

    def __init__(self) -> None:
        self._held: list[Span] = []

    def __bool__(self) -> bool:
        return bool(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def meets(self, span: Span) -> bool:
        """Whether some octet of ``span`` is held."""
        start, end = span
        return any(start < theirs[1] and theirs[0] < end for theirs in self._held)

    def add(self, span: Span) -> None:
        self._held.append(span)

    def remove(self, span: Span) -> None:
        self._held.remove(span)

    def clear(self) -> None:
        self._held.clear()
