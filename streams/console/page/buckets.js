// Windows of fidelity as columns of time.

import { micros } from "./format.js";

const COLUMNS = 60;

/** Sum windows into columns of time: {starts, stepUs, cells: Map(series -> [{expected, observed}])}. */
export function bucket(series, columns = COLUMNS) {
    const starts = series.flatMap((one) =>
        one.windows.map((window) => micros(window.window_start)),
    );
    const low = starts.reduce((a, b) => Math.min(a, b), Infinity);
    const high = starts.reduce((a, b) => Math.max(a, b), -Infinity);
    if (!starts.length) return { starts: [], stepUs: 0, cells: new Map() };
    const windowUs = series[0].windows[0].window_us;
    // Whole windows to a column, so that none is cut in two.
    const stepUs = Math.max(1, Math.ceil((high + windowUs - low) / windowUs / columns)) * windowUs;
    const number = Math.floor((high - low) / stepUs) + 1;
    const cells = new Map();
    for (const one of series) {
        const row = Array.from({ length: number }, () => ({ expected: 0, observed: 0 }));
        for (const window of one.windows) {
            const cell = row[Math.floor((micros(window.window_start) - low) / stepUs)];
            cell.expected += window.expected;
            cell.observed += window.observed;
        }
        cells.set(one, row);
    }
    return { starts: Array.from({ length: number }, (_, at) => low + at * stepUs), stepUs, cells };
}
