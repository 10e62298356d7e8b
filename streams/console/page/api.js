// Questions to the console. An answer is JSON, or one of the failures below in plain words.

/** What the console did not answer as asked; `isAway`: nobody was there to answer. */
export class Failure extends Error {
    constructor(status, text, isAway = false) {
        super(text);
        this.status = status;
        this.isAway = isAway;
    }
}

const BACK_MS = 2_000;
const AWAY = "The console does not answer. It may be starting, or the network is away.";
/** What a proxy in front of a console says while that is not there. */
const PROXY = [502, 503, 504];

export const away = () => new Failure(0, AWAY, true);

const WORDS = {
    401: "You are not signed in, or your session is over.",
    403: "You may not do this.",
    404: "There is nothing of that name.",
    413: "That is more than the console takes at once.",
    429: "That were too many questions at once; wait a moment.",
};

async function answered(response) {
    if (response.ok) return response.json();
    let said = "";
    try {
        said = (await response.json()).error ?? "";
    } catch {
        // No JSON: a proxy's words, or none; the status speaks for itself.
    }
    if (!said && PROXY.includes(response.status)) throw new Failure(response.status, AWAY, true);
    throw new Failure(response.status, said || WORDS[response.status] || `HTTP ${response.status}`);
}

async function ask(url, options) {
    let response;
    try {
        response = await fetch(url, { headers: { Accept: "application/json" }, ...options });
    } catch (error) {
        if (error.name === "AbortError") throw error;
        throw away();
    }
    return answered(response);
}

/** GET /api/v1/`path` with what is not empty of `query`. */
export function get(path, query, signal) {
    const url = new URL(`/api/v1/${path}`, location.origin);
    for (const [name, value] of Object.entries(query ?? {}))
        if (value !== undefined && value !== null && value !== "")
            url.searchParams.set(name, value);
    return ask(url, { signal });
}

export function post(path, body) {
    return ask(`/api/v1/${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "application/json" },
        body: JSON.stringify(body),
    });
}

/** Whether the console answers at all, well or not. */
export async function isThere() {
    try {
        const response = await fetch("/health", { cache: "no-store" });
        return (response.headers.get("Content-Type") ?? "").includes("json");
    } catch {
        return false;
    }
}

/** Call `again` once the console answers, unless `element` has left the page by then. */
export function whenBack(element, again) {
    setTimeout(async () => {
        const isBack = await isThere();
        if (!element.isConnected) return;
        if (isBack) again();
        else whenBack(element, again);
    }, BACK_MS);
}

let catalog;

/** The contract, asked for once. */
export function contract() {
    catalog ??= get("catalog").catch((error) => {
        catalog = undefined;
        throw error;
    });
    return catalog;
}

let described;

/** Whether this console answers a path of the API at all, such as "/lineage/{record_id}". */
export async function offers(path) {
    described ??= get("openapi.json").catch((error) => {
        described = undefined;
        throw error;
    });
    return `/api/v1${path}` in (await described).paths;
}

/** Whether a path of the API is not there yet in this console. */
export const isAbsent = (error) => error instanceof Failure && [404, 405].includes(error.status);
