// Windows of fidelity as columns of time.

import { micros } from "./format.js";

const COLUMNS = 60;

/**
 * Every how many columns one has its time above it, so that no two of them overlap.
 *
 * A time takes 30 pixels, with seconds 50; a column 11 on a phone, where there are few of them 44.
 */
export function labelled(columns, isFew, hasSeconds) {
    if (isFew) return hasSeconds ? 2 : 1;
    return Math.max(hasSeconds ? 6 : 4, Math.ceil(columns / 10));
}

/** Sum windows into columns of time: {starts, stepUs, cells: Map(series -> [{expected, observed}])}. */
export function bucket(series, columns = COLUMNS) {
    const windows = series.flatMap((one) => one.windows);
    if (!windows.length) return { starts: [], stepUs: 0, cells: new Map() };
    const starts = windows.map((window) => micros(window.window_start));
    const high = starts.reduce((a, b) => Math.max(a, b), -Infinity);
    // Whole windows to a column, so that none is cut in two: those of old times are longer.
    const windowUs = windows.reduce((a, one) => Math.max(a, one.window_us), 1);
    const first = starts.reduce((a, b) => Math.min(a, b), Infinity);
    const low = first - (first % windowUs);
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
