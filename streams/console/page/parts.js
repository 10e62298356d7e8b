// Pieces that several views show alike.

import { h } from "./dom.js";
import { briefly, since, utc, words } from "./format.js";

export const isOver = (incident) => ["RESOLVED", "MERGED"].includes(incident.event);

export function badge(text, kind = "") {
    return h("span", { class: `badge ${kind || text.toLowerCase()}` }, words(text));
}

export function owner(name) {
    return name ? h("span", { class: "owner" }, name) : h("span", { class: "unowned" }, "unowned");
}

/** Who owns a stage of a flow of the catalog; "" for nobody, and where no contract says it. */
export const ownerOf = (flow, stage) =>
    flow?.stages.find((one) => one.id === stage)?.owner ?? "";

/** A time as people read it; pointed at it is whole. */
export const time = (iso, text = utc(iso)) => h("time", { datetime: iso, title: iso }, text);

/** Who did something; the archive keeps people by a pseudonym where the contract says so. */
export function actor(name) {
    if (!name.startsWith("~")) return name;
    const title = "A pseudonym: the contract calls who it was personal.";
    return h("abbr", { title, class: "id" }, name);
}

export function traceLink(id, long = false) {
    return h(
        "a",
        { href: `/traces/${encodeURIComponent(id)}`, class: "id", title: id },
        long ? id : briefly(id),
    );
}

export function recordLink(id) {
    return h("a", { href: `/records/${encodeURIComponent(id)}`, class: "id" }, id);
}

/** One incident as a line of a list. */
export function incidentLine(one) {
    return h(
        "li",
        { class: `incident ${one.severity.toLowerCase()}` },
        h(
            "a",
            { href: `/incidents/${encodeURIComponent(one.incident_id)}` },
            h("span", { class: "title" }, one.title),
            h(
                "span",
                { class: "line small" },
                badge(one.severity),
                badge(one.event, isOver(one) ? "over" : one.event.toLowerCase()),
                h("span", null, one.module || "no module"),
                owner(one.owner),
                h("span", { class: "grow" }),
                time(
                    one.opened_at,
                    isOver(one) ? utc(one.opened_at) : `${since(one.opened_at)} ago`,
                ),
            ),
        ),
    );
}

export function tile(title, value, note, kind = "") {
    return h(
        "div",
        { class: `tile ${kind}` },
        h("span", { class: "tile-title" }, title),
        h("strong", null, value),
        h("span", { class: "small" }, note ?? ""),
    );
}

/** A table out of column titles and rows of cells; a cell may be a node. */
export function table(caption, titles, rows, more = {}) {
    const lines = rows.map((cells) =>
        h(
            "tr",
            null,
            cells.map((cell) => h("td", null, cell)),
        ),
    );
    const hidden = h("caption", { class: "hidden" }, caption);
    return scrolled(caption, titles, h("tbody", null, lines), more, hidden);
}

/** A table that scrolls within itself, out of column titles and a body that is there. */
export function scrolled(label, titles, body, more = null, caption = null) {
    const heads = titles.map((title) => h("th", { scope: "col" }, title));
    return h(
        "div",
        { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
        h("table", more, caption, h("thead", null, h("tr", null, heads)), body),
    );
}

export function panel(title, ...children) {
    return h("section", { class: "panel", "aria-label": title }, h("h2", null, title), children);
}

/**
 * A button that asks for the next page: {element, is(more)}, the latter after each page.
 *
 * `ask` adds the page. What fails is said beside the button, which can be pressed again.
 */
export function showMore(ask) {
    const said = h("span", { role: "status", class: "small" });
    let isAsking = false;
    const press = async () => {
        if (isAsking) return;
        isAsking = true;
        said.textContent = "Asking …";
        try {
            await ask();
            if (!button.hidden) said.textContent = "";
        } catch (error) {
            if (error.name !== "AbortError") said.textContent = `No more came: ${error.message}`;
        }
        isAsking = false;
    };
    const button = h("button", { type: "button", hidden: true, onclick: press }, "Show more");
    const element = h("div", { class: "line", tabindex: -1 }, button, said);
    const is = (more) => {
        const had = document.activeElement === button;
        button.hidden = !more;
        said.textContent = had && !more ? "These are all." : "";
        if (had && !more) element.focus(); // else the focus would be nowhere
    };
    return { element, is };
}
