// The pages work without this. It asks for the page again when something has
// happened and puts its live parts in the place of the old ones; it makes no markup
// of its own from what came from outside.
"use strict";

(() => {
  const root = document.documentElement;
  const themes = ["light", "dark"];
  const kept = {
    get() { try { return localStorage.getItem("theme"); } catch { return null; } },
    set(v) { try { localStorage.setItem("theme", v); } catch { /* it lasts for this page alone */ } },
  };
  // Before the body is there, so that it never shows in the other colours.
  if (themes.includes(kept.get())) root.dataset.theme = kept.get();

  document.addEventListener("DOMContentLoaded", () => {
    theme();
    forms();
    quickFilter();
    keys();
    forgetNotice();
    const formPage = location.pathname.startsWith("/ui/"); // it can't be asked for again
    if (document.body.dataset.page !== undefined && !formPage) live();
  });

  function theme() {
    const button = document.querySelector("button.theme");
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      kept.set(root.dataset.theme);
    });
  }

  // What a form has done is said once.
  function forgetNotice() {
    const url = new URL(location.href);
    if (!url.searchParams.has("said")) return;
    url.searchParams.delete("said");
    history.replaceState(null, "", url);
  }

  function element(name, text, className) {
    const e = document.createElement(name);
    if (text) e.textContent = text;
    if (className) e.className = className;
    return e;
  }

  function show(dialog) {
    document.body.append(dialog);
    dialog.addEventListener("close", () => dialog.remove());
    dialog.showModal();
  }

  // Forms that say so are asked about first.
  function forms() {
    document.addEventListener("submit", (event) => {
      const form = event.target, button = event.submitter;
      if (!form.dataset.confirm || form.dataset.sure || (button && button.hasAttribute("data-plain"))) return;
      event.preventDefault();
      const dialog = element("dialog", "", "confirm");
      const yes = element("button", button ? button.textContent : "Yes", "main"), no = element("button", "Back");
      const buttons = element("div", "", "buttons");
      buttons.append(no, yes);
      dialog.append(element("p", form.dataset.confirm), buttons);
      no.addEventListener("click", () => dialog.close());
      yes.addEventListener("click", () => {
        form.dataset.sure = "1";
        dialog.close();
        form.requestSubmit(button);
        delete form.dataset.sure;
      });
      show(dialog);
      yes.focus();
    });
  }

  function quickFilter() {
    const label = document.querySelector(".quick");
    if (!label) return;
    label.hidden = false;
    label.querySelector("input").addEventListener("input", narrow);
  }

  function narrow() {
    const input = document.querySelector(".quick input");
    if (!input) return;
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of document.querySelectorAll("tbody tr[data-row]")) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((w) => text.includes(w));
    }
  }

  const goto = { o: "/", e: "/events", r: "/runs", u: "/rules", s: "/status" };
  const help = [
    ["j, k", "next, previous row"], ["Enter", "open it"], ["/", "filter"], ["g o", "overview"], ["g e", "events"],
    ["g r", "runs"], ["g u", "rules"], ["g s", "status"], ["t", "dark or light"], ["?", "these keys"],
  ];

  function keys() {
    const button = document.querySelector("button.keys"), hint = document.querySelector(".keyhint");
    if (!button) return;
    button.hidden = false;
    if (hint) hint.hidden = false;
    button.addEventListener("click", showKeys);
    let after = "";
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      const field = event.target.closest("input, textarea, select");
      if (field) {
        if (event.key === "Escape") field.blur();
        return;
      }
      const before = after;
      after = "";
      if (before === "g" && goto[event.key]) location.assign(goto[event.key]);
      else if (event.key === "g") after = "g";
      else if (event.key === "j") move(1);
      else if (event.key === "k") move(-1);
      else if (event.key === "t") document.querySelector("button.theme").click();
      else if (event.key === "?") showKeys();
      else if (event.key === "/") {
        const input = document.querySelector(".quick input") || document.querySelector(".filter input:not([type=hidden])");
        if (!input) return;
        event.preventDefault();
        input.focus();
      }
    });
  }

  function showKeys() {
    const dialog = element("dialog", "", "help"), table = element("table");
    for (const [key, what] of help) {
      const row = element("tr"), cell = element("td");
      cell.append(element("kbd", key));
      row.append(cell, element("td", what));
      table.append(row);
    }
    const close = element("button", "Close", "main"), buttons = element("div", "", "buttons");
    close.addEventListener("click", () => dialog.close());
    buttons.append(close);
    dialog.append(element("h2", "Keys"), table, buttons);
    show(dialog);
  }

  // move takes the focus to the row that is so many further.
  function move(by) {
    const links = [...document.querySelectorAll("[data-row]:not([hidden]) a.open")];
    if (!links.length) return;
    const at = links.indexOf(document.activeElement);
    const to = at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by));
    links[to].focus();
    links[to].scrollIntoView({ block: "nearest" });
  }

  // live keeps the page as things are. A hidden tab listens to nothing: a browser has
  // few connections to one host, and many tabs.
  function live() {
    const word = document.querySelector(".live");
    const least = 300; // ms from a notice to asking
    let apart = 1000; // ms between two times of asking; more where the answer takes long
    let source, timer, last = 0, asking = false, again = false;
    const say = (state, text) => {
      if (!word) return;
      word.hidden = false;
      word.dataset.state = state;
      word.querySelector(".word").textContent = text;
    };
    const soon = () => {
      if (timer) return;
      timer = setTimeout(ask, Math.max(least, last + apart - Date.now()));
    };
    const ask = async () => {
      timer = undefined;
      if (asking) { again = true; return; }
      asking = true;
      last = Date.now();
      try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html", "Hookrun-Live": "1" }, redirect: "error", cache: "no-store" });
        if (answer.ok) put(new DOMParser().parseFromString(await answer.text(), "text/html"));
        apart = Math.max(1000, 5 * (Date.now() - last));
      } catch { /* it is asked again with the next notice */ }
      asking = false;
      if (again) { again = false; soon(); }
    };
    const start = () => {
      if (source) return;
      source = new EventSource("/api/v1/watch");
      source.addEventListener("open", () => { say("on", "live"); });
      source.addEventListener("error", () => {
        say("lost", "not live");
        if (source.readyState === EventSource.CLOSED) { stop(); setTimeout(() => { if (!document.hidden) start(); }, 5000); }
      });
      for (const kind of ["event", "run", "rejected", "rules", "refused", "health", "missed"]) source.addEventListener(kind, soon);
    };
    const stop = () => { if (source) source.close(); source = undefined; };
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) { stop(); return; }
      start();
      soon();
    });
    addEventListener("pagehide", stop);
    addEventListener("pageshow", (event) => { if (event.persisted) { start(); soon(); } });
    setInterval(() => { if (!document.hidden && document.querySelector("[data-every]")) soon(); }, 1000);
    if (!document.hidden) start();
  }

  // put puts the live parts of a newer page in the place of those here.
  function put(page) {
    const known = new Set([...document.querySelectorAll("[data-row]")].map((e) => e.dataset.row));
    const focused = document.activeElement && document.activeElement.closest("[data-row]");
    const row = focused && focused.dataset.row;
    let fresh = 0;
    for (const old of document.querySelectorAll("[data-live]")) {
      const now = [...page.querySelectorAll("[data-live]")].find((e) => e.dataset.live === old.dataset.live);
      if (!now || now.innerHTML === old.innerHTML) continue;
      if (old.contains(document.activeElement) && document.activeElement.matches("input, textarea, select, button")) continue;
      keepOpen(old, now);
      const scrolls = [...old.querySelectorAll("pre")].map((e) => [e.scrollTop, e.scrollTop + e.clientHeight >= e.scrollHeight - 4]);
      const next = document.importNode(now, true);
      for (const e of next.querySelectorAll("[data-row]")) {
        if (known.has(e.dataset.row)) continue;
        e.classList.add("fresh");
        fresh++;
      }
      old.replaceWith(next);
      next.querySelectorAll("pre").forEach((e, i) => {
        if (scrolls[i]) e.scrollTop = scrolls[i][1] ? e.scrollHeight : scrolls[i][0];
      });
    }
    narrow();
    if (row) {
      const back = [...document.querySelectorAll("[data-row]")].find((e) => e.dataset.row === row);
      if (back && back.querySelector("a.open")) back.querySelector("a.open").focus({ preventScroll: true });
    }
    if (fresh) document.querySelector(".said").textContent = fresh === 1 ? "1 new row" : fresh + " new rows";
  }

  // keepOpen leaves open what a person has opened, and closed what they closed.
  function keepOpen(old, now) {
    const open = new Map([...old.querySelectorAll("details[data-key]")].map((e) => [e.dataset.key, e.open]));
    for (const e of now.querySelectorAll("details[data-key]")) if (open.has(e.dataset.key)) e.open = open.get(e.dataset.key);
  }
})();
