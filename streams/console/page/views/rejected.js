// Rejected: what could not be read, by reason, with samples.

import { Failure, get, isAbsent, offers, post } from "../api.js";
import { broken, go } from "../app.js";
import { address, choice, field, h, put, state } from "../dom.js";
import { count, moment } from "../format.js";
import { panel, showMore, table } from "../parts.js";
import { RANGES, span } from "../range.js";
import { mayOrder, me } from "../session.js";

const PAGE = 100;

export async function show(view) {
    const { query } = view;
    const box = h("div", null, state("loading", "Loading …"));
    const submit = (event) => {
        event?.preventDefault();
        go(address("/rejected", Object.fromEntries(new FormData(form))));
    };
    const form = h(
        "form",
        { class: "filters", onsubmit: submit, onchange: submit },
        field("Within the last", choice("range", Object.keys(RANGES), query.range || "24h", null)),
        query.reason ? field("Reason", choice("reason", [query.reason], query.reason)) : null,
    );
    put(view.main, h("h1", { class: "hidden" }, "Rejected"), panel("Filter", form), box);
    const asked = { ...span(query, "24h"), reason: query.reason, limit: PAGE };
    try {
        if (!(await offers("/rejected"))) throw new Failure(404, "not offered");
        const first = { ...asked, limit: view.rows(PAGE) };
        const [found, who] = await Promise.all([get("rejected", first, view.signal), me()]);
        const again = (await offers("/rejected/redrive")) && mayOrder(who) ? redrive : null;
        if (view.isCurrent()) draw(view, box, asked, found, again);
    } catch (error) {
        if (error.name === "AbortError") return;
        put(
            box,
            isAbsent(error)
                ? panel(
                      "Rejected",
                      state(
                          "empty",
                          "This console does not answer questions about rejected events yet.",
                          "They lie in the topic telemetry.rejected.v1: spanloom tail telemetry.rejected.v1",
                      ),
                  )
                : broken(error),
        );
    }
}

function draw(view, box, asked, found, again) {
    const reasons = Object.entries(found.by_reason).sort((a, b) => b[1] - a[1]);
    if (!reasons.length) {
        put(box, panel("Rejected", state("empty", "No event was rejected in this time.")));
        return;
    }
    const most = reasons[0][1];
    const bars = reasons.map(([reason, number]) => {
        const bar = h("span", { class: "bar-of" });
        bar.style.width = `${(12 * number) / most}rem`;
        const link = h("a", { href: address("/rejected", { ...view.query, reason }) }, reason);
        return [link, h("span", null, bar, count(number))];
    });
    const samples = h("div");
    // Rows stay what they are: one that was sent again goes on saying so.
    const row = (one) => [...cells(one), ...(again ? [again(one)] : [])];
    const rows = found.rejected.map(row);
    let token = found.continuation_token;
    const more = showMore(async () => {
        const next = await get("rejected", { ...asked, continuation_token: token }, view.signal);
        rows.push(...next.rejected.map(row));
        token = next.continuation_token;
        view.note(rows.length);
        list();
    });
    const titles = ["Time (UTC)", "Reason", "Topic", "Partition", "Offset", "Bytes", "Detail"];
    const list = () => {
        put(samples, table("Rejected events", again ? [...titles, "Again"] : titles, rows));
        more.is(Boolean(token));
    };
    list();
    put(
        box,
        panel("By reason", table("Reasons", ["Reason", "Events"], bars)),
        panel("Events", samples, more.element),
    );
}

function cells(one) {
    return [
        moment(one.timestamp),
        one.reason,
        h("code", null, one.topic),
        String(one.partition),
        String(one.offset),
        one.value_bytes === undefined ? "" : count(one.value_bytes),
        h("span", { class: "small" }, one.detail ?? ""),
    ];
}

/** A button that sends a rejected record to its topic once more, and says what became of that. */
function redrive(one) {
    const box = h("span", { role: "status", tabindex: -1 });
    const order = async () => {
        const { topic, partition, offset } = one;
        put(box, "sending …");
        box.focus(); // the button that had it is gone
        try {
            const reason = "from the page";
            const done = await post("rejected/redrive", { topic, partition, offset, reason });
            put(box, `sent, offset ${done.redriven_offset}`);
        } catch (error) {
            put(box, `${error.message} `, button);
            button.focus();
        }
    };
    const place = `${one.topic}, partition ${one.partition}, offset ${one.offset}`;
    const title = "Writes the record to its topic once more, as it came.";
    const button = h(
        "button",
        { type: "button", onclick: order, title, "aria-label": `Send again: ${place}` },
        "Send again",
    );
    return put(box, button);
}
