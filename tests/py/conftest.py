"""Shared set-up of the Python tests: makes tests/py importable and says what is being tested."""
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: numpy's threads would only fight the engine's
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import tsr  # noqa: E402


def pytest_report_header(config):
    return f"tessera: {tsr.BUILD_DIR} ({'found' if tsr.LIBRARY.exists() else 'library NOT BUILT'}), {os.cpu_count()} cpus"


def pytest_terminal_summary(terminalreporter):
    for group in dict.fromkeys(g for g, _, _ in tsr.REPORT):
        cases = sorted((error, case) for g, case, error in tsr.REPORT if g == group)
        terminalreporter.write_line(f"error, {group}: {len(cases)} cases, median {cases[len(cases) // 2][0]:.1e}, worst "
                                    + ", ".join(f"{case} {error:.1e}" for error, case in cases[:-4:-1]))
    if tsr.REPORT and tsr.missing_tiers():
        terminalreporter.write_line(f"NOT TESTED: kernel tiers {', '.join(tsr.missing_tiers())} (this CPU lacks them)",
                                    red=True, bold=True)
