// Who looks on, and what they may order. A console where nobody logs in lets everybody do all.

import { get, offers } from "./api.js";

const NOBODY = { actor: "", may: ["viewer", "operator", "auditor", "personal", "admin"], login: "none" };
let asked;

/** Return {actor, may, login}; asked for once. */
export function me() {
    asked ??= offers("/me")
        .then((isOffered) => (isOffered ? get("me") : NOBODY))
        .catch((error) => {
            asked = undefined;
            throw error;
        });
    return asked;
}

export const isLoggedIn = (who) => who.login !== "none";
export const mayOrder = (who) => who.may.includes("operator");
