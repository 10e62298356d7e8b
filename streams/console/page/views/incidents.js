// Incidents: the list, those that are open first; it follows the news.

import { contract, get } from "../api.js";
import { broken, go } from "../app.js";
import { address, arrows, choice, field, h, keepFocus, put, state } from "../dom.js";
import { count } from "../format.js";
import { incidentLine, panel, showMore } from "../parts.js";
import { RANGES, span } from "../range.js";

const PAGE = 100;

export async function show(view) {
    const { query } = view;
    const catalog = await contract();
    const owners = [...new Set(catalog.modules.map((one) => one.owner).filter(Boolean))];
    const list = h("ul", { class: "incidents" });
    const shown = h("span", { class: "small" });
    const more = showMore(async () => {
        const found = await get("incidents", { ...asked, continuation_token: token }, view.signal);
        known = [...known, ...found.incidents];
        token = found.continuation_token;
        view.note(known.length);
        draw();
    });
    const submit = (event) => {
        event?.preventDefault();
        go(address("/incidents", Object.fromEntries(new FormData(form))));
    };
    const form = h(
        "form",
        { class: "filters", onsubmit: submit, onchange: submit },
        field("Open within the last", choice("range", Object.keys(RANGES), query.range)),
        field("State", choice("state", ["open", "ended"], query.state)),
        field(
            "Severity",
            choice("severity", ["CRITICAL", "ERROR", "WARN", "INFO"], query.severity),
        ),
        field(
            "Module",
            choice(
                "module",
                catalog.modules.map((one) => one.name),
                query.module,
            ),
        ),
        field("Owner", choice("owner", owners, query.owner)),
        h("a", { href: "/incidents" }, "Reset"),
    );
    arrows(list, "a");
    put(
        view.main,
        h("h1", { class: "hidden" }, "Incidents"),
        panel("Filter", form),
        h(
            "section",
            { class: "panel", "aria-label": "Incidents" },
            h("div", { class: "line head" }, h("h2", null, "Incidents"), shown),
            list,
            more.element,
        ),
    );

    const asked = {
        ...(query.range || query.start ? span(query) : {}),
        state: query.state,
        severity: query.severity,
        module: query.module,
        owner: query.owner,
        limit: PAGE,
    };
    let token = "";
    let known = [];
    const draw = () => {
        const isNarrowed = Object.keys(asked).some((name) => name !== "limit" && asked[name]);
        const none = () =>
            isNarrowed
                ? state("empty", "No incident fits.", "Take a condition away, or widen the time.")
                : state("empty", "There has been no incident yet, or none is kept.");
        const lines = known.length ? known.map(incidentLine) : h("li", null, none());
        keepFocus(list, () => put(list, lines));
        shown.textContent = known.length
            ? `${count(known.length)} shown${token ? ", there are more" : ""}`
            : "";
        more.is(Boolean(token));
    };
    const load = async (limit = PAGE) => {
        try {
            const found = await get("incidents", { ...asked, limit }, view.signal);
            [known, token] = [found.incidents, found.continuation_token];
            if (view.isCurrent()) draw();
        } catch (error) {
            // What is listed stays readable; the state at the top says when the console is away.
            if (error.name !== "AbortError" && !known.length)
                put(list, h("li", null, broken(error)));
        }
    };
    put(list, h("li", null, state("loading", "Loading …")));
    await load(view.rows(PAGE));
    let isFirst = true; // what is known at once is what was loaded just now
    view.listen((name) => {
        if (name === "incidents" && !isFirst && known.length <= PAGE) load();
        if (name === "incidents") isFirst = false;
    });
}
