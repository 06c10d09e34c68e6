"""Pickles of strangers: arrays and tensors are read from them, and no code runs.

A pickle is a program for a small machine with a stack, and may call any function that it names. This is
that machine for the instructions that arrays and tensors need, and what a pickle names is looked up in a
table of stand-ins.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fkd.exchanging.stand_ins import STAND_INS, Buildable, Malformed, Storage, StorageType, Unsafe


@dataclass
class Machine:
    """Reads one pickle of `content`, from `at` on; `at` is then behind it."""

    content: bytes
    at: int = 0
    _stack: list[Any] = field(default_factory=list)
    _marks: list[int] = field(default_factory=list)
    _memo: dict[int, Any] = field(default_factory=dict)
    _made: int = 0

    def run(self) -> Any:
        """Return what the pickle makes; raises `Malformed`, `Unsafe` where it would run code."""
        try:
            content, instructions = self.content, _INSTRUCTIONS
            while (code := content[self.at]) != _STOP:
                self.at += 1
                if code == _PUT:  # two of five instructions are this one
                    self._memo[self._byte()] = self._stack[-1]
                    continue
                instruction = instructions.get(code)
                if instruction is None:
                    raise Malformed(
                        f"its pickle has the instruction {code:#x}, which no label needs"
                    )
                instruction(self)
            self.at += 1
            return self._stack.pop()
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise Malformed("its pickle is damaged") from error

    def _take(self, count: int) -> bytes:
        taken = self.content[self.at : self.at + count]
        if len(taken) < count:
            raise Malformed("it is cut off")
        self.at += count
        return taken

    def _byte(self) -> int:
        self.at += 1
        return self.content[self.at - 1]

    def _number(self, count: int) -> int:
        return int.from_bytes(self._take(count), "little")

    def _line(self) -> str:
        end = self.content.find(b"\n", self.at)
        if end < 0:
            raise Malformed("it is cut off")
        line = self.content[self.at : end].decode("ascii")
        self.at = end + 1
        return line

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _since_mark(self) -> list[Any]:
        mark = self._marks.pop()
        values = self._stack[mark:]
        del self._stack[mark:]
        return values

    def _tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise Malformed("its pickle is damaged")
        values = tuple(self._stack[len(self._stack) - count :])
        del self._stack[len(self._stack) - count :]
        self._push(values)

    def _find(self, module: str, name: str) -> None:
        found = STAND_INS.get((module, name))
        if found is None:
            raise Unsafe(f"its pickle names {module!r:.60}.{name!r:.60}, which no label needs")
        self._push(found)

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not callable(function) or not isinstance(arguments, tuple):
            raise Malformed("its pickle calls what is no function")
        made = function(*arguments)
        if isinstance(made, bytes):
            # One text may be encoded again and again, and all of it must not outgrow the file.
            self._made += len(made)
            if self._made > len(self.content):
                raise Malformed("its pickle makes more bytes than it has")
        self._push(made)

    def _build(self) -> None:
        state, built = self._stack.pop(), self._stack[-1]
        if not isinstance(built, Buildable):
            raise Malformed("its pickle changes what is no array")
        built.build(state)

    def _set(self, pairs: list[Any]) -> None:
        held = self._stack[-1]
        keys, values = pairs[::2], pairs[1::2]
        if not isinstance(held, dict) or not all(isinstance(key, str) for key in keys):
            raise Malformed("its pickle has names that are no texts")
        held.update(zip(keys, values, strict=True))

    def _append(self, values: list[Any]) -> None:
        held = self._stack[-1]
        if not isinstance(held, list):
            raise Malformed("its pickle appends to what is no list")
        held.extend(values)

    def _storage(self) -> None:
        match self._stack.pop():
            case ("storage", StorageType(dtype), str(key), str(), int(count), *_) if count >= 0:
                self._push(Storage(dtype, key, count))
            case _:
                raise Malformed("a tensor is of no storage")


def _signed(content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)


_STOP, _PUT = ord(b"."), ord(b"q")
_INSTRUCTIONS: dict[int, Callable[[Machine], Any]] = {
    ord(b"\x80"): lambda m: m._take(1),  # the protocol
    ord(b"\x95"): lambda m: m._take(8),  # a frame begins, and its bytes follow
    ord(b"("): lambda m: m._marks.append(len(m._stack)),
    ord(b"]"): lambda m: m._push([]),
    ord(b"}"): lambda m: m._push({}),
    ord(b")"): lambda m: m._push(()),
    ord(b"a"): lambda m: m._append([m._stack.pop()]),
    ord(b"e"): lambda m: m._append(m._since_mark()),
    ord(b"s"): lambda m: m._set([m._stack.pop(-2), m._stack.pop()]),
    ord(b"u"): lambda m: m._set(m._since_mark()),
    ord(b"t"): lambda m: m._push(tuple(m._since_mark())),
    ord(b"\x85"): lambda m: m._tuple(1),
    ord(b"\x86"): lambda m: m._tuple(2),
    ord(b"\x87"): lambda m: m._tuple(3),
    ord(b"N"): lambda m: m._push(None),
    ord(b"\x88"): lambda m: m._push(True),
    ord(b"\x89"): lambda m: m._push(False),
    ord(b"J"): lambda m: m._push(_signed(m._take(4))),
    ord(b"K"): lambda m: m._push(m._byte()),
    ord(b"M"): lambda m: m._push(m._number(2)),
    ord(b"\x8a"): lambda m: m._push(_signed(m._take(m._byte()))),
    ord(b"X"): lambda m: m._push(m._take(m._number(4)).decode("utf-8", "surrogatepass")),
    ord(b"\x8c"): lambda m: m._push(m._take(m._byte()).decode("utf-8", "surrogatepass")),
    ord(b"B"): lambda m: m._push(m._take(m._number(4))),
    ord(b"C"): lambda m: m._push(m._take(m._byte())),
    ord(b"r"): lambda m: m._memo.__setitem__(m._number(4), m._stack[-1]),
    ord(b"\x94"): lambda m: m._memo.__setitem__(len(m._memo), m._stack[-1]),
    ord(b"h"): lambda m: m._push(m._memo[m._byte()]),
    ord(b"j"): lambda m: m._push(m._memo[m._number(4)]),
    ord(b"c"): lambda m: m._find(m._line(), m._line()),
    ord(b"\x93"): lambda m: m._find(str(m._stack.pop(-2)), str(m._stack.pop())),
    ord(b"R"): lambda m: m._reduce(),
    ord(b"b"): lambda m: m._build(),
    ord(b"Q"): lambda m: m._storage(),
}
