"""The environment is installed by uv as pip is configured, and by pip where uv cannot do it."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SPEC = importlib.util.spec_from_file_location("install", Path(__file__).parent.parent / "install.py")
install = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(install)

CONFIGURED = """\
:env:.disable-pip-version-check='1'
:env:.find-links='/env /more'
global.constraint='/etc/limits.txt'
global.extra-index-url='file:///a file:///b'
global.find-links='/global'
global.index-url='https://global.example/simple'
install.index-url='https://install.example/simple'
"""


def test_uv_is_told_what_pip_is_configured_to_do():
    assert install.variables(CONFIGURED) == {
        "UV_DEFAULT_INDEX": "https://install.example/simple",
        "UV_INDEX": "file:///a file:///b",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/env,/more",
        "UV_CONSTRAINT": "/etc/limits.txt",
    }
    assert install.variables("") == {}
    assert install.variables("global.index-url='https://one.example/a=b'\n") == {
        "UV_DEFAULT_INDEX": "https://one.example/a=b"
    }


def test_pips_own_listing_is_understood(monkeypatch):
    for name in ("PIP_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, "https://a.example/simple")
    listed = subprocess.run([*install.PIP, "config", "list"], capture_output=True, encoding="utf-8").stdout
    found = install.variables(listed)
    assert found["UV_DEFAULT_INDEX"] == found["UV_FIND_LINKS"] == "https://a.example/simple"


@pytest.mark.parametrize(
    ("broken", "says"), [(None, ""), ("install uv", "uv cannot be had"), ("uv pip", "uv could not install")]
)
def test_pip_does_what_uv_cannot(monkeypatch, capsys, broken, says):
    ran = []

    def run(command, env=None, check=False, **options):
        words = " ".join(command[1:]).removeprefix("-X utf8 ").removeprefix("-m ")
        ran.append(words)
        if env is not None:
            assert env["UV_INDEX"] == "file:///a file:///b"
            assert env["UV_FIND_LINKS"] == "/mine"  # what somebody has set stays
        return SimpleNamespace(returncode=int(broken is not None and broken in words), stdout=CONFIGURED)

    monkeypatch.setattr(install.subprocess, "run", run)
    monkeypatch.setenv("UV_FIND_LINKS", "/mine")
    install.main(["--editable", ".[test]"])
    by_uv = f"uv pip install --quiet --python {sys.executable} --editable .[test]"
    assert ran[0] == "pip install uv"
    assert (by_uv in ran) == (broken != "install uv")
    assert (ran[-1] == "pip install --quiet --editable .[test]") == (broken is not None)
    out = capsys.readouterr().out
    assert says in out
    assert len(out.splitlines()) == (broken is not None)
