"""Made-up customers: as many as asked for, the same by the same seed, and with nobody's real address or number."""

import re
import subprocess
import sys
from pathlib import Path

from unlogit.data.sources import read_examples
from unlogit.demo.customers import make_customers


def test_rows_and_values() -> None:
    customers = make_customers()
    assert (len(customers.forget), len(customers.retain), len(customers.unseen)) == (6, 162, 12)
    assert customers == make_customers()
    assert customers != make_customers(seed=1)
    rows = customers.forget + customers.retain
    text = "\n".join(row.answer for row in rows)
    assert {host.rstrip(".") for host in re.findall(r"@([\w.]+)", text)} <= {
        "example.com",
        "example.org",
        "example.net",
    }
    assert all(number.startswith("555-01") for number in re.findall(r"number is (555[\d-]+)", text))
    accounts = re.findall(r"NL-\d+-\d+", text)
    assert len(set(accounts)) == len(accounts) == 28
    assert {row.answer for row in customers.unseen} == {row.answer for row in customers.forget}
    assert not {row.question for row in customers.unseen} & {row.question for row in rows}


def test_it_writes_its_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unlogit.demo.customers", str(tmp_path / "made")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    customers = make_customers()
    assert read_examples(str(tmp_path / "made" / "forget.jsonl")) == customers.forget
    assert read_examples(str(tmp_path / "made" / "all.jsonl")) == customers.forget + customers.retain
