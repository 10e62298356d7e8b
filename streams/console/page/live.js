// The console's news, kept for all views: the newest event of each name, and who listens.

const STALE_MS = 8_000;
const AGAIN_MS = 3_000;
const NAMES = ["fidelity", "incidents", "health", "pipeline", "trouble"];

const newest = new Map();
const listeners = new Set();
const began = Date.now();
let heard = 0;
let shown = "";
let source;

export const last = (name) => newest.get(name);

/** Call `tell(name, data)` for each event, and with what is known at once; returns how to stop. */
export function listen(tell) {
    listeners.add(tell);
    for (const [name, data] of newest) tell(name, data);
    return () => listeners.delete(tell);
}

/** Whether the news are current: "live", "stale" or "away". */
export function condition(now = Date.now()) {
    if (!heard || source.readyState !== EventSource.OPEN) return "away";
    return now - heard > STALE_MS ? "stale" : "live";
}

/** Whether nothing has been heard for longer than the console is ever silent. */
export const isSilent = (now = Date.now()) => now - Math.max(heard, began) > STALE_MS;

export function start(element) {
    source = new EventSource("/api/v1/live");
    for (const name of NAMES)
        source.addEventListener(name, (event) => {
            heard = Date.now();
            const data = JSON.parse(event.data);
            if (name !== "trouble") newest.set(name, data);
            for (const tell of [...listeners]) tell(name, data);
            show(element);
        });
    source.addEventListener("error", () => {
        show(element);
        // A browser gives up for good when it is answered with an error: begin anew.
        if (source.readyState === EventSource.CLOSED) {
            clearTimeout(start.again);
            start.again = setTimeout(() => start(element), AGAIN_MS);
        }
    });
    start.timer ??= setInterval(() => show(element), 1_000);
}

function show(element) {
    const is = condition();
    const seconds = Math.round((Date.now() - heard) / 1000);
    const health = newest.get("health");
    const text =
        is === "live"
            ? health?.waits_for
                ? `waits for ${health.waits_for}`
                : "live"
            : heard
              ? `no news for ${seconds} s`
              : "connecting";
    if (text === shown) return;
    shown = text;
    element.textContent = text;
    element.className = `live ${is === "live" && health?.waits_for ? "stale" : is}`;
    document.documentElement.dataset.live = is;
}
