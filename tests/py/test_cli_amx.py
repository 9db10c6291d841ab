"""--amx auto|on|off, on whatever this machine offers."""
import json

from cli_models import FAILED, FINE, USAGE, cli, tiny


def test_amx():
    usable = json.loads(cli("version", "--json")[1])["amx_usable"]
    reason = json.loads(cli("version", "--json")[1])["amx_reason"]
    assert usable == (reason == "")
    tier = json.loads(cli("info", "-m", tiny(), "--amx", "off", "--json")[1])["cpu_tier"]
    assert not tier.startswith("amx")
    status, out, err = cli("info", "-m", tiny(), "--amx", "on", "--json")
    if usable:
        assert status == FINE and json.loads(out)["cpu_tier"].startswith("amx")
    else:
        assert status == FAILED and reason in err, err
        assert json.loads(cli("info", "-m", tiny(), "--json")[1])["cpu_tier"] == tier
    for tier, amx in (("amx", "off"), ("amxfp16", "off"), ("scalar", "on")):
        status, _, err = cli("info", "-m", tiny(), "--cpu-tier", tier, "--amx", amx)
        assert status == FAILED and "leave out one" in err, err
    status, _, err = cli("info", "-m", tiny(), "--amx", "maybe")
    assert status == USAGE and "auto" in err
