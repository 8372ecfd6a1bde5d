// The console's behaviour. Every page can be read without it.
(() => {
  "use strict";

  // Live parts. The server sends the part again when it has changed. What a reader looks at does not move: away from
  // the top of the part, known rows are updated where they are, and new ones wait behind a button.
  const section = document.querySelector("section[data-live]");
  let source = null, waiting = null;

  const parse = (text) => {
    const t = document.createElement("template");
    t.innerHTML = text;
    return t.content;
  };

  const reading = () => {
    const selected = getSelection();
    if (section.contains(document.activeElement) && document.activeElement !== section) return true;
    if (selected && !selected.isCollapsed && section.contains(selected.anchorNode)) return true;
    if (section.querySelector("tr.at, details[open][data-hold]")) return true;
    return section.getBoundingClientRect().top < 0;
  };

  const replace = (fresh) => {
    const known = new Set([...section.querySelectorAll("[data-key]")].map((e) => e.dataset.key));
    const open = new Set([...section.querySelectorAll("details[open][id]")].map((e) => e.id));
    for (const e of fresh.querySelectorAll("[data-key]")) {
      if (known.size && !known.has(e.dataset.key)) e.classList.add("new");
    }
    for (const e of fresh.querySelectorAll("details[id]")) e.open = e.open || open.has(e.id);
    section.replaceChildren(fresh);
    waiting = null;
    news(0);
    if (window.htmx) htmx.process(section);
  };

  const news = (n) => {
    let bar = document.getElementById("news");
    if (n === 0) {
      if (bar) bar.remove();
      return;
    }
    if (!bar) {
      bar = document.createElement("button");
      bar.id = "news";
      bar.type = "button";
      bar.className = "news primary";
      bar.setAttribute("aria-live", "polite");
      bar.addEventListener("click", () => {
        if (document.activeElement) document.activeElement.blur();
        if (waiting) replace(parse(waiting));
        scrollTo({ top: 0 });
      });
      section.before(bar);
    }
    const what = n + " new " + (n === 1 ? "row" : "rows");
    if (bar.textContent !== what) bar.textContent = what;
  };

  // update changes what has a key or an id in place, and counts what is new.
  const update = (text) => {
    const fresh = parse(text);
    const own = new Map([...section.querySelectorAll("[data-key]")].map((e) => [e.dataset.key, e]));
    let added = 0;
    for (const e of fresh.querySelectorAll("[data-key]")) {
      const old = own.get(e.dataset.key);
      if (!old) {
        added++;
      } else if (old.innerHTML !== e.innerHTML && !old.contains(document.activeElement)) {
        old.replaceChildren(...e.childNodes);
      }
    }
    for (const e of fresh.querySelectorAll("[id]")) {
      const old = document.getElementById(e.id);
      if (old && section.contains(old) && !old.querySelector("[data-key]") && !old.closest("[data-key]") &&
        old.tagName !== "DETAILS" && !old.contains(document.activeElement) && old.innerHTML !== e.innerHTML) {
        old.replaceChildren(...e.childNodes);
      }
    }
    waiting = text;
    if (added > 0 || own.size === 0) news(added || 1);
  };

  const start = () => {
    if (!section || source || document.hidden) return;
    const url = document.body.dataset.livePath + "?page=" + encodeURIComponent(section.dataset.live);
    source = new EventSource(url);
    source.addEventListener("live", (e) => {
      if (reading()) update(e.data);
      else replace(parse(e.data));
    });
    source.addEventListener("end", stop);
  };
  const stop = () => {
    if (source) source.close();
    source = null;
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  addEventListener("pagehide", stop);
  addEventListener("pageshow", start);
  start();

  // In a narrow window the list of pages scrolls sideways: begin at the present one.
  const present = document.querySelector("nav.side [aria-current]");
  if (present) present.parentElement.scrollLeft = present.offsetLeft - present.parentElement.offsetLeft - 12;

  // Relative times go on without the server.
  const spans = [[86400 * 2, 86400, "d"], [3600, 3600, "h"], [60, 60, "min"], [1, 1, "s"]];
  setInterval(() => {
    for (const t of document.querySelectorAll("time[datetime]")) {
      if (t.hasAttribute("data-fixed")) continue;
      const s = (Date.now() - Date.parse(t.dateTime)) / 1000, a = Math.abs(s);
      const unit = spans.find(([from]) => a >= from);
      const words = unit ? Math.floor(a / unit[1]) + " " + unit[2] : "now";
      const text = !unit ? "now" : s < 0 ? "in " + words : words + " ago";
      if (t.textContent !== text) t.textContent = text;
    }
  }, 1000);

  // Copy buttons.
  document.addEventListener("click", async (e) => {
    const b = e.target.closest("[data-copy], [data-copy-from]");
    if (!b) return;
    const from = b.dataset.copyFrom && document.getElementById(b.dataset.copyFrom);
    try {
      await navigator.clipboard.writeText(from ? from.textContent : b.dataset.copy);
      b.classList.add("done");
      setTimeout(() => b.classList.remove("done"), 1500);
    } catch {
      // The browser forbids it; the title shows the text.
    }
  });

  // A form or a button that says data-confirm asks first.
  document.addEventListener("submit", (e) => {
    const ask = (e.submitter && e.submitter.dataset.confirm) || e.target.dataset.confirm;
    if (ask && !confirm(ask)) e.preventDefault();
  });

  // A flash is shown once: a reload of the page does not show it again.
  const here = new URL(location.href);
  if (here.searchParams.has("flash")) {
    here.searchParams.delete("flash");
    history.replaceState(history.state, "", here);
  }

  // Keys.
  const rows = () => [...document.querySelectorAll("table.list tbody tr")].filter((r) => r.querySelector("a[href]"));
  const move = (by) => {
    const all = rows();
    if (!all.length) return;
    const was = all.findIndex((r) => r.classList.contains("at"));
    const next = Math.max(0, Math.min(all.length - 1, was < 0 ? (by > 0 ? 0 : all.length - 1) : was + by));
    if (was >= 0) all[was].classList.remove("at");
    all[next].classList.add("at");
    all[next].querySelector("a[href]").focus({ preventScroll: true });
    all[next].scrollIntoView({ block: "nearest" });
  };
  let went = 0;
  const places = { o: "Overview", e: "Events", w: "Webhooks", a: "Agents", d: "Domains", r: "Replays", k: "Keys", t: "Tenants" };
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing) return;
    const typing = e.target.closest && e.target.closest("input, textarea, select, [contenteditable]");
    if (e.key === "Escape") {
      if (typing) typing.blur();
      const at = document.querySelector("tr.at");
      if (at) {
        at.classList.remove("at");
        if (document.activeElement) document.activeElement.blur();
      }
      return;
    }
    if (typing || document.querySelector("dialog[open]")) return;
    if (Date.now() - went < 1000 && places[e.key]) {
      const link = [...document.querySelectorAll("nav.side a")].find((a) => a.textContent === places[e.key]);
      went = 0;
      if (link) {
        e.preventDefault();
        link.click();
      }
      return;
    }
    const search = document.getElementById("search"), keys = document.getElementById("keys");
    if (e.key === "/" && search) {
      e.preventDefault();
      search.focus();
      search.select();
    } else if (e.key === "j") move(1);
    else if (e.key === "k") move(-1);
    else if (e.key === "g") went = Date.now();
    else if (e.key === "?" && keys) keys.showModal();
  });
})();
