"""The worker with real child processes: one after the other, two at once, misused, and given rubbish."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from DeepLargeDeformRegLib.worker import process, protocol
from DeepLargeDeformRegLib.worker.client import WorkerState

from Testing.patience import allowed

from .conftest import REPOSITORY, Desk, process_lives

MakeDesk = Callable[..., Desk]


def memory_and_handles(identifier: int) -> tuple[int, int]:
    """Resident bytes and open file descriptors of a process."""
    pages = int(Path(f"/proc/{identifier}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), sum(1 for _ in Path(f"/proc/{identifier}/fd").iterdir())


def test_says_hello_before_the_engine_is_there(desk: MakeDesk) -> None:
    one = desk(DLDR_TEST_LOAD="1.5")
    one.client.start()
    one.wait_state(WorkerState.WARMING)
    hello = one.client.hello
    assert hello is not None
    assert hello.protocol == protocol.PROTOCOL_VERSION
    assert hello.python == ".".join(str(part) for part in sys.version_info[:3])
    assert one.client.engine is None
    one.wait_state(WorkerState.READY)
    assert one.client.engine is not None
    assert one.client.engine.devices[0]["name"] == "cpu"


def test_a_job_waits_for_the_engine_and_the_second_finds_it_warm(desk: MakeDesk) -> None:
    one = desk(DLDR_TEST_LOAD="0.3")
    first, second = one.do("echo"), one.do("echo")
    assert second["process"] == first["process"]
    assert first["loaded"] == second["loaded"] == 1


def test_200_jobs_in_a_row_without_growth(desk: MakeDesk, tmp_path: Path) -> None:
    one = desk()
    after_20 = (0, 0)
    for number in range(200):
        one.do("fill", bytes=4 * 2**20, output_volume=str(tmp_path / "out.bin"))
        if number == 20:
            assert one.client.hello is not None
            after_20 = memory_and_handles(one.client.hello.process)
            own_handles = sum(1 for _ in Path("/proc/self/fd").iterdir())
    assert one.client.hello is not None
    memory, handles = memory_and_handles(one.client.hello.process)
    assert len(one.transports) == 1
    # The volume of each job, left behind, would be 720 MB; the allocator itself may keep some blocks more or less.
    assert memory < after_20[0] + 100 * 2**20
    assert handles == after_20[1]
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == own_handles


def test_two_clients_at_once(desk: MakeDesk) -> None:
    desks = [desk(), desk()]
    jobs = [[one.submit("echo", who=number, turn=turn) for turn in range(20)] for number, one in enumerate(desks)]
    for number, one in enumerate(desks):
        one.wait(lambda one=one: len(one.results) == 20)
        got = [one.results[job].metrics for job in jobs[number]]
        assert [metrics["payload"] for metrics in got] == [{"who": number, "turn": turn} for turn in range(20)]
    assert desks[0].client.hello.process != desks[1].client.hello.process


def test_a_flood_of_progress_is_thinned_and_only_grows(desk: MakeDesk) -> None:
    one = desk()
    assert one.do("flood", count=200_000) == {"count": 200_000}
    fractions = [event.fraction for event in one.progress]
    assert fractions == sorted(fractions)
    assert len(fractions) < 200
    one.progress.clear()
    one.do("flood", count=20_000, alternate=True)
    assert len(one.progress) == 20_000


def test_progress_tells_stage_message_and_seconds_to_go(desk: MakeDesk) -> None:
    one = desk()
    one.do("stages", seconds=0.2)
    assert [event.stage for event in one.progress][-1] == "write"
    assert one.progress[0].message == "Stage read"
    known = [(event.fraction, event.eta_seconds) for event in one.progress if event.eta_seconds is not None]
    assert known[0][1] > known[-1][1] > 0
    # One of eight stages is left of what were seven or more; the server's pace is told by test_remaining_time.
    assert known[-1][1] < 0.5 * known[0][1]


def test_what_libraries_print_does_not_reach_the_protocol(desk: MakeDesk) -> None:
    one = desk()
    assert one.do("shout") == {"stdin": ""}
    one.do("echo")
    log = "\n".join(one.log)
    assert "a library prints" in log
    assert "a child prints" in log
    assert "not a message" not in log


def test_garbage_in_the_protocol_itself_costs_nothing_but_a_line_in_the_log(desk: MakeDesk) -> None:
    """A native library may have kept the real stdout from before the worker took it away."""
    one = desk()
    assert one.do("mumble") == {"lines": 3}
    assert one.log.count("[not a message: not JSON]") == 2
    assert "[not a message: a message of an unknown type]" in one.log


def test_a_message_that_a_death_cuts_off_is_no_message(desk: MakeDesk) -> None:
    one = desk()
    error = one.error(one.submit("half_message"))
    assert error.kind == "worker_killed"
    assert "the stream ended within a line" in error.detail
    one.do("echo")


def test_10_megabytes_of_non_ascii_payload(desk: MakeDesk, tmp_path: Path) -> None:
    one = desk()
    payload = {"name": "Läsion 肝臓 \udc80" * 600_000, "fixed": str(tmp_path / "größe mit leer 肝.nrrd")}
    assert one.do("echo", timeout=60, **payload)["payload"] == payload


def test_a_folder_with_spaces_and_non_ascii_characters(desk: MakeDesk, tmp_path: Path) -> None:
    folder = tmp_path / "Jörg's größe 肝 folder"
    folder.mkdir()
    job = (one := desk()).submit("fill", bytes=1000, output_volume=str(folder / "wärped volume.nrrd"))
    one.wait(lambda: job in one.results)
    assert Path(one.results[job].files["output_volume"]).stat().st_size == 1000


def test_numbers_that_json_cannot_write_become_null(desk: MakeDesk) -> None:
    assert desk().do("not_a_number") == {"dice": None, "tre_mm": [1.0, None]}


@pytest.mark.parametrize(
    ("error", "kind"),
    [("bad_input", "bad_input"), ("disk", "output"), ("memory", "out_of_memory"), ("other", "failed")],
)
def test_errors_have_a_kind_and_tell_no_names(desk: MakeDesk, error: str, kind: str) -> None:
    one = desk()
    told = one.error(one.submit("raise_error", error=error, fixed="/data/Doe^John 1950/Doe_John.nrrd"))
    assert told.kind == kind
    assert told.message.endswith(".")
    one.do("echo")
    assert "Doe" not in told.detail + told.message + "\n".join(one.log)


def test_an_unknown_kind_of_job_is_refused(desk: MakeDesk) -> None:
    one = desk()
    assert one.error(one.submit("dance")).kind == "unknown_job"


def test_memory_is_released_after_idling_and_the_next_job_works(desk: MakeDesk) -> None:
    one = desk("--idle-seconds", "0.3")
    before = one.do("echo")["released"]  # not 0 where the first job was late
    one.wait(lambda: sum("released" in line for line in one.log) > before)
    one.wait(lambda: one.client.state is WorkerState.READY)
    assert one.do("echo")["released"] > before


def start_server() -> subprocess.Popen[bytes]:
    environment = process.server_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), environment["PYTHONPATH"]])
    return subprocess.Popen(
        process.server_command(None, "--jobs", "Testing.worker.faulty_jobs"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
    )


def test_survives_rubbish_and_ends_at_a_truncated_message() -> None:
    wrong = json.dumps({"type": "request", "job": 1}).encode()
    request = protocol.Request("1", "echo", {}).encode()
    with start_server() as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(b"\n".join([b"\xff\xfe\x00", b"{}", b"[1]", wrong, b"x" * 10**6, request]))
        server.stdin.flush()
        answers = [protocol.Message.from_json(json.loads(line)) for line in read_until(server.stdout, b'"result"')]
        assert [answer.job for answer in answers if isinstance(answer, protocol.Result)] == ["1"]
        _, log = server.communicate(request[:20], timeout=60)
    assert server.returncode == -signal.SIGKILL  # itself and what it started: no client is there to do so
    assert log.count(b"not a message") == 5


def read_until(stream: IO[bytes], word: bytes) -> Iterator[bytes]:
    """Lines up to the first that holds a word."""
    for line in stream:
        yield line
        if word in line:
            return


@pytest.mark.parametrize("pipe", ["stays open", "closes"])
def test_ends_with_its_parent_and_ends_what_it_started(pipe: str, tmp_path: Path) -> None:
    """The parent is killed while a job runs that does not obey; a third process may hold the pipe's end."""
    script = f"""
import subprocess, sys, time
sys.path[:0] = [{str(REPOSITORY)!r}, {str(REPOSITORY / "DeepLargeDeformReg")!r}]
from DeepLargeDeformRegLib.worker import job_folder, process, protocol
from Testing.worker.test_server import start_server
server = start_server()
folder = job_folder.JobFolder({str(tmp_path)!r})
server.stdin.write(protocol.Request("1", "with_child", {{}}, str(folder.path)).encode())
server.stdin.flush()
decoder = protocol.Decoder()
told = []
while not told:
    told = [m for m in decoder.feed(server.stdout.readline()) if isinstance(m, protocol.Progress)]
held = [server.stdin.fileno()] if {pipe == "stays open"} else []
keeper = subprocess.Popen(["sleep", "60"], pass_fds=held, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(server.pid, told[0].message, keeper.pid, folder.path, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker, child, keeper, folder = parent.stdout.readline().split(maxsplit=3)
    assert process_lives(int(worker))
    assert process_lives(int(child))
    assert Path(folder.strip()).is_dir()
    parent.kill()
    parent.communicate()
    end = time.monotonic() + allowed(2.0)
    while (process_lives(int(worker)) or process_lives(int(child))) and time.monotonic() < end:
        time.sleep(0.05)
    try:
        assert not process_lives(int(worker))
        assert not process_lives(int(child))
        assert not Path(folder.strip()).exists()
    finally:
        process.kill_process_tree(int(keeper))
