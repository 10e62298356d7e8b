// Which view the address names, and what all views share: navigation, search, theme, keyboard.

import { address, backTo, h, placeOf, put, state, to } from "./dom.js";
import { away, Failure, isAbsent, isThere, whenBack } from "./api.js";
import * as live from "./live.js";
import * as places from "./places.js";
import { resolve } from "./search.js";
import { isLoggedIn, me } from "./session.js";

const VIEWS = [
    ["now", "Now"],
    ["traces", "Traces"],
    ["fidelity", "Fidelity"],
    ["incidents", "Incidents"],
    ["records", "Record"],
    ["rejected", "Rejected"],
    ["catalog", "Catalog"],
];
const KEYS = [
    ["/", "search any id"],
    ["?", "this help"],
    [
        "g then n, t, f, i, r, x, c",
        "go to Now, Traces, Fidelity, Incidents, Record, Rejected, Catalog",
    ],
    ["↑ ↓ or j k", "move in a list"],
    ["Enter", "open what is chosen"],
    ["← → in a trace", "close and open a span's children"],
    ["Esc", "close, or leave a field"],
];
const GO = {
    n: "/",
    t: "/traces",
    f: "/fidelity",
    i: "/incidents",
    r: "/records",
    x: "/rejected",
    c: "/catalog",
};

const main = document.getElementById("main");
let leaving = () => {};
let turn = 0;
let shown = "";

/** Where we are: the view's name, what follows it, and the query. */
export function where() {
    const [name = "now", ...rest] = location.pathname.split("/").filter(Boolean);
    return {
        name,
        id: decodeURIComponent(rest.join("/")),
        query: Object.fromEntries(new URLSearchParams(location.search)),
    };
}

/** Go to an address of the page; `replace` leaves no step to come back to. */
export function go(url, replace = false) {
    if (url === location.pathname + location.search) return show();
    const isOther = url.split("?")[0] !== location.pathname;
    if (!replace) places.leave(main);
    places.enter(url, replace);
    if (isOther) scrollTo(0, 0);
    return show();
}

/** Change the query of where we are without drawing the view anew. */
export function remember(changes) {
    const query = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes))
        if (value === "" || value === null || value === undefined) query.delete(name);
        else query.set(name, value);
    const text = query.toString();
    places.enter(location.pathname + (text ? `?${text}` : ""), true);
}

/** Say something for a moment. */
export function say(text) {
    const box = document.getElementById("said");
    put(box, h("p", null, text));
    clearTimeout(say.timer);
    say.timer = setTimeout(() => put(box), 6_000);
}

/** Show what the address names; `place` is where somebody was in it before. */
async function show(place = null) {
    const mine = ++turn;
    const here = where();
    const title = VIEWS.find(([name]) => name === here.name)?.[1];
    document.title = title
        ? `${title}${here.id ? ` ${here.id.slice(0, 8)}` : ""} · Spanloom`
        : "Spanloom";
    for (const link of document.querySelectorAll("#nav a")) {
        if (link.dataset.view === here.name) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
    }
    leaving();
    leaving = () => {};
    const aborting = new AbortController();
    const left = [() => aborting.abort()];
    leaving = () => left.forEach((end) => end());
    keep();
    const stays = here.name + here.id === shown ? placeOf(main, main) : lost();
    const back = place?.mark ? backTo(main, main, place.mark) : stays;
    const down = place ? scrolling(place.top ?? 0, () => mine === turn) : () => {};
    shown = here.name + here.id;
    put(main, state("loading", "Loading …"));
    const patience = setTimeout(
        () => mine === turn && slow(main.querySelector(":scope > .loading .state-title")),
        SLOW_MS,
    );
    const view = {
        ...here,
        main,
        // Of a list that somebody comes back to: as many rows as they had seen of it.
        rows: (page) => Math.min(ROWS_MAX, Math.max(page, place?.rows ?? 0)),
        note: (count) => mine === turn && places.note({ rows: count }),
        signal: aborting.signal,
        onLeave: (end) => left.push(end),
        isCurrent: () => mine === turn,
        listen: (tell) => left.push(live.listen(tell)),
    };
    try {
        const file = here.id && FILES[`${here.name}/`] ? FILES[`${here.name}/`] : FILES[here.name];
        if (!file) return put(main, nowhere());
        const module = await load(file);
        if (mine !== turn) return;
        const drawn = Promise.resolve(module.show(view)).catch((error) => {
            throw FILES[`${here.name}/`] && here.id && isAbsent(error) ? absent(here) : error;
        });
        requestAnimationFrame(() => mine === turn && (back(false), down()));
        await drawn;
    } catch (error) {
        if (mine !== turn || error.name === "AbortError") return;
        if (error.isAway) put(main, broken(error), before(title));
        else put(main, broken(error));
    } finally {
        clearTimeout(patience);
        if (mine === turn) {
            back();
            down();
        }
    }
}

/**
 * How far down somebody was, as a function that goes there once there is so much of the page.
 *
 * Parts of a view come after it was drawn: it is tried again until it succeeds, or they scroll.
 */
function scrolling(top, isCurrent) {
    const until = Date.now() + SCROLL_MS;
    const stopped = new AbortController();
    for (const name of ["wheel", "touchmove", "keydown", "mousedown"])
        addEventListener(name, () => stopped.abort(), { signal: stopped.signal, passive: true });
    const go = () => {
        clearTimeout(go.timer);
        if (stopped.signal.aborted) return;
        scrollTo(0, top);
        const isThere = Math.abs(scrollY - top) <= 1;
        if (isThere || !isCurrent() || Date.now() > until) stopped.abort();
        else go.timer = setTimeout(go, SCROLL_AGAIN_MS);
    };
    return go;
}

/** What the console gives at once. */
const ROWS_MAX = 1_000;
const SCROLL_MS = 5_000;
const SCROLL_AGAIN_MS = 100;

/** What an address named and the console does not know: which one, why that may be, where to look. */
function absent({ name, id }) {
    const noun = name === "traces" ? "trace" : "incident";
    const why =
        name === "traces"
            ? "Its events may still be awaited, for up to some minutes, it may be older than what is kept, or the id is mistyped."
            : "It may be older than what is kept, or the id is mistyped.";
    const all = h("a", { href: `/${name}` }, name === "traces" ? "Search traces" : "All incidents");
    const failure = new Failure(404, `There is no ${noun} ${id}.`);
    failure.hint = h("div", null, h("p", null, why), h("p", null, all));
    return failure;
}

function nowhere() {
    return state(
        "error",
        `There is no page ${location.pathname}.`,
        "Its name may be mistyped, or of another version.",
        h("a", { href: "/" }, "Go to Now"),
    );
}

/** The way back of who goes to another view by a link that the next one has not. */
function lost() {
    const isHere = main.contains(document.activeElement);
    return () => isHere && document.activeElement === document.body && main.focus();
}

const SLOW_MS = 5_000;

/** A console that is frozen, or busy, neither answers nor refuses. */
function slow(title) {
    if (title) title.textContent = "The console has not answered yet; this waits for it …";
}

let kept = [];

/** Remember what the last view showed, for as long as the next one cannot be asked for. */
function keep() {
    if (main.querySelector(":scope > .loading, :scope > .kept")) return;
    kept = [...main.childNodes];
}

/** What was shown before, under the word that it is not what was asked for. */
function before(title) {
    if (!kept.length) return null;
    const text = `${title ?? "The view"} opens by itself when the console answers. Below is what was shown before.`;
    return h("div", { class: "kept" }, h("p", { class: "small", role: "note" }, text), kept);
}

/**
 * The module of a view.
 *
 * A browser tells neither why a module did not come nor, in some, asks for it again.
 */
async function load(file) {
    try {
        return await import(`./views/${file}.js${load.failed ? `?again=${load.failed}` : ""}`);
    } catch (error) {
        if (!(error instanceof TypeError)) throw error;
        load.failed = (load.failed ?? 0) + 1;
        if (!(await isThere())) throw away();
        throw new Failure(0, "This part of the page did not come. Load the page again.");
    }
}

const FILES = {
    now: "now",
    traces: "traces",
    "traces/": "trace",
    fidelity: "fidelity",
    incidents: "incidents",
    "incidents/": "incident",
    records: "record",
    rejected: "rejected",
    catalog: "catalog",
};

/** An error in place of a view, with what can be done about it; what is away is waited for. */
export function broken(error) {
    if (!(error instanceof Failure)) console.error(error);
    const element = state(
        "error",
        error instanceof Failure ? error.message : "The page itself failed.",
        error instanceof Failure ? null : String(error),
        error.hint ?? null,
        error.isAway ? "It is asked again every two seconds." : null,
        h("button", { type: "button", onclick: () => show() }, "Try again"),
        error.status === 401
            ? h(
                  "a",
                  { href: address("/login", { next: location.pathname + location.search }) },
                  "Sign in",
              )
            : null,
    );
    if (error.isAway) whenBack(element, () => show());
    return element;
}

function follow(event) {
    const link = event.target.closest("a[href]");
    if (
        !link ||
        event.defaultPrevented ||
        event.button ||
        event.metaKey ||
        event.ctrlKey ||
        event.shiftKey
    )
        return;
    const url = new URL(link.href);
    const isView = url.origin === location.origin && !link.target && !link.hasAttribute("download");
    if (!isView || /^\/(api|assets|login|logout|metrics|health)/.test(url.pathname)) return;
    event.preventDefault();
    if (url.hash && url.pathname === location.pathname) {
        document.querySelector(url.hash)?.focus(); // a step of its own would draw the view anew
        return;
    }
    go(url.pathname + url.search);
    scrollTo(0, 0);
}

function help() {
    const box = document.getElementById("keys");
    put(
        box,
        h("h2", { id: "keys-title" }, "Keyboard"),
        h(
            "dl",
            { class: "keys" },
            KEYS.map(([key, does]) => [h("dt", null, h("kbd", null, key)), h("dd", null, does)]),
        ),
        h("form", { method: "dialog" }, h("button", null, "Close")),
    );
    box.showModal();
}

let wentAt = 0;

function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target.matches("input, select, textarea");
    if (event.key === "Escape" && isTyping) event.target.blur();
    if (isTyping || document.getElementById("keys").open) return;
    if (event.key === "/") {
        document.getElementById("find-text").focus();
        event.preventDefault();
    } else if (event.key === "j" && [document.body, main].includes(document.activeElement)) {
        const list = main.querySelector("[data-list]");
        list?.querySelector(list.dataset.list)?.focus();
    } else if (event.key === "?") help();
    else if (event.key === "g") wentAt = Date.now();
    else if (Date.now() - wentAt < 1_000 && GO[event.key]) {
        wentAt = 0;
        go(GO[event.key]);
    }
}

function switchTheme() {
    const root = document.documentElement;
    const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = root.dataset.theme ?? (isDark ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    localStorage.setItem("spanloom-theme", root.dataset.theme);
    dispatchEvent(new Event("theme"));
}

/** Who is logged in, and the way out; nothing where nobody logs in. */
async function greet() {
    const who = await me();
    if (!isLoggedIn(who)) return;
    const out = h(
        "form",
        { method: "post", action: "/logout" },
        h("button", { class: "quiet" }, "Log out"),
    );
    document.querySelector(".tools").append(h("span", { class: "small" }, who.actor), out);
}

function begin() {
    const links = VIEWS.map(([name, title]) => {
        const link = to(name === "now" ? "/" : `/${name}`, null, title);
        link.dataset.view = name;
        return link;
    });
    put(document.getElementById("nav"), links);
    document.addEventListener("click", follow);
    document.addEventListener("keydown", press);
    document.getElementById("theme").addEventListener("click", switchTheme);
    document.getElementById("help").addEventListener("click", help);
    document.getElementById("find").addEventListener("submit", async (event) => {
        event.preventDefault();
        const box = document.getElementById("find-text");
        const text = box.value.trim();
        if (!text) return;
        say(`Looking for ${text} …`);
        const found = await resolve(text).catch((error) => ({ said: error.message }));
        if (found.url) {
            box.value = "";
            box.blur();
            go(found.url);
        }
        say(found.said);
    });
    history.scrollRestoration = "manual"; // the browser would scroll what is not drawn yet
    addEventListener("popstate", (event) => {
        places.leave(main);
        places.turned(event.state);
        show(places.here());
    });
    addEventListener("pagehide", () => {
        places.leave(main);
        places.save();
    });
    live.start(document.getElementById("live"));
    greet().catch(() => {}); // the view itself says what is wrong
    show(places.here());
    setTimeout(warm, WARM_MS);
}

const WARM_MS = 1_500;

/** Fetch the other views while the console is there, so that none lacks once it is not. */
function warm() {
    for (const file of new Set(Object.values(FILES))) import(`./views/${file}.js`).catch(() => {});
}

begin();
