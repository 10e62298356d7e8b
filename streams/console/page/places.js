// Where somebody was in each step of the browser's history: how far down, on what, how many rows.
//
// A step's place is kept for as long as its tab: Back and Forward lead to it, and a reload does.

import { focusMark } from "./dom.js";

const KEY = "spanloom-places";
const PLACES_MAX = 60;

const places = new Map(stored());
let step = begun();

function stored() {
    try {
        const found = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
        return Array.isArray(found) ? found : [];
    } catch {
        return []; // not ours, or there is no storage: then nothing was kept
    }
}

/** The step that the page was opened at; one that has no name yet gets one. */
function begun() {
    const found = history.state?.step;
    if (found) return found;
    const name = newName();
    history.replaceState({ step: name }, "");
    return name;
}

function newName() {
    return `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 8)}`;
}

/** What is known of the step that is shown: {top, mark, rows}, or what of that there is. */
export const here = () => places.get(step) ?? {};

/** Note something of the step that is shown. */
export function note(more) {
    const found = { ...here(), ...more };
    places.delete(step);
    places.set(step, found);
    for (const old of [...places.keys()].slice(0, -PLACES_MAX)) places.delete(old);
}

/** Note where somebody is; called before the step is left. */
export function leave(element) {
    note({ top: Math.round(scrollY), mark: focusMark(element) });
}

/** Go to another address: a new step, or in place of the one that is shown. */
export function enter(url, replace) {
    if (replace) return history.replaceState({ step }, "", url);
    step = newName();
    history.pushState({ step }, "", url);
}

/** The browser has gone to another step. */
export function turned(state) {
    step = state?.step ?? begun();
}

/** Let the places outlive the page. */
export function save() {
    try {
        sessionStorage.setItem(KEY, JSON.stringify([...places]));
    } catch {
        // Full, or not allowed: a reload begins at the top then.
    }
}
