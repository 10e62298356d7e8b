"""ECMAScript modules as far as their names go: what each binds, uses, imports and exports.

Owns a reader of the JavaScript that the console's page is written in: a tokenizer, and the scopes
of its bindings. It refuses, by an assertion, what it does not read (`var` and `with`, labels,
private members, escapes in names) instead of passing over it. Hoisting and the time before a
binding has its value are not its matter: a name is bound in the whole of its block.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

KEYWORDS: Final = frozenset(
    {
        "await", "break", "case", "catch", "class", "const", "continue", "debugger", "default",
        "delete", "do", "else", "export", "extends", "false", "finally", "for", "function", "if",
        "import", "in", "instanceof", "let", "new", "null", "return", "super", "switch", "this",
        "throw", "true", "try", "typeof", "void", "while", "yield",
    }
)  # fmt: skip
UNREAD: Final = frozenset({"var", "with"})
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<name>[A-Za-z_$][\w$]*)
      | (?P<number>0[xob][\da-fA-F_]+n?|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?n?)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<mark>\.\.\.|=>|\?\.(?!\d)|[=!]==?|\?\?=?|&&=?|\|\|=?|[{}()\[\];,<>+\-*/%&|^!~?:=.`])""",
    re.VERBOSE | re.DOTALL,
)
_PATTERN: Final = re.compile(r"/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/[a-z]*")
_PIECE: Final = re.compile(r"(?:[^`\\$]|\\.|\$(?!\{))*", re.DOTALL)
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}
_AFTER_VALUE: Final = frozenset({")", "]", "}"})


class Token(NamedTuple):
    """A piece of a module: "name", "word" (a keyword), "value" (a literal) or "mark"."""

    kind: str
    text: str
    line: int


class Import(NamedTuple):
    """A name that a module takes: `name` of `source`, known as `local`; "*" is all of it."""

    source: str
    name: str
    local: str
    line: int


class Binding(NamedTuple):
    """A name, and the tokens [begin, end) in which it means something."""

    name: str
    begin: int
    end: int


class Use(NamedTuple):
    """A name that is looked up, and what is asked of it: "x" of `name.x`, or ""."""

    name: str
    member: str
    at: int
    line: int


def tokens(text: str) -> list[Token]:
    """Return a module's tokens; a substitution in a template stands in parentheses."""
    found: list[Token] = []
    templates: list[int] = []  # of each template that is open: how many braces are within it
    at, line = 0, 1
    while at < len(text):
        kind, piece = _next(text, at, found)
        at += len(piece)
        if kind == "mark" and piece in ("`", "}") and (piece == "`" or templates[-1:] == [0]):
            if piece == "}":
                templates.pop()
                found.append(Token("mark", ")", line))
            literal = _PIECE.match(text, at)
            assert literal
            found.append(Token("value", "`", line))
            line += literal[0].count("\n")
            at = literal.end()
            if text.startswith("${", at):
                templates.append(0)
                found.append(Token("mark", "(", line))
            assert text.startswith(("${", "`"), at), f"line {line}: a template has no end"
            at += 2 if text.startswith("${", at) else 1
            continue
        if templates and kind == "mark":
            templates[-1] += {"{": 1, "}": -1}.get(piece, 0)
        if kind != "space":
            found.append(Token(kind, piece, line))
        line += piece.count("\n")
    return found


def _next(text: str, at: int, before: list[Token]) -> tuple[str, str]:
    """Return the kind and the text of the token that begins there."""
    found = _TOKEN.match(text, at)
    last = before[-1] if before else Token("mark", ";", 0)
    is_value = last.kind in ("name", "value") or last.text in _AFTER_VALUE or last.text == "this"
    if text[at] == "/" and not is_value and (not found or found.lastgroup == "mark"):
        literal = _PATTERN.match(text, at)
        assert literal, f"line {last.line}: neither a division nor a pattern: {text[at : at + 20]}"
        return "value", literal[0]
    assert found, f"line {last.line}: cannot read {text[at : at + 20]!r}"
    kind = str(found.lastgroup)
    if kind == "name":
        assert found[0] not in UNREAD, f"line {last.line}: {found[0]} is not read here"
        is_word = found[0] in KEYWORDS and last.text not in (".", "?.")
        return "word" if is_word else "name", found[0]
    return ("value" if kind in ("number", "string") else kind), found[0]


class Module:
    """The names of a module.

    Attributes:
        imports: what it takes from others.
        exports: the names that it gives.
        bindings: its own names and where they hold; those imported hold everywhere.
        uses: names that it looks up.
    """

    def __init__(self, text: str) -> None:
        """Read a module.

        Raises:
            AssertionError: it has something that is not read here.
        """
        self.tokens = tokens(text)
        self._partner = _partners(self.tokens)
        self._opener = self._enclosing()
        self.imports: list[Import] = []
        self.exports: set[str] = set()
        self.bindings: list[Binding] = []
        self._passed: set[int] = set()  # names that are no uses: declared, keys, members
        for at, token in enumerate(self.tokens):
            if token.text == "=>":
                self._arrow(at)
            elif token.kind == "word":
                self._word(at, token.text)
            elif token.kind == "name" and self._is_method(at):
                self._passed.add(at)
                self._function(at + 1)
        self.uses = list(self._uses())

    def unknown(self) -> list[Use]:
        """Return the uses of names that the module neither binds nor imports."""
        held: dict[str, list[Binding]] = {}
        for binding in self.bindings:
            held.setdefault(binding.name, []).append(binding)
        return [
            use
            for use in self.uses
            if not any(b.begin <= use.at < b.end for b in held.get(use.name, ()))
        ]

    def uses_of(self, one: Import) -> list[Use]:
        """Return the uses of what was imported, without those of another binding of its name."""
        inner = [b for b in self.bindings if b.name == one.local and b.end - b.begin < len(self)]
        return [
            use
            for use in self.uses
            if use.name == one.local and not any(b.begin <= use.at < b.end for b in inner)
        ]

    def __len__(self) -> int:
        """Return how many tokens there are."""
        return len(self.tokens)

    # --- looking about ---------------------------------------------------------------------------

    def _text(self, at: int) -> str:
        return self.tokens[at].text if 0 <= at < len(self.tokens) else ""

    def _enclosing(self) -> list[int]:
        """Return of each token the bracket that is open around it, -1 for none."""
        opener, stack = [], [-1]
        for at in range(len(self.tokens)):
            if self._partner.get(at, at) < at:
                stack.pop()
            opener.append(stack[-1])
            if self._partner.get(at, at) > at:
                stack.append(at)
        return opener

    def _over(self, at: int) -> int:
        """Return what follows a token, or the brackets that it opens."""
        return max(self._partner.get(at, at), at) + 1

    def _skip(self, at: int, *ends: str) -> int:
        """Return where the expression ends: at one of the marks, or the bracket around it."""
        while at < len(self.tokens) and self._text(at) not in (*ends, *_PAIRS):
            at = self._over(at)
        return at

    def _block(self, at: int) -> tuple[int, int]:
        """Return the tokens of the block around one."""
        while (at := self._opener[at]) >= 0:
            if self._is_of_for(at):
                return at, self._body(self._partner[at] + 1)
            if self._text(at) == "{":
                return at, self._partner[at]
        return 0, len(self.tokens)

    def _body(self, at: int) -> int:
        """Return where a body ends that is a block or a statement."""
        if self._text(at) == "{":
            return self._partner[at]
        if self._text(at) not in ("if", "for", "while"):
            return self._skip(at, ";")
        end = self._body(self._partner[at + 1 + (self._text(at + 1) == "await")] + 1)
        is_else = self._text(at) == "if" and self._text(end + 1) == "else"
        return self._body(end + 2) if is_else else end

    def _is_of_for(self, opener: int) -> bool:
        """Return whether a bracket is that of `for (...)` or `for await (...)`."""
        if self._text(opener) != "(":
            return False
        return self._text(opener - 1 - (self._text(opener - 1) == "await")) == "for"

    def _is_method(self, at: int) -> bool:
        """Return whether a name is that of a method: `name(...) {` in a class or an object."""
        if self._text(at + 1) != "(" or self._text(self._partner[at + 1] + 1) != "{":
            return False
        return self._text(at - 1) in ("{", "}", ",", ";", "get", "set", "static", "async", "*")

    # --- what binds ------------------------------------------------------------------------------

    def _bind(self, begin: int, end: int, names: list[int]) -> None:
        self._passed.update(names)
        self.bindings += [Binding(self._text(at), begin, end) for at in names]

    def _pattern(self, at: int) -> tuple[list[int], int]:
        """Return the names that a pattern binds, and what follows the pattern."""
        if self._text(at) == "...":
            return self._pattern(at + 1)
        if self._text(at) in ("{", "["):
            return self._patterns(at), self._partner[at] + 1
        token = self.tokens[at]
        assert token.kind == "name", f"line {token.line}: no name to bind: {token.text}"
        return [at], at + 1

    def _patterns(self, opener: int) -> list[int]:
        """Return the names that are bound in a list: parameters, an object's or an array's."""
        names: list[int] = []
        at, end = opener + 1, self._partner[opener]
        while at < end:
            if self._text(at) == ",":
                at += 1
                continue
            if self._text(opener) == "{" and self._text(at + 1) == ":":
                self._passed.add(at)
                at += 2
            found, at = self._pattern(at)
            names += found
            at = self._skip(at, ",")  # over what it is unless given
        return names

    def _function(self, opener: int) -> None:
        """Bind the parameters of a function or of `catch`, from their bracket to its body's end."""
        end = self._body(self._partner[opener] + 1)
        self._bind(opener, end, self._patterns(opener))

    def _arrow(self, at: int) -> None:
        end = self._partner[at + 1] if self._text(at + 1) == "{" else self._skip(at + 1, ",", ";")
        if self._text(at - 1) == ")":
            opener = self._partner[at - 1]
            self._bind(opener, end, self._patterns(opener))
        else:
            self._bind(at - 1, end, [at - 1])

    def _word(self, at: int, word: str) -> None:
        """Take in what a keyword begins."""
        if word in ("const", "let"):
            self._declaration(at)
        elif word in ("function", "class"):
            name = at + 1 + (self._text(at + 1) == "*")
            if self.tokens[name].kind == "name":
                self._bind(*self._block(at), [name])
            if word == "function":
                self._function(name + (self.tokens[name].kind == "name"))
        elif word == "catch" and self._text(at + 1) == "(":
            if self._text(at - 1) != ".":
                self._function(at + 1)
        elif word == "import" and self._text(at + 1) not in ("(", "."):
            self._import(at)
        elif word == "export":
            self._export(at)

    def _declaration(self, at: int) -> list[int]:
        """Bind what `const` or `let` declares; return the names."""
        declared: list[int] = []
        block = self._block(at)
        while True:
            names, at = self._pattern(at + 1)
            declared += names
            at = self._skip(at, ",", ";", "of", "in")
            if self._text(at) != ",":
                break
        self._bind(*block, declared)
        return declared

    def _import(self, at: int) -> None:
        line, end = self.tokens[at].line, at + 1
        while self.tokens[end].kind != "value":
            self._passed.add(end)
            end = end + 1
        source = self._text(end)[1:-1]
        parts = [self._text(one) for one in range(at + 1, end) if self._text(one) != "from"]
        for part in " ".join(parts).replace("{", ",{,").replace("}", "").split(","):
            words = part.split()
            if words and words != ["{"]:
                is_named = "{" in parts and parts.index("{") < parts.index(words[0])
                name = words[0] if is_named or words[0] == "*" else "default"
                self.imports.append(Import(source, name, words[-1], line))
                self.bindings.append(Binding(words[-1], 0, len(self.tokens)))

    def _export(self, at: int) -> None:
        after = self._text(at + 1)
        if after in ("const", "let"):
            self.exports.update(map(self._text, self._declaration(at + 1)))
        elif after == "default":
            self.exports.add("default")
        elif after == "{":
            end = self._partner[at + 1]
            for one in range(at + 2, end):
                if self._text(one + 1) in (",", "}"):
                    self.exports.add(self._text(one))
                if self._text(one) == "as" or self._text(one - 1) == "as":
                    self._passed.add(one)
            assert self._text(end + 1) != "from", "what is passed on is not read here"
        else:
            name = at + 2 + (after == "async")
            name += self._text(name) == "*"
            assert self.tokens[name].kind == "name", f"line {self.tokens[at].line}: an export"
            self.exports.add(self._text(name))

    # --- what is used ----------------------------------------------------------------------------

    def _uses(self) -> Iterator[Use]:
        for at, (kind, text, line) in enumerate(self.tokens):
            if kind != "name" or at in self._passed or self._is_no_use(at):
                continue
            is_asked = self._text(at + 1) in (".", "?.")
            yield Use(text, self._text(at + 2) if is_asked else "", at, line)

    def _is_no_use(self, at: int) -> bool:
        """Return whether a name is a member's, a key's, or one of the words that may be names."""
        before, text, after = self._text(at - 1), self._text(at), self._text(at + 1)
        is_object = self._text(self._opener[at]) == "{" if self._opener[at] >= 0 else False
        if before in (".", "?."):
            return True
        if is_object and after == ":" and before in ("{", ","):
            return True
        if text == "async":
            return after in ("function", "(") or self.tokens[at + 1].kind == "name"
        if text in ("get", "set", "static"):
            return self.tokens[at + 1].kind == "name"
        return text == "of" and self._is_of_for(self._opener[at])


def _partners(found: list[Token]) -> dict[int, int]:
    """Return of each bracket the one that it belongs to.

    Raises:
        AssertionError: one has none.
    """
    partner: dict[int, int] = {}
    stack: list[int] = []
    for at, token in enumerate(found):
        if token.kind != "mark":
            continue
        if token.text in _PAIRS.values():
            stack.append(at)
        elif token.text in _PAIRS:
            assert stack, f"line {token.line}: {token.text} closes nothing"
            opener = stack.pop()
            assert found[opener].text == _PAIRS[token.text], f"line {token.line}: {token.text}"
            partner[at], partner[opener] = opener, at
    assert not stack, f"line {found[stack[-1]].line}: {found[stack[-1]].text} is never closed"
    return partner
