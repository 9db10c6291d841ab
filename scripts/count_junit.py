"""count_junit.py REPORT.xml: prints "passed failed skipped" of a JUnit report (CTest's or pytest's)."""
import sys
import xml.etree.ElementTree as ET

passed = failed = skipped = 0
try:
    for case in ET.parse(sys.argv[1]).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed += 1
        elif "skipped" in kinds or case.get("status") in ("notrun", "disabled"):
            skipped += 1
        else:
            passed += 1
except (OSError, ET.ParseError) as e:
    print(f"count_junit: {sys.argv[1]}: {e}", file=sys.stderr)
    failed += 1
print(passed, failed, skipped)
