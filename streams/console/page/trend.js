// The last quarter of an hour of a pipeline: asked for once, then kept by the news.

import { get, whenBack } from "./api.js";
import { chart } from "./charts.js";
import { h, put, state } from "./dom.js";
import { ago, micros, rate } from "./format.js";
import * as live from "./live.js";
import { unknown } from "./open.js";
import { panel } from "./parts.js";

const MINUTES = 15;
const TITLE = "The last quarter of an hour";

/**
 * The chart of traces a second: {element, tell(fidelity), again()}.
 *
 * It asks once, however long it stays open: a thousand pages must not ask a thousand times a minute.
 */
export function trend(view) {
    const box = panel(TITLE, state("loading", "Loading …"));
    const windows = new Map();
    let plot;
    let isLoaded = false;
    const draw = () => {
        const since = Date.now() * 1e3 - MINUTES * 60e6;
        for (const start of windows.keys()) if (start < since) windows.delete(start);
        if (!windows.size) {
            const why = unknown(live.last("health"));
            const none = state(
                "empty",
                "No traces were counted in this time.",
                "They are drawn here once telemetry arrives and a worker has counted it.",
            );
            put(
                box,
                h("h2", null, TITLE),
                why ? state("loading", `What there was is ${why}.`) : none,
            );
            plot = undefined;
            return;
        }
        const data = columns(windows);
        if (plot) return void plot.set(data);
        const lines = [
            { label: "traces/s", stroke: "--accent", value: rate },
            { label: "incomplete/s", stroke: "--bad", value: rate },
        ];
        plot = chart(view, "Traces and incomplete traces a second", lines, data);
        put(box, h("h2", null, TITLE), plot.element);
    };
    const load = async () => {
        const asked = { start: ago(MINUTES), end: ago(-1), kind: "total" };
        const { series } = await get("fidelity", asked, view.signal);
        if (!view.isCurrent()) return;
        for (const one of series[0]?.windows ?? []) windows.set(micros(one.window_start), one);
        isLoaded = true;
        draw();
    };
    const begin = () =>
        load().catch((error) => {
            if (error.name === "AbortError" || !view.isCurrent()) return;
            put(box, h("h2", null, TITLE), state("error", error.message));
            if (error.isAway) whenBack(box, begin);
        });
    begin();
    return {
        element: box,
        again: () => isLoaded && draw(),
        tell: (fidelity) => {
            const total = fidelity.scopes.find((scope) => scope.kind === "total");
            if (!total) return;
            const one = { ...total.last, window_us: total.window_us };
            windows.set(micros(total.window_start), one);
            if (isLoaded) draw(); // also where there was nothing yet
        },
    };
}

/** Windows by start, in microseconds, as columns: seconds, traces a second, incomplete a second. */
export function columns(windows) {
    const rows = [...windows].sort(([a], [b]) => a - b);
    const perSecond = (one, number) => (number * 1e6) / one.window_us;
    return [
        rows.map(([start]) => start / 1e6),
        rows.map(([, one]) => perSecond(one, one.expected)),
        rows.map(([, one]) => perSecond(one, one.expected - one.observed)),
    ];
}
