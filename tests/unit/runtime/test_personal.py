"""Keys of edges and workers: where they come from, and what happens without them."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streams.codec.recordbatch import Record
from streams.contract.checks import find_problems
from streams.contract.loader import load_contract
from streams.errors import ConfigError
from streams.runtime.build import JoinFactory, load_pipeline
from streams.runtime.chunk import Chunk
from streams.runtime.join_runner import JoinRunner
from streams.runtime.personal import privacy_of, tell
from streams.settings import load_settings
from tests.record_batches import batch

LINE = "k1 " + "s" * 32


def test_a_file_or_a_variable(tmp_path: Path) -> None:
    """Both give the same pseudonyms; both at once are refused, and what is no key."""
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{LINE}\nk0 {'o' * 32}\n", "ascii")
    file.chmod(0o600)
    contract = load_contract("seed")
    by_file = privacy_of(contract, load_settings(pseudonym_keys_file=file))
    by_text = privacy_of(contract, load_settings(pseudonym_keys=f"{LINE},k0 {'o' * 32}"))
    assert by_file is not None
    assert by_text is not None
    assert by_file.text("actor", "Ada") == by_text.text("actor", "Ada")
    assert by_file.pseudonyms.key_ids == ("k1", "k0")
    with pytest.raises(ConfigError, match="set one of them"):
        privacy_of(contract, load_settings(pseudonym_keys_file=file, pseudonym_keys=LINE))
    file.write_text("# nothing\n", "ascii")
    with pytest.raises(ConfigError, match="holds no key"):
        privacy_of(contract, load_settings(pseudonym_keys_file=file))
    with pytest.raises(ConfigError, match="shorter than 32") as refused:
        privacy_of(contract, load_settings(pseudonym_keys="k1 tooshort"))
    assert "tooshort" not in str(refused.value)


def test_without_a_key_it_is_said() -> None:
    """A warning with the fields and the fix; refused where keys are required."""
    contract = load_contract("seed")
    assert privacy_of(contract, load_settings()) is None
    with capture_logs() as lines:
        tell(contract, None)
        tell(None, None)
        tell(contract, privacy_of(contract, load_settings(pseudonym_keys=LINE)))
    assert [one["event"] for one in lines] == [
        "personal_fields_untreated",
        "personal_fields_treated",
    ]
    assert "actor" in lines[0]["fields"]
    assert "SPANLOOM_PSEUDONYM_KEYS_FILE" in lines[0]["action"]
    assert "s" * 32 not in repr(lines)
    with pytest.raises(ConfigError, match="SPANLOOM_PSEUDONYMS_REQUIRED"):
        privacy_of(contract, load_settings(pseudonyms_required=True))
    assert privacy_of(None, load_settings(pseudonyms_required=True)) is None


def test_without_a_key_what_is_taken_in_is_counted() -> None:
    """By each field that the contract calls personal; with a key nothing is."""
    records = [Record(i, 0, b"k", b"no event") for i in range(3)]
    seen = []
    for keys in ("", LINE):
        pipeline = load_pipeline(load_settings(contract="seed", pseudonym_keys=keys))
        runner = JoinFactory(pipeline, 2).make(1)
        assert isinstance(runner, JoinRunner)
        seen.append(runner.status()["untreated"])
        runner.step([Chunk("telemetry.other.v1", 1, 0, 3, [batch(records)])], {}, 0)
        seen.append(runner.status()["untreated"])
    fields = ["actor", *(f"dimensions.{key}" for key in ("user_id", "email", "account_number"))]
    assert seen == [dict.fromkeys(fields, 0), dict.fromkeys(fields, 3), {}, {}]


@pytest.mark.parametrize(
    "part",
    [
        {"flows": {"f": {"stages": [{"id": "a", "when": {"stage": "b", "dimension": "user"}}]}}},
        {"rules": [{"id": "r", "match": {"dimensions": {"user": "a*"}}}]},
    ],
)
def test_what_decides_cannot_be_personal(part: dict[str, Any]) -> None:
    """A condition or a rule on plain values would never see them."""
    for class_, count in (("PII", 1), ("PUBLIC", 0)):
        found = find_problems({**part, "field_classes": {"dimensions.user": class_}})
        assert sum("personal by field_classes" in problem.text for problem in found) == count
