// What can be said of the open incidents: none is open only as far as the console has read.

import { count } from "./format.js";

export const ORDER = ["CRITICAL", "ERROR", "WARN", "INFO", "DEBUG"];
/** So many records that wait to be read are more than a moment's. */
export const LAG_MAX = 10_000;

/** Why it is not known whether an incident is open: the console's own news, "" when it is known. */
export function unknown(health) {
    if (!health) return "not known yet";
    if (health.waits_for) return `not known: waits for ${health.waits_for}`;
    return health.lag_records > LAG_MAX ? "not known yet: records to read" : "";
}

/**
 * The tile of open incidents: [value, note, grade].
 *
 * `isFresh`: telemetry comes. Where it does not, none being open does not say that all is well.
 */
export function openIncidents(data, health, isFresh) {
    if (data?.open.length) {
        const isCritical = data.open.some((one) => one.severity === "CRITICAL");
        const number = `${count(data.open.length)}${data.is_more ? "+" : ""}`;
        return [number, worst(data.open), isCritical ? "broken" : "lossy"];
    }
    const why = unknown(health);
    if (!data || why) return ["–", why || "not known yet", "idle"];
    return isFresh ? ["0", "none is open", "well"] : ["0", "but no telemetry arrives", "idle"];
}

function worst(open) {
    const found = ORDER.find((severity) => open.some((one) => one.severity === severity));
    return found
        ? `${open.filter((one) => one.severity === found).length} ${found.toLowerCase()}`
        : "";
}
