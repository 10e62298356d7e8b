"""The demonstration: a pipeline with faults whose truth is known, joined and judged live."""
