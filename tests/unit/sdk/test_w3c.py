"""The recorded cases of W3C Trace Context, through what a module's code calls."""

from pathlib import Path

from streams.codec.w3c import read_headers
from tests.unit.codec.test_w3c import cases, check
from tests.unit.sdk.senders import kept, made


def test_all_propagation_cases_through_a_module(data_dir: Path) -> None:
    """Each of the 83 requests makes a span of the module; its own calls go on from there."""
    every = cases(data_dir)
    assert len(every) == 83
    with made() as t:
        for case in every:
            expect = case["expect"]
            came = t.extract([(name.encode(), value.encode()) for name, value in case["headers"]])
            with t.span("serve", "SERVER", parent=came) as serve:
                calls = []
                for _ in range(expect.get("calls", 1)):
                    with t.span("call", "CLIENT"):
                        calls.append(t.inject({}))
            found = read_headers([(name, value) for name, value in case["headers"]])
            sent = [read_headers(one.items()) for one in calls]
            check(case, found, sent)
            assert len({one["traceparent"] for one in calls}) == expect.get(
                "distinct_parent_ids", 1
            )
            made_of = f"{serve.parent_id:016x}"
            assert made_of == expect.get("parent_id_not", f"{0:016x}"), case["id"]
        spans = sum(1 + one["expect"].get("calls", 1) for one in every)
        assert len(kept(t)) + t.counts().unsampled == spans
