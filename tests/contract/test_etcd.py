"""What a store on a real etcd promises when etcd, or the way to it, does not: nothing lost, nothing made up, no stall."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gossamer.kit.etcd.client import Place
from gossamer.ports import Conflict, Entry, Unavailable, Write
from gossamer.standalone.etcd import session
from gossamer.standalone.etcd import store as module
from gossamer.standalone.etcd.mirror import News
from gossamer.standalone.etcd.store import EtcdLeadership, EtcdStore
from gossamer.standalone.etcd.writer import NotLeading
from tests.contract.conftest import etcd_store
from tests.etcd import Cluster, running
from tests.link import Link

# What a person would call "at once" on a busy machine; a stall would last for seconds.
AT_ONCE = 1.0


def eventually(what: str, probe: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def values(store: EtcdStore) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in store.scan("")}


@contextmanager
def opened(cluster: Cluster, prefix: str, *replicas: str) -> Iterator[list[EtcdStore]]:
    stores = [etcd_store(cluster, prefix, replica) for replica in replicas]
    try:
        yield stores
    finally:
        for one in stores:
            one.close()


@contextmanager
def behind_a_link(cluster: Cluster, prefix: str) -> Iterator[tuple[EtcdStore, Link]]:
    link = Link(cluster.members[0].port)
    store = EtcdStore(Place((("127.0.0.1", link.port),)), prefix, "linked", "etcd://link")
    try:
        yield store, link
    finally:
        link.mend()
        store.close()
        link.close()


def test_what_one_replica_commits_the_others_hear(cluster: Cluster) -> None:
    with opened(cluster, "hear", "a", "b") as (a, b):
        heard: list[News] = []
        b.subscribe(heard.extend)
        a.commit([Write("x", b"1")])
        a.commit([Write("x", b"2"), Write("y", b"3")])
        a.commit([Write("x", None)])
        eventually("b has heard", lambda: b.read("x") is None and b.read("y") is not None)
        assert [(one.key, one.value) for one in heard] == [("x", b"1"), ("x", b"2"), ("y", b"3"), ("x", None)]
        assert a.scan("") == b.scan("")
        own: list[News] = []
        b.subscribe(own.extend)
        b.commit([Write("z", b"")])
        eventually("a has heard", lambda: a.read("z"))
        assert own == [], "what one commits itself is not told"


def test_of_two_replicas_that_swap_one_value_each_success_counts_once(cluster: Cluster) -> None:
    with opened(cluster, "swap", "a", "b") as stores:
        stores[0].commit([Write("n", b"0")])
        eventually("b knows", lambda: stores[1].read("n"))

        def count(store: EtcdStore) -> None:
            done = 0
            while done < 40:
                held = store.read("n")
                assert held is not None
                try:
                    store.commit([Write("n", b"%d" % (int(held.value) + 1), held.version)])
                    done += 1
                except Conflict:
                    continue

        threads = [threading.Thread(target=count, args=(one,)) for one in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        eventually("both agree", lambda: stores[0].read("n") == stores[1].read("n"))
        assert values(stores[0]) == {"n": b"80"}


def test_a_conflict_teaches_what_is_there(cluster: Cluster) -> None:
    with opened(cluster, "teach", "a") as (a,), behind_a_link(cluster, "teach") as (b, _):
        a.commit([Write("x", b"1")])
        with pytest.raises(Conflict):
            b.commit([Write("x", b"2", expected=0)])
        assert b.read("x") == a.read("x")


def test_an_answer_that_is_lost_is_found_out(cluster: Cluster) -> None:
    with behind_a_link(cluster, "lost") as (store, link):
        for number in range(5):
            link.lose_next_answer()
            store.commit([Write("n", b"%d" % number)])
            assert values(store) == {"n": b"%d" % number}


def test_a_request_that_was_never_delivered_never_happens(cluster: Cluster) -> None:
    with behind_a_link(cluster, "held") as (store, link), opened(cluster, "held", "other") as (other,):
        link.hold(requests=True)
        with pytest.raises(Unavailable, match="does not take changes now"):
            store.commit([Write("phantom", b"1")])
        link.release()
        eventually("changes are taken again", lambda: store.problem() is None)
        store.commit([Write("real", b"1")])
        eventually("the other has heard", lambda: other.read("real"))
        assert values(other) == values(store) == {"real": b"1"}


def test_what_was_reported_as_not_done_and_happened_is_undone(cluster: Cluster) -> None:
    with behind_a_link(cluster, "undone") as (store, link), opened(cluster, "undone", "other") as (other,):
        store.commit([Write("old", b"before"), Write("gone", b"kept")])
        link.hold(answers=True)
        with pytest.raises(Unavailable):
            store.commit([Write("old", b"after"), Write("new", b"1", expected=0), Write("gone", None)])
        eventually("it happened", lambda: other.read("new"))
        link.release()
        eventually("changes are taken again", lambda: store.problem() is None)
        eventually("it is undone", lambda: values(other) == {"old": b"before", "gone": b"kept"})
        eventually("and known to be", lambda: values(store) == values(other))


def test_what_others_have_built_on_is_not_undone(cluster: Cluster) -> None:
    with behind_a_link(cluster, "built") as (store, link), opened(cluster, "built", "other") as (other,):
        link.hold(answers=True)
        with pytest.raises(Unavailable):
            store.commit([Write("a", b"1")])
        eventually("it happened", lambda: other.read("a"))
        other.commit([Write("a", b"2")])
        link.release()
        eventually("changes are taken again", lambda: store.problem() is None)
        eventually("both agree", lambda: values(store) == values(other) == {"a": b"2"})


def test_a_frozen_etcd_holds_nobody_up_twice() -> None:
    with running() as cluster, opened(cluster, "frozen", "a") as (store,):
        store.commit([Write("x", b"1")])
        cluster.members[0].stop()
        try:
            took = []
            for _ in range(5):
                began = time.monotonic()
                with pytest.raises(Unavailable, match="what is known goes on being served"):
                    store.commit([Write("x", b"2")])
                took.append(time.monotonic() - began)
            assert took[0] < module.DEADLINE + AT_ONCE
            assert max(took[1:]) < AT_ONCE
            assert values(store) == {"x": b"1"}
        finally:
            cluster.members[0].go_on()
        eventually("changes are taken again", lambda: store.problem() is None)
        store.commit([Write("x", b"3")])
        assert values(store) == {"x": b"3"}


def test_history_that_was_compacted_is_read_anew(cluster: Cluster) -> None:
    with behind_a_link(cluster, "compacted") as (store, link), opened(cluster, "compacted", "other") as (other,):
        heard: list[News] = []
        other.commit([Write("kept", b"1"), Write("removed", b"1")])
        eventually("it is known", lambda: store.read("removed"))
        store.subscribe(heard.extend)
        link.cut()
        for number in range(5):
            other.commit([Write("kept", b"%d" % number), Write(f"n/{number}", b"")])
        other.commit([Write("removed", None)])
        compact(cluster, other)
        link.mend()
        eventually("everything is known", lambda: store.scan("") == other.scan(""))
        assert {(one.key, one.value) for one in heard} == {
            ("kept", b"4"),
            ("removed", None),
            *((f"n/{number}", b"") for number in range(5)),
        }


def test_a_watch_that_says_nothing_is_taken_for_dead(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE", 1.5)
    monkeypatch.setattr(session, "PULSE", 0.3)
    with behind_a_link(cluster, "silent") as (store, link), opened(cluster, "silent", "other") as (other,):
        link.hold(answers=True)
        other.commit([Write("x", b"1")])
        time.sleep(0.5)
        assert store.read("x") is None
        # The old connections stay held up; those made from here on are well.
        held, link._answers = link._answers, threading.Event()
        link._answers.set()
        try:
            eventually("it is heard of", lambda: store.read("x"))
        finally:
            held.set()


def test_an_etcd_that_lost_its_data_ends_the_store_with_one_line() -> None:
    with running() as cluster:
        store = etcd_store(cluster, "wiped")
        try:
            for _ in range(5):
                store.commit([Write("x", b"1")])
            ended = threading.Event()
            store.on_death = ended.set
            cluster.members[0].kill()
            import shutil

            shutil.rmtree(cluster.folder / cluster.members[0].name)
            cluster.start()
            assert ended.wait(20), "it goes on as if nothing had happened"
            with pytest.raises(Unavailable, match="went back from revision"):
                store.check()
        finally:
            store.close()


def test_a_store_of_a_newer_gossamer_is_refused(cluster: Cluster) -> None:
    with opened(cluster, "newer", "a"):
        pass
    put(cluster, b"newer/s/schema", b"99")
    with pytest.raises(Unavailable, match="newer Gossamer"):
        etcd_store(cluster, "newer")


def test_an_etcd_that_is_not_there_is_said_in_one_line() -> None:
    with pytest.raises(Unavailable) as refused:
        EtcdStore(Place((("127.0.0.1", 9),)), "x", "a", "etcd://127.0.0.1:9")
    assert str(refused.value) == "etcd://127.0.0.1:9: 127.0.0.1:9: Connection refused"


def test_what_is_no_etcd_is_said_in_one_line() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(Unavailable, match="HTTP 501 without JSON; is this etcd") as refused:
                EtcdStore(Place((("127.0.0.1", server.server_port),)), "x", "a", "etcd://here")
            assert "\n" not in str(refused.value)
        finally:
            server.shutdown()


def test_two_processes_under_one_replicas_name_do_not_overwrite_each_other(cluster: Cluster) -> None:
    with opened(cluster, "twins", "same", "same") as (first, second):
        second.commit([Write("x", b"2")])
        with pytest.raises(Unavailable, match="a state folder of its own"):
            first.commit([Write("x", b"1")])
        assert values(second) == {"x": b"2"}


def test_one_replica_leads_and_another_when_it_has_gone(cluster: Cluster) -> None:
    with opened(cluster, "lead", "a", "b", "c") as stores:
        for one in stores:
            one.announce({}, candidate=True)
        eventually("one leads", lambda: sum(one.leads() for one in stores) == 1)
        first = next(one for one in stores if one.leads())
        EtcdLeadership(first).store.commit([Write("x", b"1")])
        for one in stores:
            if one is not first:
                with pytest.raises(NotLeading):
                    EtcdLeadership(one).store.commit([Write("x", b"2")])
        first.close()
        rest = [one for one in stores if one is not first]
        eventually("another leads", lambda: sum(one.leads() for one in rest) == 1, 5.0)
        second = next(name for name, one in zip("abc", stores, strict=True) if one in rest and one.leads())
        eventually("everybody knows", lambda: [one.leader() for one in rest] == [second, second])


def test_a_leader_that_is_cut_off_stops_before_another_begins(cluster: Cluster) -> None:
    with behind_a_link(cluster, "cut") as (first, link), opened(cluster, "cut", "second") as (second,):
        first.announce({}, candidate=True)
        eventually("the first leads", first.leads)
        second.announce({}, candidate=True)
        leader = EtcdLeadership(first)
        link.cut()
        both, began = 0, time.monotonic()
        while not second.leads():
            both += first.leads() and second.leads()
            assert time.monotonic() - began < 15.0, "fail-over takes longer than 15 s"
            time.sleep(0.01)
        assert both == 0
        assert not first.leads()
        link.mend()
        eventually("the first is back", lambda: first.problem() is None)
        with pytest.raises(NotLeading):
            leader.store.commit([Write("x", b"by the first")])
        EtcdLeadership(second).store.commit([Write("x", b"by the second")])
        assert values(second) == {"x": b"by the second"}


def test_a_leaders_commit_fails_when_its_key_was_taken_behind_its_back(cluster: Cluster) -> None:
    """As for a process that was stopped between its look at the clock and its commit."""
    with opened(cluster, "fence", "a", "b") as (a, b):
        a.announce({}, candidate=True)
        eventually("a leads", a.leads)
        guard = a.guard()
        delete(cluster, b"fence/s/leader")
        with pytest.raises(NotLeading):
            a.commit_while([Write("x", b"1")], (guard,))
        assert a.scan("") == [] == b.scan("")


def test_replicas_know_of_each_other_while_they_live(cluster: Cluster) -> None:
    with opened(cluster, "alive", "a", "b") as (a, b):
        a.announce({"node": "one"}, candidate=False)
        b.announce({"node": "two"}, candidate=False)
        eventually("both are known", lambda: a.alive() == b.alive() == {"a": {"node": "one"}, "b": {"node": "two"}})
        b.close()
        eventually("b has gone", lambda: set(a.alive()) == {"a"})


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_made_up_while_members_of_etcd_are_killed() -> None:
    """Acknowledged: there. Refused: not there. Whoever of the three is killed, the leader too, again and again."""
    with running(3) as cluster, opened(cluster, "kills", "a", "b") as (a, b):
        said: dict[str, bool] = {}
        stopping = threading.Event()

        def write() -> None:
            number = 0
            while not stopping.is_set():
                key = f"n/{number:06}"
                try:
                    a.commit([Write(key, b"x", expected=0)])
                    said[key] = True
                except Unavailable:
                    said[key] = False
                    time.sleep(0.02)
                number += 1

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(3):
                before = sum(said.values())
                leader = cluster.leader()
                assert leader is not None
                leader.kill()
                eventually("a majority goes on", lambda before=before: sum(said.values()) > before + 20, 60)
                leader.start()
                cluster.wait()
        finally:
            stopping.set()
            thread.join(30)
        eventually("everything is found out about", lambda: a.problem() is None)
        there = {key for key, done in said.items() if done}
        eventually("b knows what a was told", lambda: set(values(b)) == there)
        assert set(values(a)) == there
        assert len(there) > 60


# --- etcd by hand -----------------------------------------------------------------------------------------------------


def call(cluster: Cluster, path: str, **asked: str) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{cluster.members[0].port}{path}", json.dumps(asked).encode(), method="POST"
    )
    urllib.request.urlopen(request, timeout=5).close()


def put(cluster: Cluster, key: bytes, value: bytes) -> None:
    call(cluster, "/v3/kv/put", key=b64encode(key).decode(), value=b64encode(value).decode())


def delete(cluster: Cluster, key: bytes) -> None:
    call(cluster, "/v3/kv/deleterange", key=b64encode(key).decode())


def compact(cluster: Cluster, store: EtcdStore) -> None:
    newest: Entry = max(store.scan(""), key=lambda entry: entry.version)
    call(cluster, "/v3/kv/compaction", revision=str(newest.version))
