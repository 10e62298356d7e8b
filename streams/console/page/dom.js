// Elements out of values. Text only ever becomes a text node: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes ?? {})) {
        if (value === undefined || value === null) continue;
        if (name.startsWith("aria-")) element.setAttribute(name, String(value));
        else if (value === false) continue;
        else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
        else if (name === "value" && "value" in element) element.value = value;
        else element.setAttribute(name, value === true ? "" : String(value));
    }
    append(element, children);
    return element;
}

function append(element, children) {
    for (const child of children.flat(Infinity)) {
        if (child === undefined || child === null || child === false) continue;
        element.append(
            child instanceof Node ? child : document.createTextNode(seen(String(child))),
        );
    }
}

const TURNS = /[\u202a-\u202e\u2066-\u2069]/g;

/** Text whose marks that turn the direction of others are seen: a name may not show as another. */
export const seen = (text) =>
    text.replace(TURNS, (mark) => `⟨${mark.charCodeAt(0).toString(16)}⟩`);

/** An HTML element: h("a", {href: "/"}, "home"). */
export const h = (name, attributes, ...children) =>
    fill(document.createElement(name), attributes, children);

/** An SVG element. */
export const s = (name, attributes, ...children) =>
    fill(document.createElementNS(SVG, name), attributes, children);

/** Put children in place of what an element holds. */
export function put(element, ...children) {
    element.replaceChildren();
    append(element, children);
    return element;
}

/** A link into the page; `keep` are the parameters of its query, empty ones left out. */
export function to(path, keep, ...children) {
    return h("a", { href: address(path, keep) }, ...children);
}

export function address(path, keep) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(keep ?? {}))
        if (value !== undefined && value !== null && value !== "") query.set(name, value);
    const text = query.toString();
    return text ? `${path}?${text}` : path;
}

/** What to show while there is nothing to show: one of loading, empty, error. */
export function state(kind, title, ...more) {
    return h(
        "div",
        { class: `state ${kind}`, role: kind === "error" ? "alert" : "status" },
        h("p", { class: "state-title" }, title),
        more.map((text) => (text instanceof Node ? text : h("p", null, text))),
    );
}

/** A labelled field of a form. */
export function field(label, control) {
    return h("label", { class: "field" }, h("span", null, label), control);
}

export function choice(name, values, chosen, any = "any") {
    const known = values.includes(chosen) || !chosen ? values : [...values, chosen];
    return h(
        "select",
        { name },
        any === null ? null : h("option", { value: "" }, any),
        known.map((value) => h("option", { value, selected: value === chosen }, value)),
    );
}

/** Let the arrows move between the links or buttons of a list; j and k too, j into it. */
export function arrows(list, selector) {
    list.dataset.list = selector;
    list.addEventListener("keydown", (event) => {
        const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
        if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.target.matches("input, select, textarea")) return;
        const all = [...list.querySelectorAll(selector)];
        const next = all[all.indexOf(document.activeElement) + step];
        if (next) {
            next.focus();
            event.preventDefault();
        }
    });
}

const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";

const nameOf = (one) =>
    [
        one.tagName,
        one.getAttribute("href") ?? one.getAttribute("name") ?? one.getAttribute("aria-label"),
        one.matches("a, input, select, textarea") ? "" : one.textContent,
    ].join(" ");

const called = (element, name) =>
    [...element.querySelectorAll(FOCUSABLE)].filter((one) => nameOf(one) === name);

/** What within an element has the focus, as {name, at}: the how-manieth that is called so; or null. */
export function focusMark(element) {
    const had = document.activeElement;
    if (!had || had === element || !element.contains(had)) return null;
    const name = nameOf(had);
    return { name, at: called(element, name).indexOf(had) };
}

/** What a mark of the focus stands for now, the last one called so where there are fewer; or null. */
export function marked(element, { name, at }) {
    const found = called(element, name);
    return found[at] ?? found.at(-1) ?? null;
}

/**
 * Where the focus is within an element, as a function that goes back to what is called the same
 * once all was drawn anew; the last time it is called it goes to `other` where that is gone.
 */
export function placeOf(element, other) {
    const mark = focusMark(element);
    return mark ? backTo(element, other, mark) : () => {};
}

/** As `placeOf`, of a mark that was made before. */
export function backTo(element, other, mark) {
    return (isLast = true) => {
        // Whoever went on to something else meanwhile stays there.
        if (![null, document.body, other].includes(document.activeElement)) return;
        (marked(element, mark) ?? (isLast ? other : null))?.focus({ preventScroll: true });
    };
}

/** Draw anew, and go back to what had the focus. */
export function keepFocus(element, draw) {
    const back = placeOf(element, element.closest("[tabindex]"));
    draw();
    back();
}

/** Draw anew, and open again what was open: details are told apart by their name or summary. */
export function keepOpen(element, draw) {
    const title = (details) =>
        details.dataset.name ?? details.querySelector("summary").textContent;
    const open = new Set([...element.querySelectorAll("details[open]")].map(title));
    const back = placeOf(element, element.closest("[tabindex]"));
    draw();
    for (const details of element.querySelectorAll("details"))
        if (open.has(title(details))) details.open = true;
    back();
}
