"""A contract file to a `Contract`, or to one error that lists everything wrong with it.

Owns the reading (size, encoding), the mapping from a problem to its line, and the words of a
problem: place, what is wrong, what to do. Invariant: `load_contract` either returns a contract that
passed every check or raises `ContractError` with all problems; it never returns a part.
"""

import json
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from streams.contract.checks import (
    PROBLEMS_MAX,
    Loc,
    Problem,
    find_problems,
    path_text,
    suggestion,
)
from streams.contract.model import PROBLEM_TYPE, Contract
from streams.contract.notify import Notify
from streams.contract.notify_checks import notify_problems
from streams.contract.yaml_tree import Tree, read_tree
from streams.errors import ConfigError

FILE_BYTES_MAX: Final = 4 * 1024 * 1024
SHOWN_MAX: Final = 100
"""Problems shown of one file; a reader corrects these and comes back."""
SHIPPED: Final = ("seed", "inference")
"""Names of the contracts that ship with Spanloom."""
_Model = TypeVar("_Model", bound=BaseModel)
_Check = Callable[[Any], list[Problem]]


class FileProblem(NamedTuple):
    """A problem where a person finds it; `str()` gives `seed.yaml:41: flows.record.entry: ...`."""

    file: str
    line: int
    path: str
    text: str

    def __str__(self) -> str:
        """Return the problem as one line that editors can jump from."""
        return f"{self.file}:{self.line}: {self.path}: {self.text}"


class ContractError(ConfigError):
    """The contract is wrong; `problems` holds everything found, in the order of the file."""

    def __init__(self, problems: tuple[FileProblem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def contract_path(name_or_path: str | Path) -> Path:
    """Return where a contract lies: "seed" and "inference" are those that ship with Spanloom."""
    name = str(name_or_path)
    return Path(__file__).with_name(f"{name}.yaml") if name in SHIPPED else Path(name_or_path)


_CONTRACT_HINT: Final = f"give a path, or one of the shipped contracts: {', '.join(SHIPPED)}"
_TARGETS_HINT: Final = "give the path of a file of targets, or of a contract with a notify part"


def load_contract(path: str | Path) -> Contract:
    """Read a contract file, or "seed"; every check has passed.

    Raises:
        ContractError: the file cannot be read or is no valid contract; it lists every problem.
    """
    where = contract_path(path)
    return parse_contract(_text(where, "contract", _CONTRACT_HINT), where.name)


def parse_contract(text: str, file: str = "contract.yaml") -> Contract:
    """Return the contract that `text` holds; `file` is what its problems are named after.

    Raises:
        ContractError: the text is no valid contract; it lists every problem.
    """
    return _parse(read_tree(text), file, Contract, find_problems)


def load_notify(path: str | Path) -> Notify:
    """Read who is told of incidents: a file of its own, or a contract's `notify:` part.

    Raises:
        ContractError: the file cannot be read, is wrong, or is a contract that tells nobody.
    """
    where = contract_path(path)
    tree = read_tree(_text(where, "targets", _TARGETS_HINT))
    if isinstance(tree.value, dict) and "modules" in tree.value:
        notify = _parse(tree, where.name, Contract, find_problems).notify
        if notify is None:
            text = "the contract has no 'notify' part; add it as docs/notify.md shows"
            raise ContractError((FileProblem(where.name, 1, "contract", text),))
        return notify
    return _parse(tree, where.name, Notify, _notify_problems)


def _notify_problems(tree: Any) -> list[Problem]:
    return [Problem(found.loc, found.text) for found in notify_problems(tree)][:PROBLEMS_MAX]


def _parse(tree: Tree, file: str, model: type[_Model], check: _Check) -> _Model:
    """Return what a file holds, or raise with every problem of it."""
    found = list(tree.problems)
    contract: _Model | None = None
    if tree.value is None and not found:
        found.append((1, Problem((), "the file is empty; see docs/contract.md for an example")))
    elif tree.value is not None:
        contract, problems = _validate(tree, model, check)
        found += [(tree.line_of(problem.loc), problem) for problem in problems]
    if contract is None or found:
        found.sort(key=lambda entry: entry[0])
        listed = [FileProblem(file, line, path_text(p.loc), p.text) for line, p in found]
        hidden = len(listed) - SHOWN_MAX
        if hidden > 0:
            last = listed[SHOWN_MAX - 1]
            rest = FileProblem(
                file, last.line, "contract", f"and at least {hidden} more; correct these first"
            )
            listed = [*listed[:SHOWN_MAX], rest]
        raise ContractError(tuple(dict.fromkeys(listed)))
    return contract


def _text(path: Path, what: str, hint: str) -> str:
    def refuse(text: str) -> ContractError:
        return ContractError((FileProblem(path.name, 1, what, text),))

    try:
        with path.open("rb") as file:
            # One byte more than allowed tells a file that is too big without reading it all.
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        reason = f"cannot read {path}: {error.strerror}"
        raise refuse(f"{reason}; {hint}") from error
    if len(raw) > FILE_BYTES_MAX:
        raise refuse(f"larger than {FILE_BYTES_MAX} bytes; split the pipeline")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refuse(f"byte {error.start} is not UTF-8; save the file as UTF-8") from error


def _validate(
    tree: Tree, model: type[_Model], check: _Check
) -> tuple[_Model | None, list[Problem]]:
    problems = check(tree.value)
    try:
        # Through JSON, where strict mode still takes a list for a tuple and a mapping for a model.
        return model.model_validate_json(json.dumps(tree.value)), problems
    except ValidationError as error:
        # The model repeats what `find_problems` said, unless it saw a default that the file hides.
        errors = [e for e in error.errors() if not (problems and e["type"] == PROBLEM_TYPE)]
        problems += [_problem(e, model) for e in errors]
    return None, problems


def _problem(error: ErrorDetails, model: type[BaseModel]) -> Problem:
    """Put an error of the model into words that name the fix."""
    loc: Loc = tuple(key for key in error["loc"] if key != "[key]")
    kind, value = error["type"], error["input"]
    if kind == "missing":
        return Problem(loc, f"'{loc[-1]}' is missing; add it")
    if kind == "extra_forbidden":
        return Problem(
            loc, f"unknown key '{loc[-1]}'; {suggestion(str(loc[-1]), keys_at(loc[:-1], model))}"
        )
    if kind == "too_short":
        return Problem(loc, f"'{loc[-1]}' must not be empty; add an item or remove the part")
    text = error["msg"][:1].lower() + error["msg"][1:]
    if kind == "string_type" and isinstance(value, bool | int | float):
        shown = json.dumps(value)
        return Problem(loc, f"must be text, but YAML reads {shown}; put it in quotes")
    if kind in ("list_type", "tuple_type"):
        shown = f"[{value}]" if isinstance(value, str) else "- and an item in each line"
        return Problem(loc, f"must be a list, even of one item; write {shown}")
    if isinstance(value, str | int | float | None):
        text = f"{text}, but is {json.dumps(value)[:80]}"
    return Problem(loc, f"{text}; change it")


def keys_at(loc: Loc, model: type[BaseModel] = Contract) -> tuple[str, ...]:
    """Return the keys that the contract knows at a place; () where any key may stand."""
    at: Any = model
    for key in loc:
        at = _inside(at, key)
    part = _without_wrapping(at)
    if not (isinstance(part, type) and issubclass(part, BaseModel)):
        return ()
    return tuple(info.alias or name for name, info in part.model_fields.items())


def _inside(annotation: Any, key: str | int) -> Any:
    """Return the type of the part under `key`, None when the model does not say."""
    at = _without_wrapping(annotation)
    if isinstance(at, type) and issubclass(at, BaseModel):
        for name, info in at.model_fields.items():
            if key in (name, info.alias):
                return info.annotation
        return None
    arguments = get_args(at)
    if not arguments:
        return None
    return arguments[-1] if issubclass(get_origin(at), Mapping) else arguments[0]


def _without_wrapping(annotation: Any) -> Any:
    """Strip Annotated and `| None`."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            parts = [a for a in get_args(annotation) if a is not type(None)]
            annotation = parts[0]
        else:
            return annotation
