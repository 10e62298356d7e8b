// Runs before anything is drawn, so that a page that was dark does not flash white.
(() => {
    const chosen = localStorage.getItem("spanloom-theme");
    if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
})();
