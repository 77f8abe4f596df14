"""Adds up what `colcon test` left behind and says it in one line.

Usage: summarise_tests.py FOLDER..., each a package's folder of test results with the pytest.xml of
its last run. The exit status is 1 when a test failed, and when a package has no result or ran no
test: that is a fault of the test run, not a success.
Runs on the standard library alone.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

_LAST_LINES = 60


@dataclass(frozen=True)
class Counts:
    """Numbers of tests; an error in a fixture or in collection counts as failed."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def read_counts(result: Path) -> Counts:
    """Counts of one pytest.xml.

    Args:
        result: file in JUnit format with one or more test suites.

    Raises:
        FileNotFoundError: if pytest wrote no result.
        ValueError: if the file is not well formed, as after a killed test run.
    """
    try:
        root = ElementTree.parse(result).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{result}: not a complete result ({error})") from error
    total = Counts()
    for suite in root.iter("testsuite"):
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        total += Counts(tests - failed - skipped, failed, skipped)
    return total


def last_lines(folder: Path) -> list[str]:
    """What a package's tests printed last, as colcon has logged it."""
    log = folder.parent / "latest_test" / folder.name / "stdout_stderr.log"
    if not log.is_file():
        return [f"(no {log})"]
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]


def main(arguments: list[str]) -> int:
    """Prints a line for each package and each fault, the sum last; returns the exit status."""
    total, faults = Counts(), []
    for folder in map(Path, arguments):
        try:
            counts = read_counts(folder / "pytest.xml")
        except FileNotFoundError:
            faults.append(f"{folder.name}: no pytest.xml; its tests did not run to their end")
            continue
        except ValueError as error:
            faults.append(str(error))
            continue
        if counts == Counts(failed=1):  # colcon's own entry where pytest ended without a result
            faults.append(f"{folder.name}: pytest ended early; the end of its output:")
            faults.extend(last_lines(folder))
        if counts.passed + counts.failed == 0:
            faults.append(f"{folder.name}: no test ran ({counts})")
        print(f"{folder.name} ({folder.parent.name}): {counts}")
        total += counts
    for fault in faults:
        print(fault, file=sys.stderr)
    print(total, flush=True)
    return 1 if faults or total.failed or not arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
