"""YAML text to a plain tree that remembers the line of every key.

Built from parser events rather than PyYAML's constructors: so a key written twice is refused
instead of the last one winning, tags and merge keys are refused, scalars are only text, integer,
float, boolean or null (a date stays text), and a hostile file is bounded in size, depth and what
its aliases unfold to. Invariant: nothing of the file is ever executed or silently dropped.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import yaml

from streams.contract.checks import PROBLEMS_MAX, Loc, Problem

NODES_MAX: Final = 500_000
"""Keys, items and scalars of one file, aliases unfolded: what an alias bomb is stopped by."""
DEPTH_MAX: Final = 32

_RESOLVER: Final = yaml.resolver.Resolver()
_PARSER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Tree:
    """A file as a plain value.

    Attributes:
        value: mappings, lists and scalars; None when the text cannot be read at all.
        line: from the keys that lead to a part to its line, counted from 1.
        problems: what is wrong with the text itself, each with its line.
    """

    value: Any = None
    line: dict[Loc, int] = field(default_factory=dict)
    problems: list[tuple[int, Problem]] = field(default_factory=list)

    def line_of(self, loc: Loc) -> int:
        """Return the line of the nearest part on the way to `loc` that has one."""
        for end in range(len(loc), 0, -1):
            if loc[:end] in self.line:
                return self.line[loc[:end]]
        return 1


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being read; `key` is the mapping's key whose value comes next."""

    value: dict[str, Any] | list[Any]
    loc: Loc
    anchor: str | None
    nodes: int = 1
    key: str | None = None
    is_dropped: bool = False


class _UnreadableError(Exception):
    """The rest of the text cannot be read."""


def read_tree(text: str) -> Tree:
    """Return the one document of `text` with the line of each part; never raises."""
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_PARSER):
            builder.take(event)
    except _UnreadableError:
        builder.tree.value = None
    except yaml.YAMLError as error:
        builder.tree.value = None
        builder.tree.problems.append(_syntax_problem(error))
    return builder.tree


class _Builder:
    """Turns parser events into a `Tree`, without recursion."""

    def __init__(self) -> None:
        self.tree = Tree()
        self._open: list[_Open] = []
        self._anchored: dict[str, tuple[Any, int]] = {}
        self._documents = 0
        self._nodes = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._fatal(line, "a second document starts here; keep one contract a file")
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, line)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._start(event, line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = self._open.pop()
            self._finish(done.value, done.nodes, done.anchor)

    def _start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, line: int) -> None:
        self._refuse_tag(event.tag, line)
        if len(self._open) >= DEPTH_MAX:
            self._fatal(line, f"nested deeper than {DEPTH_MAX}; no contract needs that")
        if self._expects_key():
            self._fatal(line, "a key must be text, not a list or a mapping")
        loc = self._place(line)
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._add(value)
        self._open.append(_Open(value, loc, event.anchor))
        self._count(1, line)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        self._refuse_tag(event.tag, line)
        self._count(1, line)
        if self._expects_key():
            self._key(event, line)
            return
        value = _scalar_value(event)
        self._place(line)
        self._add(value)
        self._finish(value, 1, event.anchor)

    def _key(self, event: yaml.ScalarEvent, line: int) -> None:
        parent = self._open[-1]
        assert isinstance(parent.value, dict)
        key: str = event.value
        loc: Loc = (*parent.loc, key)
        parent.key = key
        parent.is_dropped = True
        if key == "<<" and event.implicit[0]:
            self._problem(line, parent.loc, "merge keys (<<) are not read; write the keys out")
        elif key in parent.value:
            # The first of two equal keys stays, so that the later checks have one to look at.
            first = self.tree.line[loc]
            self._problem(line, loc, f"key '{key}' is there already, in line {first}; keep one")
        else:
            parent.is_dropped = False
            self.tree.line.setdefault(loc, line)

    def _alias(self, event: yaml.AliasEvent, line: int) -> None:
        if self._expects_key():
            self._fatal(line, "a key must be text, not an alias")
        if event.anchor not in self._anchored:
            self._fatal(line, f"alias *{event.anchor} names no anchor that is complete before it")
        value, nodes = self._anchored[event.anchor]
        self._count(nodes, line)
        self._place(line)
        self._add(value)
        self._finish(value, nodes, None)

    def _expects_key(self) -> bool:
        return (
            bool(self._open)
            and isinstance(self._open[-1].value, dict)
            and (self._open[-1].key is None)
        )

    def _place(self, line: int) -> Loc:
        """Remember the line of the value that comes now; return where it stands."""
        if not self._open:
            return ()
        parent = self._open[-1]
        loc: Loc
        if isinstance(parent.value, dict):
            assert parent.key is not None
            loc = (*parent.loc, parent.key)
        else:
            loc = (*parent.loc, len(parent.value))
        self.tree.line.setdefault(loc, line)
        return loc

    def _add(self, value: Any) -> None:
        if not self._open:
            if self.tree.value is None:
                self.tree.value = value
            return
        parent = self._open[-1]
        if isinstance(parent.value, list):
            parent.value.append(value)
        else:
            assert parent.key is not None
            if not parent.is_dropped:
                parent.value[parent.key] = value
            parent.key = None

    def _finish(self, value: Any, nodes: int, anchor: str | None) -> None:
        """Note a complete value: its size counts for its parent, its anchor may be used."""
        if anchor is not None:
            self._anchored[anchor] = (value, nodes)
        if self._open:
            self._open[-1].nodes += nodes

    def _count(self, nodes: int, line: int) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            self._fatal(line, f"more than {NODES_MAX} values, aliases unfolded; split the contract")

    def _refuse_tag(self, tag: str | None, line: int) -> None:
        if tag is not None:
            self._problem(line, self._open[-1].loc if self._open else (), f"tag {tag}; remove it")

    def _problem(self, line: int, loc: Loc, text: str) -> None:
        if len(self.tree.problems) < PROBLEMS_MAX:
            self.tree.problems.append((line, Problem(loc, text)))

    def _fatal(self, line: int, text: str) -> NoReturn:
        # Two keys are enough to find the place; a path of 32 is not.
        self._problem(line, self._open[-1].loc[:2] if self._open else (), text)
        raise _UnreadableError


def _scalar_value(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if not event.implicit[0]:  # quoted, or a block: text whatever it looks like
        return text
    resolve: Callable[..., str] = _RESOLVER.resolve
    resolved = resolve(yaml.ScalarNode, text, (True, False))
    tag = resolved.rsplit(":", 1)[-1]
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() in ("yes", "true", "on")
    convert = {"int": int, "float": float}.get(tag)
    if convert is not None:
        try:
            return convert(text.replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            # 0x1F, 1:30 and numbers of thousands of digits: YAML 1.1 reads them, we keep the text.
            return text
    return text


def _syntax_problem(error: yaml.YAMLError) -> tuple[int, Problem]:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    parts = (getattr(error, "context", None), getattr(error, "problem", None))
    text = ", ".join(part for part in parts if part) or str(error).splitlines()[0]
    return (mark.line + 1 if mark else 1), Problem((), f"not YAML: {text}; correct the line")
