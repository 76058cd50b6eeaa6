"""Rows that go right and wrong, for the tests of the harness; each process imports this, so it imports little."""

import os

from benchmarks.harness import Row, Unavailable, close


def rows(quick):
    def returns(value):
        return lambda: lambda: value

    def holds_memory():
        return lambda: len(bytearray(40 * 2**20))

    def raises():
        raise ValueError("no such thing")

    def unavailable():
        raise Unavailable("not on this machine")

    def dies():
        return lambda: os._exit(3)

    def prints():
        return lambda: print("{}") or 2.0

    def same(ours, peer):
        return close(ours, peer, relative=1e-9)

    size = "small" if quick else "large"
    return [
        Row("pair", "a pair", size, returns(2.0), same, "other", prints, items=(10, "things")),
        Row("memory", "memory", size, holds_memory, str, repeats=1),
        Row("apart", "apart", size, returns(1.0), same, "other", returns(2.0)),
        Row("odd", "odd", size, returns(1.0), same, "other", returns("one")),
        Row("broken", "broken", size, returns(1.0), same, "other", raises),
        Row("dead", "dead", size, dies, same, "other", returns(1.0)),
        Row("alone", "alone", size, returns(1.0), same, "other", unavailable),
        Row("nowhere", "nowhere", size, unavailable, same, "other", returns(1.0)),
    ]
