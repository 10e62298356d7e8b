// Ranges of time in an address: 15m, 1h, 6h, 24h, 7d, 30d until now, or start and end.

import { ago } from "./format.js";

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
