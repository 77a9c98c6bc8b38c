"""The Dockerfile and the compose file fit to this checkout, as far as that shows without Docker."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.app.server import serving as serving_page
from tests.cli.run import vqa_here
from tests.serve.server import Counting, serving
from vqa.serve.access import ApiKeys
from vqa.serve.http_app import ServerOptions

ROOT = Path(__file__).parents[1]


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with what stands behind them, in order."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(name, rest) for name, rest in lines]


def of(name: str) -> list[str]:
    return [rest for other, rest in instructions() if other == name]


def copied() -> list[str]:
    return [path for rest in of("COPY") for path in rest.split()[:-1]]


def compose() -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return value


def test_all_that_is_copied_exists_and_is_not_ignored() -> None:
    taken = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert all((ROOT / path).exists() for path in copied())
    assert sorted(copied()) == sorted(line[1:] for line in taken if line.startswith("!"))


def test_all_that_the_build_needs_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [*wheel["packages"], *wheel["force-include"], project["project"]["readme"]]
    needed += [*project["project"]["license-files"], "pyproject.toml"]
    assert set(needed) == set(copied())


def test_it_is_installed_by_the_readmes_line() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    line = re.search(r"^(python3 -m venv \S+ && \S+ install) \.", readme, re.M)
    assert line is not None
    (install,) = [rest for rest in of("RUN") if "pip install" in rest]
    assert install.startswith(line[1])
    named = re.search(r"'\.\[(.*)\]'", install)
    assert named is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = named[1].split(",")
    assert "serve" in extras and set(extras) <= set(project["optional-dependencies"])


def test_it_runs_as_no_root_and_keeps_what_it_fetches_in_the_volume() -> None:
    names = [name for name, _ in instructions()]
    assert of("USER") == ["vqa"]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    (volume,) = of("VOLUME")
    assert f"VQA_CACHE={volume}/" in " ".join(of("ENV"))
    for service in compose()["services"].values():
        assert service["volumes"] == [f"data:{volume}"]
        assert service["cap_drop"] == ["ALL"] and "user" not in service
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    history = compose()["services"]["app"]["command"][-1]
    assert history.startswith(f"{volume}/")


@pytest.mark.parametrize("service", ["server", "app", "image"])
def test_the_commands_have_the_options_that_they_use(
    service: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if service == "image":
        (entry,), (command,) = of("ENTRYPOINT"), of("CMD")
        assert json.loads(entry) == ["vqa"]
        words = json.loads(command)
    else:
        words = compose()["services"][service]["command"]
    shown = vqa_here(capfd, words[0], "--help")
    assert shown.returncode == 0
    options = [word for word in words[1:] if word.startswith("--")]
    assert options and all(option in shown.stdout for option in options)


def test_the_secret_lies_where_the_server_reads_it() -> None:
    content = compose()
    (name,) = content["services"]["server"]["secrets"]
    assert name in content["secrets"]
    assert f"/run/secrets/{name}" in content["services"]["server"]["command"]
    assert f"/run/secrets/{name}" in of("CMD")[0]
    assert "/api_keys" in (ROOT / ".gitignore").read_text().splitlines()


def healthy(check: list[str], url: str) -> bool:
    """Run a health check on another port."""
    assert check[:2] == ["python", "-c"]
    script, count = re.subn(r"http://127\.0\.0\.1:\d+", url, check[2])
    assert count == 1
    return subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_the_health_checks_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2])
    keys = ApiKeys(["a key of twenty letters"])
    with serving({"counting": Counting()}, ServerOptions("0.0.0.0", keys)) as url:
        assert healthy(server, url)
    assert not healthy(server, url)
    _, *page = compose()["services"]["app"]["healthcheck"]["test"]
    with serving_page(tmp_path, host="0.0.0.0") as (url, _):
        assert healthy(page, url.replace("localhost", "127.0.0.1"))
