// The builder of rules (contacts/rule_widget.py). The text area holds the rule; the server changes and draws it.
// <rule-builder> sends one operation at a time, puts the answer in place of what it shows and keeps the focus.
import { toast } from "../journey/shell.js";

const csrf = () => document.querySelector("[name=csrfmiddlewaretoken]").value;
const ask = (url, values) => {
  const body = new URLSearchParams({ ...values, csrfmiddlewaretoken: csrf() });
  return fetch(url, { method: "POST", body, headers: { "X-CSRFToken": csrf() } });
};

// Makes one element like another and keeps what is the same: elements, and with them focus and what is being typed.
function morph(old, fresh) {
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !(name === "open" && old.tagName !== "DETAILS")) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (old.tagName === "INPUT") {
    if (old.type === "checkbox") old.checked = fresh.hasAttribute("checked");
    else if (old !== document.activeElement || old.name.endsWith(".add")) old.value = fresh.getAttribute("value") ?? "";
    return;
  }
  const chosen = fresh.value; // read before its options move over
  const known = new Map([...old.children].filter((one) => one.id).map((one) => [one.id, one]));
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    const same = node.id ? known.get(node.id) : at && at.nodeName === node.nodeName && !at.id ? at : null;
    if (same) {
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      if (same.nodeType === Node.ELEMENT_NODE) morph(same, node);
      else if (same.nodeValue !== node.nodeValue) same.nodeValue = node.nodeValue;
    } else old.insertBefore(node, at);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
  if (old.tagName === "SELECT") old.value = chosen;
}

class RuleBuilder extends HTMLElement {
  connectedCallback() {
    const find = (selector) => this.querySelector(selector);
    // The empty form of a formset is only copied.
    if (this.isSetUp || find("textarea").id.includes("__prefix__")) return;
    this.isSetUp = true;
    [this.tree, this.area, this.panel, this.live] = [find(".rule-tree"), find("textarea"), find(".rule-panel"), find("[data-live]")];
    [this.outlook, this.who, this.found] = [find("[data-outlook]"), find("[data-person]"), find("[data-found]")];
    this.name = this.area.id;
    this.past = []; this.future = []; this.opened = null; this.person = ""; this.queue = Promise.resolve(); this.lastKey = ""; this.walkedAt = 0;
    for (const part of [find(".rule-tools"), this.panel]) if (part) part.hidden = false;
    this.isReady = "ready" in this.dataset;
    this.show(this.tree.childElementCount ? "tree" : "text");
    this.addEventListener("click", this.onClick);
    this.addEventListener("change", this.onChange);
    this.addEventListener("input", this.onInput);
    this.addEventListener("keydown", this.onKey);
    for (const name of ["dragstart", "dragover", "dragleave", "drop", "dragend"]) this.addEventListener(name, this.onDrag);
    this.saved = this.area.value;
    this.addEventListener("focusout", () => { if (this.pending) this.flush(); });
    this.area.form?.addEventListener("submit", (event) => {
      const form = event.target;
      if (this.pending || this.waiting) {
        // What was typed last is still on its way.
        event.preventDefault();
        this.settle().then(() => form.requestSubmit(event.submitter));
      } else this.saved = this.area.value;
    });
    addEventListener("beforeunload", (event) => { if (this.isConnected && this.area.value !== this.saved) event.preventDefault(); });
    this.look();
  }

  // Views

  show(view) {
    this.view = view;
    this.tree.hidden = view !== "tree";
    this.querySelector(".rule-as-text").hidden = view !== "text";
    this.querySelectorAll("[data-view]").forEach((one) => one.setAttribute("aria-pressed", one.dataset.view === view));
  }

  problem(text) {
    const box = this.querySelector("[data-problem]");
    box.textContent = text;
    box.hidden = !text;
  }

  async toTree() {
    if (await this.send(null)) { this.show("tree"); this.look(); }
  }

  say(text) { if (text) this.live.textContent = text === this.live.textContent ? `${text}\u00a0` : text; }

  // Operations: one after the other, each on what the one before left

  send(op, options = {}) {
    if (!options.isSet) this.flush();
    this.waiting = (this.waiting ?? 0) + 1;
    this.queue = this.queue.then(() => this.#send(typeof op === "function" ? op() : op, options)).finally(() => { this.waiting -= 1; });
    return this.queue;
  }

  // What is being typed waits a little, and goes before anything else does.

  later(row, key, pause) {
    clearTimeout(this.typing);
    this.pending = { row, key };
    if (pause) this.typing = setTimeout(() => this.flush(), pause);
  }

  flush() {
    const { pending } = this;
    clearTimeout(this.typing);
    this.pending = null;
    if (pending?.row.isConnected) this.set(pending.row, {}, pending.key);
  }

  settle() {
    this.flush();
    return this.queue;
  }

  async #send(op, { key = "", focus = true, restore } = {}) {
    const before = this.area.value;
    const values = { rule: restore ? restore.text : before, name: this.name, of: this.dataset.of, person: this.person, open: JSON.stringify(this.opened) };
    if (op) values.op = JSON.stringify(op);
    let answer;
    try {
      const response = await ask(this.dataset.draw, values);
      if (response.status === 422) {
        const { message } = await response.json();
        this.problem(message);
        if (this.view === "tree") toast(message);
        return false;
      }
      if (!response.ok) throw new Error(response.status);
      answer = await response.json();
    } catch {
      toast(this.dataset.offline);
      return false;
    }
    this.problem("");
    if (op && answer.text !== before) {
      if (!key || key !== this.lastKey) this.past.push({ text: before, at: op.at });
      this.future = [];
      this.lastKey = key;
    }
    if (op || restore) this.area.value = answer.text;
    this.opened = answer.open;
    this.isReady = answer.is_ready;
    const had = document.activeElement;
    const hadIn = this.tree.contains(had) ? had.id : "";
    const fresh = document.createElement("div");
    fresh.className = this.tree.className;
    fresh.innerHTML = answer.html; // our own template, escaped by Django
    fresh.hidden = this.tree.hidden;
    morph(this.tree, fresh);
    if (this.who) this.who.innerHTML = answer.person;
    this.querySelector("[data-undo].bar-button").disabled = !this.past.length;
    this.querySelector("[data-redo]").disabled = !this.future.length;
    this.say(answer.message);
    if (op && focus && answer.focus) this.focusOn(answer.focus, op.op === "add");
    else if (hadIn && !this.tree.contains(document.activeElement)) (document.getElementById(hadIn) ?? this.tree.querySelector(".rule-editor select") ?? this.rows()[0])?.focus();
    if (op?.op === "delete") toast(answer.message, { label: this.dataset.undo, run: () => this.undo() });
    if (op || restore) this.look();
    return true;
  }

  idOf(at) { return [this.name, "r", ...at].join("-"); }

  focusOn(at, isNew) {
    const part = document.getElementById(this.idOf(at));
    const row = part?.matches("li") ? part : this.tree;
    (isNew ? row.querySelector(".rule-editor select") : null ?? row.querySelector(":scope > .rule-line > .rule-say, :scope > .rule-frame select, .rule-mode, .rule-none .button"))?.focus();
  }

  undo(isRedo = false) {
    const [from, to] = isRedo ? [this.future, this.past] : [this.past, this.future];
    const step = from.pop();
    if (!step) return;
    to.push({ text: this.area.value, at: step.at });
    document.querySelector(".toast")?.remove();
    this.opened = null;
    this.lastKey = "";
    this.send(null, { restore: step }).then((isDone) => {
      if (!isDone) return;
      this.say(isRedo ? this.dataset.redone : this.dataset.undone);
      if (step.at) this.focusOn(step.at, false);
    });
  }

  // What a row's controls say now

  form(row) {
    const form = {};
    for (const one of row.querySelectorAll(".rule-editor [name]")) {
      if (one.type === "checkbox" && !one.checked) continue;
      (form[one.name] ??= []).push(one.value);
    }
    return form;
  }

  set(row, more = {}, key = "") {
    return this.send(() => ({ op: "set", at: JSON.parse(row.dataset.at), form: { ...this.form(row), ...more } }), { key, focus: false, isSet: true });
  }

  // Events

  onClick(event) {
    const target = event.target.closest("button, summary");
    for (const menu of this.querySelectorAll(".rule-menu[open]")) if (!menu.contains(event.target) || target?.matches(".rule-items button")) menu.open = false;
    if (!target || target.tagName === "SUMMARY") return;
    const part = target.closest("[data-at]");
    const at = part ? JSON.parse(part.dataset.at) : [];
    const { data } = { data: target.dataset };
    if (data.view === "tree" && this.view !== "tree") this.toTree();
    else if (data.view === "text" || "text" in data) { this.show("text"); this.area.focus(); }
    else if (target.matches(".bar-button[data-undo]")) this.undo();
    else if ("redo" in data) this.undo(true);
    else if ("open" in data) this.open(at);
    else if ("set" in data) this.set(target.closest(".rule-row"), { [data.set]: [target.value] });
    else if ("drop" in data) {
      const row = target.closest(".rule-row");
      const chips = target.closest(".rule-chips");
      target.closest(".chip").remove();
      chips.querySelector("[name$='.add']")?.focus();
      this.set(row);
    } else if (data.op === "add") {
      const box = target.closest(".rule-group, .rule-root");
      const group = box?.matches(".rule-group") ? JSON.parse(box.dataset.at) : [];
      this.send({ op: "add", at: group, is_group: "group" in data });
    } else if (data.op === "join") this.send({ op: "join", at: at.slice(0, -1) }, { focus: false });
    else if (data.op && data.op !== "mode") this.send({ op: data.op, at });
    else if (data.try) this.test(data.try);
    else if ("untry" in data) this.test("");
  }

  open(at) {
    const isOpen = JSON.stringify(this.opened) === JSON.stringify(at);
    this.opened = isOpen ? null : at;
    this.lastKey = "";
    this.send(null).then(() => {
      if (!isOpen) document.getElementById(this.idOf(at))?.querySelector(".rule-editor :is(select, input)")?.focus();
    });
  }

  onChange(event) {
    const { target } = event;
    const row = target.closest(".rule-row");
    if (target.matches(".rule-mode")) {
      const group = target.closest(".rule-group");
      this.send({ op: "mode", at: group ? JSON.parse(group.dataset.at) : [], mode: target.value }, { focus: false });
    } else if (row && target.closest(".rule-editor")) {
      const key = target.matches("input:not([type=checkbox])") ? target.id : "";
      // Whoever walks a closed list by keys passes what she does not mean; a value is added by Enter or by leaving.
      const isWalking = target.tagName === "SELECT" && performance.now() - this.walkedAt < 300;
      if (isWalking) this.later(row, "", target.name.endsWith(".add") ? 0 : 400);
      else { this.later(row, key, 0); this.flush(); }
    }
  }

  onInput(event) {
    const { target } = event;
    if (target === this.area) {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.look(), 500);
    } else if (target.matches("[data-search]")) {
      clearTimeout(this.searching);
      this.searching = setTimeout(() => this.search(target.value), 250);
    } else if (target.matches(".rule-editor input:is([type=text], [type=number])") && !target.name.endsWith(".add")) {
      this.later(target.closest(".rule-row"), target.id, 400);
    }
  }

  rows() { return [...this.tree.querySelectorAll(".rule-say, .rule-mode")]; }

  onKey(event) {
    const { key, target } = event;
    if (target.tagName === "SELECT") {
      this.walkedAt = key === "Enter" || key === " " ? 0 : performance.now();
      if (key === "Enter" && this.pending) { event.preventDefault(); this.flush(); return; }
    }
    const isTyping = target.matches("input:not([type=checkbox]), textarea");
    const stop = () => { event.preventDefault(); event.stopPropagation(); };
    if (key === "Escape") {
      const menu = target.closest(".rule-menu[open]");
      const row = target.closest(".rule-row.is-open");
      if (menu) { menu.open = false; menu.querySelector("summary").focus(); stop(); }
      else if (row) { this.opened = null; row.querySelector(".rule-say").focus(); this.send(null); stop(); }
      return;
    }
    if (key === "Enter" && isTyping && target !== this.area) {
      stop();
      if (target.closest(".rule-editor")) target.dispatchEvent(new Event("change", { bubbles: true }));
      else if (target.matches("[data-search]")) this.found.querySelector("button")?.click();
      return;
    }
    if (isTyping) return;
    const isCommand = event.ctrlKey || event.metaKey;
    if (isCommand && key.toLowerCase() === "z") { stop(); this.undo(event.shiftKey); return; }
    if (isCommand && key.toLowerCase() === "y") { stop(); this.undo(true); return; }
    if (isCommand || !target.matches(".rule-say, .rule-mode, .rule-join, .rule-menu > summary")) return;
    const part = target.closest("li[data-at]");
    const at = part ? JSON.parse(part.dataset.at) : [];
    if (event.altKey) {
      const op = { ArrowUp: "up", ArrowDown: "down", ArrowRight: "in", ArrowLeft: "out" }[key];
      if (op && at.length) { stop(); this.send({ op, at }); }
      return;
    }
    if (target.matches(".rule-mode") && key.startsWith("Arrow")) return;
    const letter = { a: "add", g: "group", d: "duplicate", n: "negate", Delete: "delete", Backspace: "delete" }[key.length === 1 ? key.toLowerCase() : key];
    if ((key === "ArrowUp" || key === "ArrowDown") && target.matches(".rule-say")) {
      stop();
      const rows = this.rows().filter((one) => one.matches(".rule-say"));
      rows[rows.indexOf(target) + (key === "ArrowDown" ? 1 : -1)]?.focus();
    } else if (letter === "add" || letter === "group") {
      if (target.matches(".rule-mode")) return;
      stop();
      this.send({ op: "add", at: at.slice(0, -1), is_group: letter === "group" });
    } else if (letter && at.length && !target.matches(".rule-mode")) {
      stop();
      this.send({ op: letter, at });
    }
  }

  // Drag: a line shows where the part would stand

  onDrag(event) {
    const { type, target } = event;
    const clear = () => this.querySelectorAll(".is-before, .is-after, .is-into").forEach((one) => one.classList.remove("is-before", "is-after", "is-into"));
    if (type === "dragstart") {
      if (!target.matches?.(".rule-grip")) return;
      this.dragged = target.closest("li[data-at]");
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("text/plain", this.dragged.textContent.trim());
      event.dataTransfer.setDragImage(this.dragged, 12, 12);
      requestAnimationFrame(() => this.dragged?.classList.add("is-dragged"));
      return;
    }
    if (type === "dragend") {
      clear();
      this.dragged?.classList.remove("is-dragged");
      this.dragged = null;
      return;
    }
    if (!this.dragged) return;
    const adds = target.closest?.(".rule-adds");
    const over = adds ? adds.previousElementSibling : target.closest?.("li[data-at]");
    if (type === "dragleave" || !over || this.dragged.contains(over)) return clear();
    event.preventDefault();
    clear();
    const box = over.getBoundingClientRect();
    const isAfter = event.clientY > box.top + box.height / 2;
    if (type === "dragover") over.classList.add(adds ? "is-into" : isAfter ? "is-after" : "is-before");
    if (type !== "drop") return;
    const at = JSON.parse(over.dataset.at);
    const from = JSON.parse(this.dragged.dataset.at);
    if (adds) this.send({ op: "move", at: from, to: at });
    else this.send({ op: "move", at: from, to: at.slice(0, -1), index: at.at(-1) + (isAfter ? 1 : 0) });
  }

  // Whom the rule means; one tried person

  look() {
    if (!this.outlook) return;
    clearTimeout(this.looking);
    const isText = this.view === "text";
    this.querySelector(".rule-frozen").hidden = isText || this.isReady;
    this.outlook.classList.toggle("is-stale", !isText && !this.isReady);
    if (!isText && !this.isReady) return;
    this.looking = setTimeout(async () => {
      const mine = (this.asked = (this.asked ?? 0) + 1);
      const answer = await ask(this.dataset.look, { rule: this.area.value }).catch(() => null);
      if (mine !== this.asked || !answer) return;
      this.outlook.classList.toggle("is-stale", !answer.ok);
      if (answer.ok) this.outlook.innerHTML = await answer.text();
    }, this.outlook.childElementCount ? 350 : 0);
  }

  async search(words) {
    const answer = words.trim() ? await ask(this.dataset.people, { q: words }).catch(() => null) : null;
    this.found.replaceChildren();
    if (!answer?.ok) return;
    const { people } = await answer.json();
    for (const person of people) {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.try = person.id;
      button.textContent = person.email && person.email !== person.name ? `${person.name} · ${person.email}` : person.name;
      const item = document.createElement("li");
      item.append(button);
      this.found.append(item);
    }
    if (!people.length) this.found.append(Object.assign(document.createElement("li"), { textContent: this.dataset.nobody }));
  }

  test(id) {
    this.person = id;
    this.found.replaceChildren();
    if (id && this.view === "text") this.show("tree");
    this.send(null);
    if (!id) this.querySelector("[data-search]").focus();
  }
}

customElements.define("rule-builder", RuleBuilder);
