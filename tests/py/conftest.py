"""Shared set-up of the Python tests: makes tests/py importable and says what is being tested."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import tsr  # noqa: E402


def pytest_report_header(config):
    return f"tessera: {tsr.BUILD_DIR} ({'found' if tsr.LIBRARY.exists() else 'library NOT BUILT'}), {os.cpu_count()} cpus"
