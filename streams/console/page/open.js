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

/** The tile of open incidents: [value, note, grade]. */
export function openIncidents(data, health) {
    if (data?.open.length)
        return [`${count(data.open.length)}${data.is_more ? "+" : ""}`, worst(data.open), "lossy"];
    const why = unknown(health);
    return !data || why ? ["–", why || "not known yet", "idle"] : ["0", "all is well", "well"];
}

function worst(open) {
    const found = ORDER.find((severity) => open.some((one) => one.severity === severity));
    return found
        ? `${open.filter((one) => one.severity === found).length} ${found.toLowerCase()}`
        : "";
}
