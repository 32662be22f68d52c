"""The `TokenVerifier` port, over every store."""

from __future__ import annotations

import os

import pytest

from gossamer.ports import Denied, Store
from gossamer.standalone.tokens import MOST, TTL, Tokens
from gossamer.testing.store import MemoryStore


def test_a_token_is_taken_once(store: Store) -> None:
    tokens = Tokens(store, os.urandom)
    token = tokens.issue("web", 100.0).encode()
    tokens.check(token, "web", 100.0)
    tokens.redeem(token, "web", 101.0)
    for ask in (tokens.check, tokens.redeem):
        with pytest.raises(Denied):
            ask(token, "web", 101.0)


def test_a_token_is_for_one_identity(store: Store) -> None:
    tokens = Tokens(store, os.urandom)
    token = tokens.issue("web", 100.0).encode()
    with pytest.raises(Denied):
        tokens.redeem(token, "admin", 100.0)
    tokens.redeem(token, "web", 100.0)


def test_a_token_ends(store: Store) -> None:
    tokens = Tokens(store, os.urandom)
    token = tokens.issue("web", 100.0).encode()
    with pytest.raises(Denied):
        tokens.redeem(token, "web", 100.0 + TTL)
    tokens.expire(100.0 + TTL)
    assert store.scan("tokens/") == []


def test_a_token_outlives_the_process_that_made_it(store: Store) -> None:
    token = Tokens(store, os.urandom).issue("web", 100.0).encode()
    Tokens(store, os.urandom).redeem(token, "web", 101.0)


def test_every_wrong_token_is_refused_in_the_same_words(store: Store) -> None:
    tokens = Tokens(store, os.urandom)
    good = tokens.issue("web", 100.0).encode()
    said = set()
    for token, identity, now in [(b"", "web", 100.0), (b"x", "web", 100.0), (good, "no", 100.0), (good, "web", 1e9)]:
        with pytest.raises(Denied) as error:
            tokens.redeem(token, identity, now)
        said.add(str(error.value))
    assert len(said) == 1


def test_unused_tokens_are_bounded() -> None:
    tokens = Tokens(MemoryStore(), os.urandom)
    tokens._outstanding = MOST
    tokens.issue("web", 1.0)  # what is counted is what is there
    full = Tokens(MemoryStore(), os.urandom)
    full.expire = lambda now: None  # type: ignore[method-assign]
    full._outstanding = MOST
    with pytest.raises(Denied, match="unused"):
        full.issue("web", 1.0)
