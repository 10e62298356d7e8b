// Ranges of time in an address: 15m, 1h, 6h, 24h, 7d, 30d until now, or start and end.

import { ago, isoOf } from "./format.js";

export const RANGES = { "15m": 15, "1h": 60, "6h": 360, "24h": 1_440, "7d": 10_080, "30d": 43_200 };

/** Return {start, end} of a query; a range until now goes a little beyond it, for clocks that are ahead. */
export function span(query, fallback = "1h") {
    if (query.start && query.end) return { start: query.start, end: query.end };
    return { start: ago(RANGES[query.range] ?? RANGES[fallback]), end: ago(-1) };
}

export const minutes = (query, fallback = "1h") => {
    const { start, end } = span(query, fallback);
    return (Date.parse(end) - Date.parse(start)) / 60_000;
};

const COLUMNS = 60;
const STEPS_S = [600, 1_800, 10_800, 43_200, 86_400, 604_800];

/**
 * A range of windows as columns: {start, end, step}, the latter in seconds, absent where each window
 * is told. Of a long range there are too many: they are added up where they are kept.
 */
export function stepped({ start, end }) {
    const [from, until] = [Date.parse(start) / 1_000, Date.parse(end) / 1_000];
    if (!(until - from > 7_500)) return { start, end };
    const most = until - from - 120; // a range until now goes a little beyond it
    const step = STEPS_S.find((one) => most <= one * COLUMNS) ?? Math.ceil(most / COLUMNS);
    return { start: isoOf((from - (from % step)) * 1e6), end, step };
}
