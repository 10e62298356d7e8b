// What an id names: asked of everything that has ids, the likeliest first.

import { get, isAbsent } from "./api.js";
import { address } from "./dom.js";
import { ago } from "./format.js";

const DAYS = 30;

async function isThere(path) {
    try {
        await get(path);
        return true;
    } catch (error) {
        if (isAbsent(error)) return false;
        throw error;
    }
}

/** Return {url, said}: where to go, "" for nowhere, and what to tell people. */
export async function resolve(text) {
    const id = text.trim();
    const hex = id.toLowerCase().replaceAll("-", "");
    if (/^[0-9a-f]{32}$/.test(hex)) {
        if (await isThere(`traces/${hex}`)) return { url: `/traces/${hex}`, said: "A trace." };
        if (await isThere(`incidents/${hex}`))
            return { url: `/incidents/${hex}`, said: "An incident." };
    }
    if (await isThere(`records/${encodeURIComponent(id)}`))
        return { url: `/records/${encodeURIComponent(id)}`, said: "A record." };
    const range = { start: ago(DAYS * 1_440), end: ago(-60), limit: 1 };
    for (const [name, title] of [
        ["batch_id", "A batch"],
        ["correlation_id", "A correlation id"],
    ]) {
        const found = await get("traces", { ...range, [name]: id });
        if (found.traces.length)
            return {
                url: address("/traces", { [name]: id, range: `${DAYS}d` }),
                said: `${title}: its traces.`,
            };
    }
    return {
        url: "",
        said:
            `Nothing is known of ${id}: no record, trace, incident, ` +
            `batch or correlation id of the last ${DAYS} days.`,
    };
}
