"""The rows of a chunk that could not be accepted, each with its reason."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Rejections:
    """The rows that could not be accepted, by position in the chunk, with reason and detail."""

    row: list[int] = field(default_factory=list)
    reason: list[str] = field(default_factory=list)
    detail: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.row)

    def add(self, row: int, reason: str, what: str) -> None:
        """Add one row."""
        self.row.append(row)
        self.reason.append(reason)
        self.detail.append(what)

    def in_arrival_order(self) -> "Rejections":
        """Return the same rows, sorted: how they were found out does not show."""
        order = sorted(range(len(self.row)), key=self.row.__getitem__)
        parts = (self.row, self.reason, self.detail)
        return Rejections(*([part[i] for i in order] for part in parts))  # type: ignore[arg-type]
