// Orders about an incident: sent to the console, carried out by a worker, whose answer is shown.

import { Failure, isAbsent, offers, post } from "./api.js";
import { choice, field, h } from "./dom.js";
import { ago, words } from "./format.js";
import * as live from "./live.js";
import { isOver } from "./parts.js";
import { isLoggedIn, mayOrder } from "./session.js";

const PATH = "/incidents/{incident_id}/commands";
const LOOK_MS = 1_500;
const LOOKS = 20;
const HOURS = { "1 hour": 1, "4 hours": 4, "1 day": 24, "1 week": 168 };

/**
 * The form of orders: {element, heard(incident)}, the latter for each version that is news.
 *
 * `current()` is the incident as it is known; `who` says who orders.
 */
export function orders(view, current, who) {
    const reason = h("input", { maxlength: 500, placeholder: "why, for those who come after you" });
    const actor = h("input", {
        maxlength: 100,
        autocomplete: "username",
        value: localStorage.getItem("spanloom-actor") ?? "",
    });
    const hours = choice("hours", Object.keys(HOURS), "1 hour", null);
    const into = h("input", { maxlength: 64, placeholder: "id of the other", spellcheck: "false" });
    const told = h("p", { role: "status", class: "small" });
    const why = h("p", { id: "orders-why", class: "small" });
    let waits = "";
    let timer;

    // What cannot be ordered now can still be reached by the keyboard, and says why.
    const button = (command, title, isMain) =>
        h(
            "button",
            {
                type: "button",
                class: isMain ? "main" : "",
                "aria-describedby": "orders-why",
                onclick: () => {
                    const reason = refused(command);
                    if (reason) told.textContent = reason;
                    else give(command);
                },
            },
            title,
        );
    const refused = (command) =>
        waits ? "Wait for the answer to the order before." : hindered(command);
    const hindered = (command) => hindrance(command, current(), who, closed());
    const buttons = {
        ack: button("ack", "Acknowledge", true),
        resolve: button("resolve", "Resolve"),
        silence: button("silence", "Silence"),
        unsilence: button("unsilence", "End the silence"),
        merge: button("merge", "Merge"),
    };
    const set = () => {
        const incident = current();
        for (const [command, one] of Object.entries(buttons)) {
            const reason = refused(command);
            one.setAttribute("aria-disabled", String(Boolean(reason)));
            one.title = reason;
        }
        if (buttons.unsilence === document.activeElement && !incident.silenced)
            buttons.silence.focus();
        buttons.unsilence.hidden = !incident.silenced;
        const reason = hindered("resolve") || hindered("ack");
        if (why.textContent !== reason) why.textContent = reason; // it is read aloud
    };
    const end = (text) => {
        waits = "";
        clearTimeout(timer);
        set();
        told.textContent = text;
    };
    const give = async (command) => {
        const name = actor.value.trim();
        if (!isLoggedIn(who) && !name) {
            told.textContent = "Say who you are first: it is kept with the order.";
            actor.focus();
            return;
        }
        if (command === "merge" && !into.value.trim()) {
            told.textContent = "Name the incident that this one goes into.";
            into.focus();
            return;
        }
        const body = { command, reason: reason.value.trim() || words(command) };
        if (!isLoggedIn(who)) {
            body.actor = name;
            localStorage.setItem("spanloom-actor", name);
        }
        if (command === "silence") body.until = ago(-60 * HOURS[hours.value]);
        if (command === "merge") body.into = into.value.trim();
        await send(command, body);
    };
    const send = async (command, body) => {
        waits = "sending";
        set();
        told.textContent = `Sending ${words(command)} …`;
        try {
            if (!(await offers(PATH))) throw new Failure(404, "not offered");
            const answer = await post(`incidents/${current().incident_id}/commands`, body);
            waits = answer.command_id;
            told.textContent = `${words(command)} is on its way; the worker's answer shows here.`;
            look(command, LOOKS, body.actor ?? who.actor);
        } catch (error) {
            end(refusal(error, command));
        }
    };
    // What a worker refuses changes no incident: its answer is an entry of the audit alone. There
    // the archive has a pseudonym for who ordered it; the name is known here.
    const look = (command, left, by) => {
        timer = setTimeout(async () => {
            const found = await answerTo(waits).catch(() => null);
            if (!waits || !view.isCurrent()) return;
            if (found?.dimensions.outcome === "refused")
                end(`Refused by the worker: ${found.dimensions.refused}`);
            else if (found) end(`Done: ${words(command)}, by ${by}.`);
            else if (left) look(command, left - 1, by);
            else end("No answer yet: it is carried out when a worker runs.");
        }, LOOK_MS);
    };
    view.onLeave(() => clearTimeout(timer));
    set();
    view.listen((name) => name === "health" && set());
    return {
        element: form({ reason, actor, hours, into, told, why, buttons, who }),
        heard: (incident) => {
            if (waits && incident.command_id === waits)
                end(`Done: ${words(incident.event.toLowerCase())}, by ${incident.command_actor}.`);
            else set();
        },
    };
}

/** Why this console takes no orders at the moment, as it says itself; "" when it does. */
export const closed = () => live.last("health")?.orders_closed ?? "";

/** Why a command cannot be ordered of an incident, by somebody; "" when it can. */
export function hindrance(command, incident, who, closed = "") {
    if (closed) return `No orders are taken: ${closed}.`;
    if (!mayOrder(who)) return "You may look on; orders need the role operator, or admin.";
    if (incident.event === "MERGED")
        return "It went into another incident: give orders to that one.";
    if (isOver(incident)) return "It is resolved: there is nothing to order any more.";
    if (command === "ack" && incident.acknowledged_by)
        return `${incident.acknowledged_by} has acknowledged it already.`;
    return "";
}

function form({ reason, actor, hours, into, told, why, buttons, who }) {
    const name = isLoggedIn(who)
        ? h("span", null, "You are ", h("strong", null, who.actor))
        : field("You are", actor);
    return h(
        "section",
        { class: "panel", "aria-label": "Orders" },
        h(
            "div",
            { class: "line end" },
            name,
            field("Reason", reason),
            buttons.ack,
            buttons.resolve,
            h("span", { class: "line end pair" }, field("For", hours), buttons.silence),
            buttons.unsilence,
            h("span", { class: "line end pair" }, field("Into", into), buttons.merge),
        ),
        why,
        told,
    );
}

async function answerTo(id) {
    const range = { start: ago(10), end: ago(-10) };
    const found = await post("audit/query", { time_range: range, correlation_id: id, limit: 1 });
    return found.entries[0];
}

function refusal(error, command) {
    if (!(error instanceof Failure)) return `The page failed: ${error}`;
    if (isAbsent(error))
        return `This console takes no orders. Use: spanloom incident ${command} ID --reason TEXT`;
    if (error.status === 403) return `You may not ${words(command)}: ${error.message}`;
    return `Not taken: ${error.message}`;
}
