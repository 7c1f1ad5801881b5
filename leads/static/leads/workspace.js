/* The sales workspace stays in place: leads follow each other without a new page, moves post in the background, and every
   ten seconds what has changed elsewhere is patched in. Links and forms are plain ones, so all works without this script.

   An element says by data-key which key clicks it; a <summary> is opened and its first field takes the focus.
   Where no such element is on the page, #key-words says why. */

import { linger, toast } from "../journey/shell.js";

const KEYS = "sales-keys"; // localStorage: "off" where a person switched single keys off (WCAG 2.1.4)
const EVERY = 10_000;
const LEAD = /\/sales\/\d+\/$/;
const FIELDS = "input:not([type=hidden]), textarea, select";

const find = (selector, root = document) => root.querySelector(selector);
const parse = (text) => new DOMParser().parseFromString(text, "text/html");
const words = find("#key-words").dataset;
const narrow = matchMedia("(max-width: 860px)");
const firstField = (form) => find("input[type=radio]:checked", form) ?? find(FIELDS, form);
const shown = () => find("#dossier").dataset.lead;

// What differs -------------------------------------------------------------------------------------------------------

/* Makes one element look like another, changing only what differs: what has the focus keeps it, what was typed stays. */
const patch = (from, to) => {
  if (from.isEqualNode(to)) return;
  if (from.nodeType !== Node.ELEMENT_NODE) { from.nodeValue = to.nodeValue; return; }
  for (const { name } of [...from.attributes]) if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
  for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  const wanted = new Set([...to.children].map((child) => child.id));
  for (const child of [...from.children]) if (child.id && !wanted.has(child.id)) child.remove();
  const known = new Map([...from.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = from.firstChild;
  for (const child of [...to.childNodes]) {
    const same = child.id ? known.get(child.id) : at && !at.id && at.nodeName === child.nodeName ? at : null;
    if (!same) { from.insertBefore(child, at); continue; }
    if (same === at) at = at.nextSibling;
    else from.insertBefore(same, at);
    patch(same, child);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
};

const patchList = (fresh) => {
  const list = find("#list");
  const active = document.activeElement;
  const row = list.contains(active) && active.closest("[id^=lead-]")?.id;
  patch(list, fresh);
  if (row && document.activeElement !== active) find(`#${row} a`)?.focus({ preventScroll: true });
};

// One lead after the other -------------------------------------------------------------------------------------------

const fetched = new Map(); // address → the panes that are there or on their way
let turn = 0; // only what was asked for last is shown
let ahead; // the timer of the next lead's panes
let place = 0; // where in the list the shown lead stands, or stood before it left

const panes = (href) => {
  if (!fetched.has(href)) {
    const url = new URL(href, location);
    url.pathname += "panes/";
    fetched.set(href, fetch(url).then(async (answer) => {
      if (answer.status !== 200 || answer.redirected) throw new Error(answer.status);
      return parse(await answer.text());
    }));
    fetched.get(href).catch(() => fetched.delete(href));
  }
  return fetched.get(href);
};

const mark = () => {
  const rows = [...document.querySelectorAll("#list .sales-list a")];
  for (const row of rows) row.removeAttribute("aria-current");
  const at = rows.findIndex((row) => row.parentElement.id === `lead-${shown()}`);
  if (at >= 0) {
    place = at;
    rows[at].setAttribute("aria-current", "true");
    if (!narrow.matches) rows[at].scrollIntoView({ block: "nearest" });
  }
  const ways = {
    prev: rows[place - 1] ?? find("#list [rel=prev]"),
    // Where the lead has left the list, the one that moved up comes next.
    next: rows[at >= 0 ? place + 1 : place] ?? find("#list [rel=next]"),
  };
  for (const [rel, row] of Object.entries(ways)) {
    const link = find(`.sales-walk [rel=${rel}]`);
    link.hidden = !row;
    if (row) link.href = row.href;
    else link.removeAttribute("href");
  }
  clearTimeout(ahead);
  // By the time somebody has read this one, the next one is there.
  if (ways.next && LEAD.test(ways.next.pathname)) ahead = setTimeout(panes, 300, ways.next.href);
};

const show = (doc) => {
  document.title = doc.title;
  for (const part of [".breadcrumbs", "#dossier", "#move"]) find(part).replaceWith(find(part, doc));
};

/* Puts another lead into the panes. `stay`: the same lead, so that nothing scrolls and the focus stays. */
const go = async (href, { push = true, focus = true, stay = false } = {}) => {
  const mine = ++turn;
  let doc;
  try { doc = await panes(href); } catch { return location.assign(href); }
  if (mine !== turn) return;
  fetched.delete(href); // the next time it may look different
  if (push) {
    history.replaceState({ y: scrollY }, "");
    history.pushState({ inside: true }, "", href);
  }
  show(doc);
  document.body.classList.replace("is-list", "is-lead");
  mark();
  if (stay) return find("#story").scrollIntoView();
  find(".sales-dossier").scrollTop = 0;
  if (narrow.matches) scrollTo(0, 0);
  if (focus || narrow.matches) find("#person").focus({ preventScroll: true });
};

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  if (link.hasAttribute("data-back") && history.state?.inside && narrow.matches) {
    event.preventDefault();
    history.back();
  } else if (link.origin === location.origin && LEAD.test(link.pathname)) {
    event.preventDefault();
    const stay = link.hash === "#story";
    go(link.href.replace(link.hash, ""), { stay, focus: !link.closest("#list") });
  }
});

addEventListener("popstate", (event) => {
  if (LEAD.test(location.pathname)) return void go(location.href, { push: false });
  turn += 1;
  document.body.classList.replace("is-lead", "is-list");
  if (!narrow.matches) return void (find("#list .sales-list a") && go(find("#list .sales-list a").href, { push: false }));
  scrollTo(0, event.state?.y ?? 0);
  find(`#lead-${shown()} a`)?.focus({ preventScroll: true });
});

// Moves --------------------------------------------------------------------------------------------------------------

const arrive = (doc, answer) => {
  const same = find("#dossier", doc).dataset.lead === shown();
  if (answer.redirected && answer.url !== location.href) history[same ? "replaceState" : "pushState"]({ inside: true }, "", answer.url);
  const said = find("#said", doc);
  find("#said").replaceChildren(...said.childNodes);
  document.querySelectorAll("#said .toast").forEach(linger);
  patch(find("#tabs"), find("#tabs", doc));
  patchList(find("#list", doc));
  document.body.className = doc.body.className;
  fetched.clear();
  show(doc);
  mark();
  const wrong = find("#move .errorlist");
  (wrong ? firstField(wrong.closest("form")) : find("#person"))?.focus({ preventScroll: !wrong });
};

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.method !== "post" || !form.closest("#move, #said")) return;
  event.preventDefault();
  if (form.dataset.busy) return;
  form.dataset.busy = "1";
  turn += 1;
  try {
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { "X-In-Place": "1" } });
    const doc = parse(await answer.text());
    if (find("#list", doc)) arrive(doc, answer);
    else if (answer.redirected) location.assign(answer.url);
    else toast(find("h1, h2", doc)?.textContent.trim() || words.lost);
  } catch {
    toast(words.lost);
  } finally {
    delete form.dataset.busy;
  }
});

// Live ---------------------------------------------------------------------------------------------------------------

let tag = "";
let polls = 0;

const news = (answer, lead) => {
  for (const [key, count] of Object.entries(answer.counts)) {
    for (const shown of document.querySelectorAll(`[data-count=${key}]`)) if (shown.textContent !== count) shown.textContent = count;
  }
  const rows = () => [...document.querySelectorAll("#list [id^=lead-]")];
  const before = new Set(rows().map((row) => row.id));
  const fresh = find("#list").cloneNode(false);
  fresh.append(...parse(answer.list).body.childNodes);
  patchList(fresh);
  const arrived = before.size ? rows().filter((row) => !before.has(row.id)) : [];
  for (const row of arrived) row.classList.add("is-new");
  if (arrived.length) find("#news").textContent = `${find("#news").dataset.new} ${arrived.map((row) => find("strong", row).textContent).join(", ")}`;
  mark();
  if (lead !== shown()) return;
  if (answer.gone) return gone(answer.gone);
  // What is gone by then says so with the next news.
  if (answer.mark && answer.mark !== find("#dossier").dataset.mark) refresh().catch(() => {});
};

const refresh = async () => {
  const mine = turn;
  const href = new URL(find(`#lead-${shown()} a`)?.href ?? `/sales/${shown()}/`, location);
  if (LEAD.test(location.pathname)) href.search = location.search;
  fetched.delete(href.href);
  const doc = await panes(href.href);
  fetched.delete(href.href);
  if (mine !== turn || find("#dossier", doc).dataset.lead !== shown()) return;
  for (const part of ["#dossier", "#move"]) patch(find(part), find(part, doc));
};

const gone = (text) => {
  const moves = find("#move .sales-moves");
  if (!moves) return;
  const said = document.createElement("p");
  said.className = "notice is-warn";
  said.setAttribute("role", "alert");
  said.textContent = text;
  find("#move .sales-hint")?.remove();
  moves.replaceWith(said);
};

const poll = async () => {
  const number = ++polls;
  const lead = shown();
  const url = new URL(find("#list").dataset.live, location);
  if (lead) url.searchParams.set("lead", lead);
  try {
    const answer = await fetch(url, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
    if (answer.redirected) return location.reload(); // logged out
    if (answer.status !== 304 && !answer.ok) throw new Error(answer.status);
    find("#offline").hidden = true;
    if (answer.status === 304 || number !== polls) return;
    const told = await answer.json();
    if (number !== polls) return;
    tag = answer.headers.get("ETag");
    news(told, lead);
  } catch {
    find("#offline").hidden = false;
  }
};

setInterval(() => document.hidden || poll(), EVERY);
document.addEventListener("visibilitychange", () => document.hidden || poll());

// Finding ------------------------------------------------------------------------------------------------------------

const search = find("#search");
const home = search.value ? "/sales/live/" : find("#list").dataset.live;
let typing;
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    find("#list").dataset.live = search.value.trim() ? `/sales/live/?${new URLSearchParams({ q: search.value.trim() })}` : home;
    poll();
  }, 200);
});

// Keys ---------------------------------------------------------------------------------------------------------------

const box = find(".sales-switch");
const onOff = find("input", box);
box.hidden = false;
onOff.checked = localStorage.getItem(KEYS) !== "off";
onOff.addEventListener("change", () => localStorage.setItem(KEYS, onOff.checked ? "on" : "off"));

document.addEventListener("keydown", (event) => {
  let key = event.key.toLowerCase();
  const isTyped = event.target.closest?.("input:not([type=radio], [type=checkbox]), textarea, select, dialog");
  const isInForm = isTyped || event.target.closest?.(".sales-form form");
  const form = event.target.closest?.("details.sales-form[open]");
  if (key === "escape" && form) {
    form.open = false;
    find("summary", form).focus();
    return;
  }
  if (key === "escape" && event.target === search) {
    find("#list [aria-current]")?.focus();
    return;
  }
  if (key === "enter" && (event.ctrlKey || event.metaKey) && form) {
    event.preventDefault();
    return find("form", form).requestSubmit();
  }
  const isUndo = key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  if (isUndo) key = "u";
  else if (event.ctrlKey || event.metaKey || event.repeat || !onOff.checked) return;
  if (event.altKey || isInForm || !"jkecnsrathu/?".includes(key)) return;
  event.preventDefault();
  const what = find(`#said [data-key="${key}"]`) ?? find(`#move [data-key="${key}"]`) ?? find(`[data-key="${key}"]:not([hidden])`);
  if (!what) return void toast(words[key] ?? words.other);
  if (what === search) return void search.select();
  if (!what.matches("summary")) return void what.click();
  what.parentElement.open = true;
  firstField(what.parentElement)?.focus();
});

if (narrow.matches || !LEAD.test(location.pathname)) history.replaceState({ ...history.state }, "");
mark();
if (LEAD.test(location.pathname)) find("#person")?.focus({ preventScroll: true });
