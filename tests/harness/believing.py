"""What does an origin believe of nodes in a test of its client log? All, but for what the test forbids."""


class Everything:
    """All nodes are believed all, but for what a test forbids; repositories of `acme` were made at `born_ms`."""

    def __init__(self) -> None:
        self.forbidden: dict[str, set[str]] = {}
        self.born_ms = 0

    def workspaces(self, node: str, names: frozenset[str]) -> frozenset[str]:
        return names - self.forbidden.get(node, set())

    def tokens(self, node: str, ids: frozenset[str]) -> frozenset[str]:
        return ids - self.forbidden.get(node, set())

    def born(self, places: frozenset[tuple[str, str]]) -> dict[tuple[str, str], int]:
        return dict.fromkeys(places, self.born_ms)
