// Rejected: what could not be read, by reason, with samples.

import { Failure, get, isAbsent, offers } from "../api.js";
import { broken, go } from "../app.js";
import { address, choice, field, h, put, state } from "../dom.js";
import { count, moment } from "../format.js";
import { panel, table } from "../parts.js";
import { RANGES, span } from "../range.js";

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
    const asked = { ...span(query, "24h"), reason: query.reason, limit: 100 };
    try {
        if (!(await offers("/rejected"))) throw new Failure(404, "not offered");
        const found = await get("rejected", asked, view.signal);
        if (view.isCurrent()) draw(view, box, asked, found);
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

function draw(view, box, asked, found) {
    const reasons = Object.entries(found.by_reason).sort((a, b) => b[1] - a[1]);
    if (!reasons.length) {
        put(box, panel("Rejected", state("empty", "No event was rejected in this time.")));
        return;
    }
    const most = reasons[0][1];
    const bars = reasons.map(([reason, number]) => {
        const bar = h("span", { class: "bar-of" });
        bar.style.width = `${(12 * number) / most}rem`;
        return [
            h("a", { href: address("/rejected", { ...view.query, reason }) }, reason),
            h("span", null, bar, count(number)),
        ];
    });
    const known = ["reason", "topic", "partition", "offset", "timestamp", "detail", "value_bytes"];
    const rows = (list) =>
        list.map((one) => [
            moment(one.timestamp),
            one.reason,
            one.topic,
            `${one.partition}`,
            `${one.offset}`,
            one.detail ?? "",
            one.value_bytes === undefined ? "" : count(one.value_bytes),
            h(
                "span",
                { class: "id" },
                Object.entries(one)
                    .filter(
                        ([name, value]) => !known.includes(name) && value !== null && value !== "",
                    )
                    .map(
                        ([name, value]) =>
                            `${name}=${typeof value === "string" ? value.slice(0, 200) : JSON.stringify(value)}`,
                    )
                    .join(" "),
            ),
        ]);
    const samples = h("div");
    let all = found.rejected;
    let token = found.continuation_token;
    const list = () =>
        put(
            samples,
            table(
                "Rejected events",
                ["Time (UTC)", "Reason", "Topic", "Partition", "Offset", "Detail", "Bytes", "More"],
                rows(all),
            ),
            token
                ? h(
                      "button",
                      {
                          type: "button",
                          onclick: async () => {
                              const next = await get(
                                  "rejected",
                                  { ...asked, continuation_token: token },
                                  view.signal,
                              );
                              all = [...all, ...next.rejected];
                              token = next.continuation_token;
                              list();
                          },
                      },
                      "Show more",
                  )
                : null,
        );
    list();
    put(
        box,
        panel("By reason", table("By reason", ["Reason", "Events"], bars)),
        panel("Events", samples),
    );
}
