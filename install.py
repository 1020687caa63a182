"""Installs into this environment what pip would, by uv where it can be had, which takes a fraction of the time.

    .venv/bin/python install.py --editable '.[test]'        # what make does

uv does not read pip's configuration, so it is told what pip's says. Where uv cannot be had or fails, pip does it.
"""

import ast
import os
import subprocess
import sys

PIP = (sys.executable, "-X", "utf8", "-m", "pip")
# pip's setting -> uv's variable for it, and what stands between several values in that
VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
}


def variables(configuration: str) -> dict[str, str]:
    """uv's environment variables that say what pip is configured to do.

    Args:
        configuration: what `pip config list` prints, such as "global.index-url='https://...'", or ":env:" for "global"
            where it comes from an environment variable.
    """
    values = {}
    for section in ("global", "install", ":env:"):  # the later one counts, as in pip
        for line in configuration.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                values[name.removeprefix(f"{section}.")] = ast.literal_eval(value)
    found = {}
    for setting, (variable, between) in VARIABLES.items():
        words = values.get(setting, "").split()
        if words:
            found[variable] = between.join(words)
    if "UV_INDEX" in found:
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip's: the newest release, whichever index has it
    return found


def by_uv(arguments: list[str]) -> bool:
    """Whether uv could be had and installed everything. Variables of uv that are set already stay."""
    if subprocess.run([*PIP, "install", "uv"], capture_output=True).returncode:
        print("uv cannot be had here; pip installs, which takes longer.", flush=True)
        return False
    configuration = subprocess.run([*PIP, "config", "list"], capture_output=True, encoding="utf-8").stdout
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable, *arguments]
    if subprocess.run(command, env=variables(configuration) | os.environ).returncode:
        print("uv could not install this; pip tries, which takes longer.", flush=True)
        return False
    return True


def main(arguments: list[str]) -> None:
    if not by_uv(arguments):
        subprocess.run([*PIP, "install", "--quiet", "--upgrade", "pip"], check=True)
        subprocess.run([*PIP, "install", "--quiet", *arguments], check=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
