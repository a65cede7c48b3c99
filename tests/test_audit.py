"""`make audit`: fails where vulnerabilities are known; where nothing could be looked up it says so and does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "audit"
NO_INDEX = 'mkdir -p "$3/bin"; printf "#!/bin/sh\\necho no route to the index >&2; exit 1\\n" > "$3/bin/python"'


def program(path: Path, commands: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{commands}\n")
    path.chmod(0o755)
    return path


def audit(folder: Path, *, pip_audit: str | None = None, python: str = "echo /packages") -> tuple[int, str]:
    """Runs the script beside stand-ins for Python and pip-audit; without one, it has to be installed first."""
    if pip_audit is not None:
        program(folder / "audit" / "bin" / "pip-audit", pip_audit)
    interpreter = program(folder / "python", python)
    done = subprocess.run(
        [SCRIPT, interpreter, folder / "audit"], capture_output=True, text=True, check=False, timeout=30
    )
    return done.returncode, done.stdout + done.stderr


def test_where_nothing_is_known_it_says_so(tmp_path: Path) -> None:
    assert audit(tmp_path, pip_audit="exit 0") == (0, "audit: no known vulnerabilities\n")


def test_known_vulnerabilities_are_shown_and_fail(tmp_path: Path) -> None:
    # pip-audit is called with --path PACKAGES --skip-editable --progress-spinner off --output FILE
    code, said = audit(tmp_path, pip_audit='echo "brokenlib 1.0 PYSEC-1 in $2" > "$7"; exit 1')

    assert code == 1
    assert "brokenlib 1.0 PYSEC-1 in /packages" in said
    assert "raise the bounds" in said


@pytest.mark.parametrize(
    ("pip_audit", "python", "reason"),
    [
        ("echo connection refused >&2; exit 1", "echo /packages", "could not reach its database: connection refused"),
        (None, NO_INDEX + '; chmod +x "$3/bin/python"', "cannot be installed: no route to the index"),
    ],
    ids=["no database", "no index"],
)
def test_without_a_network_it_says_that_nothing_was_looked_up_and_does_not_fail(
    tmp_path: Path, pip_audit: str | None, python: str, reason: str
) -> None:
    code, said = audit(tmp_path, pip_audit=pip_audit, python=python)

    assert code == 0
    assert "SKIPPED, nothing was looked up" in said
    assert reason in said


def test_the_report_of_an_earlier_run_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    audit(tmp_path, pip_audit='echo "brokenlib 1.0" > "$7"; exit 1')

    code, said = audit(tmp_path, pip_audit="echo timed out >&2; exit 1")

    assert code == 0
    assert "brokenlib" not in said
