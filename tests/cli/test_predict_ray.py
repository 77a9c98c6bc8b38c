"""`vqa predict --engine ray`: workers of a Ray cluster write what one process writes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from threading import Event

import psutil
import pytest
from PIL import Image

from tests import tiny
from tests.cli.run import ROOT, environment, refused, vqa, vqa_here
from tests.evaluation.colors import Colors, photo, read
from tests.machines import two_machines
from tests.remote.endpoint import serving
from vqa.answering import Answer, Request, SamplingParams
from vqa.data.example import Example
from vqa.errors import InputError, VQAError
from vqa.evaluation.predicting import predict
from vqa.evaluation.ray_cluster import WorkerShare, share_out
from vqa.evaluation.ray_workers import ray_workers

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="needs the extra ray: pip install -e '.[dev,ray]'"
)
_RAY = ["--engine", "ray", "--workers", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and sixty rows about thirty pictures, one of which is none."""
    folder = tmp_path_factory.mktemp("ray")
    tiny.llava_1_5(folder / "model")
    rows = []
    for index in range(30):
        Image.new("RGB", (30, 30), (index * 8, 0, 255)).save(folder / f"{index}.png")
        for number, question in enumerate(("What colour is it?", f"Is it {index}?")):
            row = {"id": 2 * index + number, "image": f"{index}.png", "question": question}
            rows.append(row)
    (folder / "7.png").write_text("no picture")
    lines = [json.dumps(row) for row in rows] + ['{"id": "bad", "image": "1.png"}']
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def command(folder: Path) -> list[str]:
    command = ["predict", "--data", str(folder / "rows.jsonl"), "--model", str(folder / "model")]
    return [*command, "--batch-size", "2", "--max-new-tokens", "24", "--device", "cpu"]


@pytest.fixture(scope="module")
def whole(folder: Path, command: list[str]) -> Path:
    """What one process has written."""
    done = vqa(*command, "--out", folder / "whole.jsonl")
    assert "58 answered, 3 errors" in done.stderr and done.returncode == 1
    return folder / "whole.jsonl"


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where Ray keeps its sockets, whose paths must be short."""
    path = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def start(command: Sequence[str | Path], temporary: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vqa", *map(str, command)],
        env=environment({"TMPDIR": str(temporary)}),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for_rows(process: subprocess.Popen[str], out: Path, rows: int) -> list[psutil.Process]:
    """Wait until so many rows are written; return the processes that Ray has started."""
    while not out.exists() or out.read_bytes().count(b"\n") < rows:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.slow
@needs_ray
def test_two_workers_write_the_file_of_one_process(
    command: list[str], whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "p.jsonl"
    done = vqa(*command, *_RAY, "--out", out)
    assert done.returncode == 1 and "58 answered, 3 errors" in done.stderr
    assert done.stderr.count("\n") == 3, done.stderr  # the bad row, the counts, the end
    assert out.read_bytes() == whole.read_bytes()
    assert Path(f"{out}.run.json").read_bytes() == Path(f"{whole}.run.json").read_bytes()
    again = vqa(*command, "--out", out)  # in this process
    assert "0 answered, 58 " in again.stderr


@pytest.mark.slow
@needs_ray
def test_two_thousand_rows_killed_twice_are_the_rows_of_an_unbroken_run(
    folder: Path, tmp_path: Path, temporary: Path
) -> None:
    rows = folder / "many.jsonl"
    pictures = (f"{index % 30}.png" for index in range(2000))
    lines = [
        json.dumps({"id": index, "image": picture, "question": f"Is it {index}?"})
        for index, picture in enumerate(pictures)
    ]
    rows.write_text("\n".join(lines) + "\n")
    command = ["predict", "--data", str(rows), "--model", str(folder / "model")]
    command += ["--batch-size", "8", "--max-new-tokens", "6", "--device", "cpu"]
    whole, out = tmp_path / "whole.jsonl", tmp_path / "p.jsonl"
    assert "1933 answered, 67 errors" in vqa(*command, "--out", whole).stderr
    arguments = [*command, *_RAY, "--out", out]
    for rows_before in (300, 1200):
        process = start(arguments, temporary)
        started = wait_for_rows(process, out, rows_before)
        process.kill()
        process.communicate()
        assert rows_before <= len(read(out)) < 2000
        # Ray's processes end with it, two of them a minute after their cluster
        assert psutil.wait_procs(started, timeout=120)[1] == []
    done = vqa(*arguments)
    assert " from before, 67 errors" in done.stderr
    expected, resumed = (sorted(path.read_bytes().splitlines()) for path in (whole, out))
    assert resumed == expected
    keys = [row["id"] for row in read(whole) if "error" not in row]
    assert [row["id"] for row in read(out) if "error" not in row] == keys


@pytest.mark.slow
@needs_ray
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(
    number: signal.Signals, command: list[str], tmp_path: Path, temporary: Path
) -> None:
    out = tmp_path / "p.jsonl"
    process = start([*command, *_RAY, "--out", out], temporary)
    started = wait_for_rows(process, out, 8)
    # nothing that Ray has started listens to another machine
    listening = [
        connection.laddr.ip.removeprefix("::ffff:")
        for each in started
        if each.is_running()
        for connection in each.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening and all(ip_address(address).is_loopback for address in listening)
    if number == signal.SIGINT:  # as a terminal sends it, to all processes
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    name = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}[number]
    assert f"stopped by {name} ({out} keeps what is done" in error.splitlines()[-1]
    assert "Traceback" not in error
    assert psutil.wait_procs(started, timeout=60)[1] == []
    assert list(temporary.glob("vqa-ray-*")) == []


class Mortal(Colors):
    """Ends its process at the word `die`, as often as there are files to remove."""

    def __init__(self, lives: Path) -> None:
        super().__init__()
        self.lives = lives

    def answer(self, requests: Sequence[Request], cancel: Event | None = None) -> list[Answer]:
        lives = list(self.lives.iterdir())
        if lives and any(request.messages[-1].text == "die" for request in requests):
            lives[0].unlink()
            os._exit(1)
        return super().answer(requests)


def load_mortal(lives: Path) -> tuple[Mortal, str, str]:
    return Mortal(lives), "m", "float32"


@pytest.mark.slow
@needs_ray
def test_a_worker_that_dies_has_its_rows_answered_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.chdir(tmp_path)
    picture = photo(tmp_path / "red.png", "red")
    examples = [
        Example(key, (picture,), "die" if key == 5 else "forbidden" if key == 9 else f"q{key}", ())
        for key in range(24)
    ]
    settings = SamplingParams(max_new_tokens=8)
    lives = tmp_path / "lives"
    lives.mkdir()
    alone, together = tmp_path / "alone.jsonl", tmp_path / "together.jsonl"
    predict(Mortal(lives), examples, alone, settings, identity="m", batch_size=2)
    assert [row["id"] for row in read(alone) if "error" in row] == [9]
    notices: list[str] = []
    load = partial(load_mortal, lives)
    with ray_workers(load, workers=2, needed=Path("red.png"), notice=notices.append) as pool:
        go = partial(predict, pool, examples, settings=settings, identity="m", batch_size=2)
        (lives / "0").touch()
        counts = go(together)
        assert (counts.answered, counts.errors) == (23, 1)
        assert together.read_bytes() == alone.read_bytes()
        assert len(notices) == 1 and "a worker has died" in notices[0]
        for life in range(9):
            (lives / str(life)).touch()
        with pytest.raises(VQAError, match="3 workers have died at the rows from 5 on"):
            go(tmp_path / "never.jsonl")
        assert len(list(lives.iterdir())) == 6
    with (
        pytest.raises(InputError, match=r"none\.png is not there on .*all machines need the same"),
        ray_workers(load, workers=1, needed=Path("none.png")),
    ):
        pass


@pytest.mark.slow
@needs_ray
def test_a_worker_on_each_of_two_machines(
    command: list[str], whole: Path, tmp_path: Path, temporary: Path
) -> None:
    out = tmp_path / "p.jsonl"
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1"]
    ray += ["--disable-usage-stats", "--object-store-memory", str(100 << 20)]
    with two_machines() as (one, two):
        head = [*ray, "--head", "--port", "6379", "--include-dashboard", "false"]
        head += ["--node-ip-address", one.address, "--temp-dir", str(temporary)]
        address = f"{one.address}:6379"
        member = [*ray, "--address", address, "--node-ip-address", two.address]
        machines = [one.start(head)]
        try:
            time.sleep(5)  # a member only tries for a while
            machines.append(two.start(member))
            predicting = [sys.executable, "-m", "vqa", *command, "--out", str(out)]
            time.sleep(10)
            process = one.start([*predicting, "--engine", "ray"], {"RAY_ADDRESS": address})
            workers: set[int] = set()
            while process.poll() is None:
                workers |= {n for n, machine in enumerate(machines) if has_worker(machine.pid)}
                time.sleep(0.05)
            error = process.communicate()[1]
        finally:
            for machine in machines:
                machine.terminate()
            for machine in machines:
                machine.communicate(timeout=60)
    assert process.returncode == 1 and "58 answered, 3 errors" in error, error
    assert workers == {0, 1}
    assert out.read_bytes() == whole.read_bytes()


def has_worker(pid: int) -> bool:
    try:
        children = psutil.Process(pid).children(recursive=True)
        return any("ray::RayWorker" in " ".join(child.cmdline()) for child in children)
    except psutil.Error:
        return False


@pytest.mark.slow
@needs_ray
def test_workers_ask_an_endpoint(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    with serving() as server:
        command = ["predict", "--data", str(folder / "rows.jsonl"), "--backend", "openai"]
        command += ["--base-url", server.url, "--batch-size", "8", "--max-errors", "3"]
        done = vqa(*command, *_RAY, "--out", out, extra={"OPENAI_API_KEY": "a-key"})
        assert done.returncode == 0, done.stderr
        headers = [each for each in server.request_headers if "Authorization" in each]
        assert headers and {each["Authorization"] for each in headers} == {"Bearer a-key"}
    answers = {row["id"]: row["prediction"] for row in read(out) if "error" not in row}
    assert len(answers) == 58 and answers[3].startswith("Is it 1?")


@pytest.mark.slow
@needs_ray
def test_a_model_that_is_none_and_a_cluster_that_is_none(folder: Path, tmp_path: Path) -> None:
    common = ["predict", "--data", folder / "rows.jsonl", "--out", tmp_path / "p.jsonl"]
    wrong = vqa(*common, "--model", tmp_path, *_RAY)
    assert wrong.returncode == 2 and str(tmp_path) in wrong.stderr
    began = time.monotonic()
    for address in ("127.0.0.1:9", "127.0.0.1:65536", "nowhere.invalid:6379"):
        command = [*common, "--model", folder / "model", "--engine", "ray"]
        wrong = vqa(*command, "--ray-address", address)
        assert wrong.returncode == 2, wrong.stderr
        assert f"--ray-address {address}: no such cluster" in wrong.stderr.splitlines()[-1]
    assert time.monotonic() - began < 60
    assert not (tmp_path / "p.jsonl").exists()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    photo(tmp_path / "red.png", "red")
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1, "image": "red.png", "question": "What?"}\n')
    return path


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--engine", "ray"], "--engine ray needs ray: pip install 'vqa[ray]'"),
        (["--workers", "2"], "--workers and --ray-address are for --engine ray"),
        (["--engine", "ray", "--device", "cuda:1"], "a worker of --engine ray has one GPU"),
        (["--engine", "ray", "--ray-address", "ray://x:1"], "--ray-address ray://x:1: give HOST"),
        (["--engine", "ray", "--ray-address", "10.0.0.1"], "--ray-address 10.0.0.1: give HOST"),
        (["--engine", "ray", "--ray-address", "here:port"], "--ray-address here:port: give HOST"),
    ],
)
def test_without_ray_or_with_wrong_options_it_is_one_line_and_2(
    arguments: list[str],
    problem: str,
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "")
    out = tmp_path / "p.jsonl"
    done = vqa_here(capsys, "predict", "--data", rows, "--out", out, *arguments)
    assert problem in refused(done)
    assert not out.exists()


def node(cpus: float, gpus: float = 0, alive: bool = True) -> dict[str, object]:
    return {"Alive": alive, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "share"),
    [
        ([node(16)], None, True, WorkerShare(1, 16, 0)),
        ([node(16)], 4, True, WorkerShare(4, 4, 0)),
        ([node(8), node(4), node(64, alive=False)], None, True, WorkerShare(2, 4, 0)),
        ([node(8), node(4)], 3, True, WorkerShare(3, 2, 0)),
        ([node(1), node(7)], 8, True, WorkerShare(8, 1, 0)),
        ([node(4), node(64, 8), node(48, 4)], None, True, WorkerShare(12, 8, 1)),
        ([node(4), node(64, 8), node(0)], None, False, WorkerShare(2, 4, 0)),
    ],
)
def test_workers_share_the_machines(
    nodes: list[dict[str, object]], workers: int | None, gpus: bool, share: WorkerShare
) -> None:
    assert share_out(nodes, workers, gpus) == share


def test_more_workers_than_fit_are_refused() -> None:
    with pytest.raises(InputError, match="the cluster has 8 GPUs"):
        share_out([node(64, 8)], 9, True)
    with pytest.raises(InputError, match="the cluster has 0 CPUs"):
        share_out([node(0)], None, True)
