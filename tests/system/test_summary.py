"""tests/summary: what it counts, and that a failure can't hide."""

import subprocess

from support.deployed import ROOT

CTEST = """<testsuite>
<testcase name="lane_test" status="run"><system-out>[ RUN      ] F3_split
[       OK ] F3_split
[ RUN      ] skipped_one
[  SKIPPED ] skipped_one
[ RUN      ] bad_one
[  FAILED  ] bad_one
[  FAILED  ] bad_one
</system-out></testcase>
<testcase name="crashed_test" status="fail"><failure message="SEGFAULT"/><system-out>[ RUN      ] one
[       OK ] one
[ RUN      ] two
</system-out></testcase>
</testsuite>"""

PYTEST = """<testsuites><testsuite>
<testcase classname="system.test_sale" name="test_order_G1[stop]"/>
<testcase classname="system.test_sale" name="test_key_G8"><failure message="assert 1 == 2&#10;more"/></testcase>
<testcase classname="system.test_sale" name="test_other"><skipped message="no bananas"/></testcase>
</testsuite></testsuites>"""


def summary(directory, **files):
    for name, text in files.items():
        (directory / name.replace("__", "-").replace("_xml", ".xml")).write_text(text)
    done = subprocess.run([ROOT / "tests" / "summary", directory], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


def test_everything_is_counted_once_and_said(tmp_path):
    code, lines = summary(tmp_path, ctest__dev_xml=CTEST, pytest__dev_xml=PYTEST,
                          checks="passed venv\nfailed ctest-dev: exit code 8\npassed pytest-dev\nfailed clang-tidy: exit code 1\n")
    assert code == 1
    assert lines[-1] == "4 passed, 4 failed, 2 skipped"
    assert "  F3   passed   lane_test::F3_split" in lines
    assert "  G1   passed   system/test_sale::test_order_G1" in lines
    assert "  G8   failed   system/test_sale::test_key_G8" in lines
    assert "skipped: system/test_sale::test_other: no bananas" in lines
    assert "failed: dev/crashed_test: SEGFAULT" in lines
    assert "failed: system/test_sale::test_key_G8: assert 1 == 2" in lines


def test_all_good_is_zero(tmp_path):
    assert summary(tmp_path, checks="passed venv\npassed ctest-dev\n") == (0, ["1 passed, 0 failed, 0 skipped"])


def test_a_run_that_failed_as_a_whole_counts(tmp_path):
    code, lines = summary(tmp_path, checks="passed venv\nfailed pytest-dev: exit code 4\n")
    assert (code, lines[-1]) == (1, "1 passed, 1 failed, 0 skipped")
