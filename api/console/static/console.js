"use strict";
// What every page does: times in the reader's zone, live conditions, keys. The pages work without it.
(() => {
  const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const exact = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  const dated = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });
  const steps = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [86400 * 7, 86400, "d"]];

  function near(at) {
    const seconds = (Date.now() - at) / 1000;
    const size = Math.abs(seconds);
    if (size < 5) return "now";
    for (const [limit, unit, name] of steps) {
      if (size < limit) return seconds > 0 ? `${Math.floor(size / unit)} ${name} ago` : `in ${Math.ceil(size / unit)} ${name}`;
    }
    const date = new Date(at);
    return date.getFullYear() === new Date().getFullYear() ? `${day.format(date)}, ${clock.format(date)}` : dated.format(date);
  }

  function showTimes(within) {
    for (const element of within.querySelectorAll("time[datetime]")) {
      const at = Date.parse(element.dateTime);
      if (Number.isNaN(at)) continue;
      element.textContent = element.classList.contains("exact") ? exact.format(new Date(at)) : near(at);
      element.title = `${zone.format(new Date(at))}\n${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;
    }
  }

  const grouped = (n) => String(n).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
  function size(bytes) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
    return `${bytes.toFixed(unit && bytes < 10 ? 1 : 0)} ${units[unit]}`;
  }
  function length(seconds) {
    if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
    if (seconds < 60) return `${seconds.toFixed(1)} s`;
    return seconds < 3600 ? `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s` : `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  }
  const slug = (word) => word.toLowerCase().replace(/[^a-z0-9]+/g, "-");

  function showView(view) {
    for (const mark of document.querySelectorAll(`[data-condition="${view.id}"]`)) {
      mark.textContent = view.condition;
      mark.className = `state s-${slug(view.condition)}`;
    }
    const row = document.querySelector(`tr[data-view="${view.id}"]`);
    if (row) {
      const fill = (name, value, shown) => {
        const field = row.querySelector(`[data-field="${name}"]`);
        if (field && value !== null) { field.textContent = shown(value); field.classList.remove("none"); }
      };
      fill("rows", view.rows, grouped);
      fill("bytes", view.bytes, size);
      fill("seconds", view.seconds, length);
      const data = row.querySelector('[data-field="data_as_of"]');
      if (data && view.data_as_of) {
        const time = document.createElement("time");
        time.dateTime = view.data_as_of;
        data.replaceChildren(time);
        showTimes(data);
      }
      row.classList.remove("changed");
      void row.offsetWidth;
      row.classList.add("changed");
    }
    document.dispatchEvent(new CustomEvent("matview:view", { detail: view }));
    const watched = document.querySelector(`[data-watch="${view.id}"]`);
    if (watched) loadAgain();
  }

  // The page of the thing that has changed is read again, unless the reader is in the middle of something on it.
  let pending = 0;
  function loadAgain() {
    clearTimeout(pending);
    pending = setTimeout(() => {
      const busy = document.querySelector("main details.ask[open], main form :focus:not(button)") || document.querySelector("[data-still]");
      if (busy) return;
      fetch(location.href, { headers: { "x-live": "1" } }).then((answer) => (answer.ok ? answer.text() : null)).then((text) => {
        if (!text) return;
        const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
        const main = document.querySelector("main");
        if (!fresh) return;
        const focused = document.activeElement && document.activeElement.closest("main") ? path(document.activeElement) : null;
        main.replaceChildren(...fresh.childNodes);
        if (window.htmx) window.htmx.process(main);
        showTimes(main);
        document.dispatchEvent(new CustomEvent("matview:loaded"));
        const again = focused && document.querySelector(focused);
        if (again) again.focus({ preventScroll: true });
      }).catch(() => {});
    }, 200 + Math.random() * 600);
  }
  function path(element) {
    const parts = [];
    for (let at = element; at && at.tagName !== "MAIN"; at = at.parentElement) {
      parts.unshift(`${at.tagName.toLowerCase()}:nth-child(${[...at.parentElement.children].indexOf(at) + 1})`);
    }
    return `main > ${parts.join(" > ")}`;
  }

  function listen() {
    const address = document.body.dataset.live;
    if (!address || !window.EventSource) return;
    const mark = document.getElementById("live");
    const source = new EventSource(address);
    const say = (word, on) => { mark.hidden = false; mark.textContent = word; mark.classList.toggle("off", !on); };
    source.addEventListener("open", () => say("Live", true));
    source.addEventListener("error", () => say(source.readyState === 2 ? "Not live: load the page again" : "Connecting again", false));
    // What has changed between the reading of the page and now was not sent.
    let before = false;
    source.addEventListener("ready", () => {
      if (before || document.querySelector("[data-watch] .s-running, [data-watch] .s-waiting, tr[data-view] .s-running")) loadAgain();
      before = true;
    });
    source.addEventListener("views", (event) => JSON.parse(event.data).forEach(showView));
    source.addEventListener("generations", (event) => {
      for (const one of JSON.parse(event.data)) {
        document.dispatchEvent(new CustomEvent("matview:generation", { detail: one }));
        if (document.querySelector(`[data-watch="${one.id}"], [data-watch="generations"]`)) loadAgain();
      }
    });
    source.addEventListener("ended", () => { source.close(); say("The session has ended", false); });
    window.addEventListener("pagehide", () => source.close());
    window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  }

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable], .ace_editor");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      const search = document.querySelector("input[type=search]");
      if (search) { event.preventDefault(); search.focus(); search.select(); }
    }
    if (event.key === "Escape") {
      const open = document.querySelector("details.ask[open]");
      if (open) { open.open = false; open.querySelector("summary").focus(); }
    }
  });
  document.addEventListener("htmx:afterSwap", (event) => showTimes(event.detail.target.isConnected ? event.detail.target : document));
  document.addEventListener("htmx:afterSettle", () => showTimes(document));
  document.addEventListener("htmx:sendError", () => {
    const notice = document.getElementById("notice");
    if (notice) notice.textContent = "The server does not answer. Nothing is known of what was asked: load the page again.";
  });
  window.matview = { showTimes, length, slug };
  showTimes(document);
  setInterval(() => showTimes(document), 15000);
  listen();
})();
