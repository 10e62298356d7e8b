"""`spanloom contract signals`, and the page that is made with it."""

import json
from pathlib import Path

from streams.cli.contract_signals import signals_page, signals_view
from streams.contract.loader import SHIPPED, load_contract
from tests.unit.cli.shell import Shell

PAGE = Path(__file__).resolve().parents[3] / "docs" / "signals.md"


def test_the_page_is_that_of_the_contracts() -> None:
    """docs/signals.md is what `make signals` writes, to the letter."""
    assert PAGE.read_text(encoding="utf-8") == signals_page([load_contract(n) for n in SHIPPED])


def test_a_signal_is_its_modules_owner_s() -> None:
    """Whoever answers for the module answers for its signals."""
    view = signals_view(load_contract("seed"))
    owners = {signal["module"]: signal["owner"] for signal in view["signals"]}
    assert owners["ALPHA"] == "ingestion-team"
    assert len(owners) == 6


def test_the_command_lists_every_signal(shell: Shell) -> None:
    """As text one line each; as JSON one object a contract."""
    seed = load_contract("seed")
    lines = shell("contract", "signals", "seed").out.splitlines()
    assert [line.split(" ")[0] for line in lines] == [signal.name for signal in seed.signals]
    both = json.loads(shell("contract", "signals", "--json", *SHIPPED).out)
    assert [contract["name"] for contract in both] == list(SHIPPED)
    assert shell("contract", "signals", "--markdown", *SHIPPED).out == PAGE.read_text("utf-8")


def test_a_wrong_contract_is_refused(shell: Shell, tmp_path: Path) -> None:
    """The problem is told as `contract check` tells it."""
    path = tmp_path / "wrong.yaml"
    path.write_text("version: '1'\n", encoding="utf-8")
    assert shell("contract", "signals", path).code == 2
