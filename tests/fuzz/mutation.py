"""How files are spoilt: bytes at random, or, more often, one value in them by another that is odd."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_VALUE = re.compile(rb'"(?:[^"\\\n]|\\.)*"|[\[{][^\[\]{}]*[\]}]|[^\s",:=\[\]{}]+')
_ODD: tuple[bytes, ...] = (
    *(b"", b"null", b"true", b"false", b"nan", b"inf", b"-inf", b"NaN", b"0", b"-1", b"1.5", b"007", b"1_000"),
    *(b"1e308", b"1e999", b"-1e308", b"99999999999999999999", b"9" * 400, b"9" * 5000, b"0x" + b"f" * 5000),
    *(b'""', b'"x"', b'"\\u0000"', b'"../x"', b'"/"', b'"."', b'"~nobody/x"', b'"a/' + b"b" * 300 + b'"'),
    *(b"[]", b"{}", b"[[]]", b'{"a": [1, {"b": null}]}', b'[null, "x", 1, {}]', b"[" * 400 + b"]" * 400),
    *(b"\xff", b"\xc3\xa9", "\u202e".encode(), b"\x1b[31m", b"\r", b"\n", b"\0", b"'", b'"', b"=cmd()", b"$(x)"),
    *(b"0001-01-01T00:00:00+00:00", b"9999-12-31T23:59:59-23:59", b"2023-13-45T99:00", b"1979-05-27"),
    *(b" " * 5000, b"a" * 140_000, b"=" * 3000, b"( " * 2000, b"x_chunk_5_1", b"x_chunk_0_" + b"9" * 400),
)


def spoilt(content: bytes, chance: random.Random) -> bytes:
    """Return a file's content with another value in one place, or with some of it repeated, moved or left out."""
    found = [match.span() for match in _VALUE.finditer(content)]
    if not found:
        return chance.choice(_ODD)
    start, end = chance.choice(found)
    other = chance.choice(_ODD)
    kind = chance.randrange(8)
    if kind == 0:
        first, last = chance.choice(found)
        other = content[first:last]
    elif kind == 1:
        lines = content.splitlines(keepends=True)
        chance.shuffle(lines)
        return b"".join(lines)
    elif kind == 2:
        lines = content.splitlines(keepends=True)
        return b"".join(lines + chance.choices(lines, k=2))
    elif kind == 3:
        other = b'"' + content[start:end].replace(b'"', b"") + b'"'
    return content[:start] + other + content[end:]


def mutator(mutate: Callable[[bytes, int], bytes]) -> Callable[[bytes, int, int], bytes]:
    """Return the mutator of a fuzzer, given the one of its own that knows nothing of the content."""

    def change(content: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.3:
            return mutate(content, longest)
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            content = spoilt(content, chance)
        return content[:longest]

    return change
