"""Calls that are led astray, drip, flood or hang: no other host, a deadline, a cap, an end."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import socketserver
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.child_usage import run_measured
from support.http_server import HEAD, Loopback, Served, bomb, drips, endpoint, floods
from support.machine_load import load_average

from pairuni_eval.cards import JudgeSpec
from pairuni_eval.errors import UserError
from pairuni_eval.judges.judge import JudgeReply, JudgeSetup, Question
from pairuni_eval.judges.openai_compatible import OpenAIJudge
from pairuni_eval.records import Status


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with endpoint(lambda prompt, seen: Served("fine")) as running:
        yield running


def load(url: str, **options: Any) -> OpenAIJudge:
    quick = {"base_url": url, "retries": 0, "backoff_s": 0.0, "concurrency": 1}
    spec = JudgeSpec(name="openai", snapshot="m")
    return OpenAIJudge.load(JudgeSetup(spec, None, quick | options))


def ask(judge: OpenAIJudge, *prompts: str) -> list[JudgeReply]:
    replies = judge.ask([Question(prompt, (), {}) for prompt in prompts])
    return [reply._replace(call=None) for reply in replies]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_fault_of_the_set_up_and_nothing_leaves(
    loopback: Loopback, status: int
) -> None:
    with endpoint(lambda prompt, seen: Served("elsewhere")) as other:
        place = other.url.replace("http://", "http://user:pass@") + "/chat?token=123"
        loopback.plan = lambda prompt, seen: Served(status=status, headers={"Location": place})
        with pytest.raises(UserError) as refused:
            ask(load(loopback.url), "q")
        assert not other.calls
        assert len(loopback.calls) == 1
        message = refused.value.message
        assert f"HTTP {status}: it redirects to {other.url}/chat, and redirects are not" in message
        assert "pass" not in message
        assert "123" not in message


@pytest.mark.parametrize("place", ["http://[bad", "http://[::bad/x", "\xe9://", "http://h:99999/"])
def test_a_redirect_to_what_is_no_address_is_one_too(loopback: Loopback, place: str) -> None:
    loopback.plan = lambda prompt, seen: Served(status=302, headers={"Location": place})
    with pytest.raises(UserError, match="HTTP 302: it redirects to "):
        ask(load(loopback.url), "q")


def test_what_comes_after_a_reply_does_not_begin_the_next_one() -> None:
    """Two replies sent at once to one question: the second question gets a reply of its own."""

    def reply(text: str) -> bytes:
        body = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    class TwoAtOnce(socketserver.StreamRequestHandler):
        asked = 0

        def handle(self) -> None:
            while line := self.rfile.readline():
                length = 0
                while line not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                    line = self.rfile.readline()
                self.rfile.read(length)
                TwoAtOnce.asked += 1
                answer = reply(f"to call {TwoAtOnce.asked}")
                self.wfile.write(answer + reply("to nobody") * (TwoAtOnce.asked == 1))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), TwoAtOnce) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        judge = load(f"http://127.0.0.1:{server.server_address[1]}/v1")
        texts = [ask(judge, prompt)[0].text for prompt in ("first", "second")]
        server.shutdown()
    assert texts == ["to call 1", "to call 2"]


def test_a_packed_reply_is_unpacked(loopback: Loopback) -> None:
    reply = {"choices": [{"message": {"content": "fine"}}]}
    packed = gzip.compress(json.dumps(reply).encode())
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    loopback.plan = lambda prompt, seen: Served(write=floods(head, packed, 1))
    assert ask(load(loopback.url), "q") == [JudgeReply("fine")]
    broken = HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"
    loopback.plan = lambda prompt, seen: (
        Served("fine") if prompt == "p" else Served(write=floods(broken, b"oops", 1))
    )
    failed = JudgeReply("the response is not a chat completion", Status.JUDGE_FAILED)
    assert ask(load(loopback.url), "p", "q") == [JudgeReply("fine"), failed]


def dead_end() -> tuple[socket.socket, str]:
    """An address whose connections are never accepted."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


DRIPS: dict[str, Served] = {
    "body": Served(write=drips(HEAD + b"Content-Length: 999999\r\n\r\n{")),
    "chunks": Served(write=drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")),
    "headers": Served(write=drips(HEAD + b"X-Slow:")),
    "error": Served(write=drips(HEAD.replace(b"200 OK", b"500 No") + b"\r\n")),
}


@pytest.mark.parametrize("where", [*DRIPS, "connection"])
def test_a_deadline_is_kept_wherever_the_call_hangs(loopback: Loopback, where: str) -> None:
    listening, dead = dead_end()
    loopback.plan = lambda prompt, seen: (
        DRIPS.get(where, Served()) if prompt == "q" else Served("p")
    )
    judges = [load(loopback.url if where in DRIPS else dead, timeout_s=1.0) for _ in range(3)]
    usual = load(loopback.url)
    best = []
    for judge in judges:  # a busy machine may be late, a call that is not ended always is
        started = time.monotonic()
        assert ask(judge, "q") == [JudgeReply("no answer within 1 s", Status.JUDGE_FAILED)]
        taken = time.monotonic() - started
        ask(usual, str(taken))  # what a call costs here and now
        best.append(taken - (time.monotonic() - started - taken))
        if best[-1] < 1.2:
            break
    listening.close()
    assert min(best) < 1.2
    (reply,) = judges[0].ask([Question("q", (), {})])  # the same failure, not asked again
    assert reply.call is not None
    assert reply.call.open


MEMORY = """
    import resource, sys
    from pairuni_eval.cards import JudgeSpec
    from pairuni_eval.judges.judge import JudgeSetup, Question
    from pairuni_eval.judges.openai_compatible import OpenAIJudge

    setup = JudgeSetup(JudgeSpec(name="openai", snapshot="m"), None, {"base_url": sys.argv[1]})
    judge = OpenAIJudge.load(setup)
    judge.ask([Question("warm", (), {})])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    verdicts = judge.ask([Question(f"{kind} {n}", (), {}) for n in range(8)
                          for kind in ("bomb", "flood", "error")])
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(after - before, len(verdicts), *sorted({v.text for v in verdicts}), sep="\\n")
"""


def test_a_reply_of_any_size_takes_no_memory(loopback: Loopback) -> None:
    packed = bomb(100)
    flood = floods(HEAD + b"\r\n", b" " * (1 << 20), 100)
    error = floods(HEAD.replace(b"200 OK", b"400 No") + b"\r\n", b" " * (1 << 20), 100)
    plans = {"bomb": packed, "flood": flood, "error": error}
    loopback.plan = lambda prompt, seen: (
        Served("fine") if prompt == "warm" else Served(write=plans[prompt.split()[0]])
    )
    command = [sys.executable, "-c", textwrap.dedent(MEMORY), loopback.url]
    # Started by this process, it would begin with the most that this one ever held.
    grown, count, *texts = run_measured(command, timeout=300).out.splitlines()
    assert int(grown) < 50 * 1024  # kilobytes
    assert count == "24"
    assert texts == ["HTTP 400", "the response is larger than 1 MiB"]
    assert len(loopback.calls) == 25


HANGING = """
    import sys, threading
    from pairuni_eval.cards import JudgeSpec
    from pairuni_eval.judges.judge import JudgeSetup, Question
    from pairuni_eval.judges.openai_compatible import OpenAIJudge

    options = {"base_url": sys.argv[1], "concurrency": 64, "timeout_s": 300.0}
    judge = OpenAIJudge.load(JudgeSetup(JudgeSpec(name="openai", snapshot="m"), None, options))
    try:
        print("asking", flush=True)
        judge.ask([Question(f"{n}", (), {}) for n in range(100)])
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("where", ["served", "connection"])
def test_an_interruption_ends_sixty_four_hanging_calls(
    loopback: Loopback, tmp_path: Path, where: str
) -> None:
    listening, dead = dead_end()
    ways = list(DRIPS.values())
    loopback.plan = lambda prompt, seen: ways[int(prompt) % len(ways)]
    url = loopback.url if where == "served" else dead
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HANGING), url],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"asking\n"
    if where == "served":
        until(lambda: len(loopback.calls) == 64)
    started = time.monotonic()
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 130
    listening.close()
    # Two seconds on a machine that has them: a busy one has given others the rest.
    assert time.monotonic() - started < 2 * max(1.0, load_average())


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_proxy_that_is_not_there_is_named(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "all_proxy", "no_proxy", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://user:pass@127.0.0.1:9")
    assert ask(load(loopback.url), "q") == [JudgeReply("fine")]  # this machine needs none
    (verdict,) = ask(load("http://judge.invalid/v1"), "q")
    assert verdict.text == "no connection through the proxy http://127.0.0.1:9 of HTTP_PROXY"
    monkeypatch.setenv("HTTP_PROXY", "socks://127.0.0.1:9")
    with pytest.raises(UserError, match="HTTP_PROXY names the proxy"):
        load("http://judge.invalid/v1")
