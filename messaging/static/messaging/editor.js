// The editor of mails over the plain form (messaging/template_admin.py). The form's fields hold the mail, so it is saved
// without script, too; <mail-editor> shows them as blocks, tabs of languages and a preview, and writes them back.
import { toast } from "../journey/shell.js";
import { addressOf, BlockList } from "./blocklist.js";
import { chipButton } from "./chips.js";
import { el, equipment, icon, iconButton, say, words } from "./drawing.js";
import { Preview } from "./preview.js";
import { toMarkdown } from "./rewriting.js";

const nameOf = (code) => equipment.languages.find(([known]) => known === code)?.[1] ?? code;
const MJML = "<mjml>\n  <mj-body>\n    <mj-section>\n      <mj-column>\n        <mj-text></mj-text>\n      </mj-column>\n    </mj-section>\n  </mj-body>\n</mjml>\n";

class MailEditor extends HTMLElement {
  connectedCallback() {
    if (this.isSetUp) return;
    this.form = this.closest("form");
    const field = (name) => this.form.querySelector(`[name="${name}"]`);
    this.fields = Object.fromEntries(["subject", "preheader", "body", "body_format", "language", "translations"].map((name) => [name, field(name)]));
    this.isMail = "mail" in this.dataset;
    let others;
    try { others = JSON.parse(this.fields.translations?.value || "{}"); } catch { return; }
    // Who may only look sees no fields, and what cannot be read is mended as text.
    if (!this.fields.body || !others || typeof others !== "object") return;
    this.isSetUp = true;
    this.form.querySelector("fieldset.module").after(this);
    this.own = this.fields.language.value || "en";
    this.texts = { [this.own]: {}, ...others };
    for (const name of ["subject", "preheader", "body"]) if (this.fields[name]) this.texts[this.own][name] = this.fields[name].value;
    this.format = this.fields.body_format.value;
    // Whoever begins, begins with blocks.
    if (!this.dataset.pk && !this.fields.body.value.trim()) this.format = "blocks";
    this.shownIn = this.own;
    this.past = []; this.future = []; this.lastKey = ""; this.kept = {};
    this.hasReusable = this.isMail;
    this.list = new BlockList(this);
    this.live = el("p", { class: "visually-hidden", role: "status" });
    this.main = el("div", { class: "mail-main" });
    this.preview = this.isMail ? new Preview(this) : null;
    this.append(el("div", { class: "mail-columns" }, this.main, this.preview?.panel), this.live);
    this.fields.language.addEventListener("change", () => this.rename(this.fields.language.value.trim()));
    this.form.addEventListener("input", (event) => { if (!this.contains(event.target)) this.preview?.later(); });
    this.addEventListener("keydown", (event) => this.onKey(event));
    // Enter in a field of the editor would save the whole form.
    this.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target.matches("input")) event.preventDefault(); });
    const channel = field("channel");
    // What is no mail is a plain text in the plain form.
    const toggle = () => {
      const isMail = !channel || channel.value === "email";
      this.hidden = !isMail;
      this.form.querySelectorAll("fieldset.mail-source").forEach((one) => { one.hidden = isMail; });
    };
    channel?.addEventListener("change", toggle);
    toggle();
    this.saved = this.snapshot();
    this.form.addEventListener("submit", () => { this.saved = this.snapshot(); });
    addEventListener("beforeunload", (event) => { if (this.isConnected && this.snapshot() !== this.saved) event.preventDefault(); });
    this.redraw();
    this.preview?.draw();
  }

  // What is written

  get text() { return (this.texts[this.shownIn] ??= {}); }
  get isOwn() { return this.shownIn === this.own; }
  hasBody(language) { return language === this.own || Boolean(this.texts[language]?.body); }

  get blocks() {
    if (this.readFrom !== this.text.body || !this.readBlocks) {
      this.readFrom = this.text.body;
      try { this.readBlocks = JSON.parse(this.text.body?.trim() || "[]"); } catch { this.readBlocks = null; }
      if (!Array.isArray(this.readBlocks) || !this.readBlocks.every((one) => one && typeof one === "object" && (one.kind !== "columns" || (Array.isArray(one.columns) && one.columns.every(Array.isArray))))) this.readBlocks = null;
    }
    return this.readBlocks;
  }

  snapshot() { return JSON.stringify([this.format, this.texts]); }

  // The one way to change anything: `run` changes the blocks, or (with isText) `this.text` itself.
  change(run, { key = "", focus = "", message = "", undo = false, isQuiet = false, isText = false } = {}) {
    const before = this.snapshot();
    if (isText) run();
    else {
      const blocks = this.blocks;
      run(blocks);
      this.text.body = JSON.stringify(blocks, null, 1);
      this.readFrom = this.text.body;
    }
    if (this.snapshot() === before) return;
    if (!key || key !== this.lastKey) this.past.push(before);
    this.future = [];
    this.lastKey = key;
    this.write();
    if (isQuiet) this.tools(); else this.redraw(focus);
    this.say(message);
    if (undo) toast(message, { label: words.undo, run: () => this.undo() });
  }

  undo(isRedo = false) {
    const [from, to] = isRedo ? [this.future, this.past] : [this.past, this.future];
    const step = from.pop();
    if (!step) return;
    to.push(this.snapshot());
    [this.format, this.texts] = JSON.parse(step);
    this.readBlocks = null;
    this.lastKey = "";
    this.list.opened = "";
    if (!this.texts[this.shownIn]) this.shownIn = this.own;
    document.querySelector(".toast")?.remove();
    this.write();
    this.redraw("#mail-blocks .mail-say / .mail-fields input");
    this.say(isRedo ? words.again : words.undone);
  }

  write() {
    const { subject, preheader, body, body_format, translations } = this.fields;
    const own = this.texts[this.own];
    if (subject) subject.value = own.subject ?? "";
    if (preheader) preheader.value = own.preheader ?? "";
    body.value = own.body ?? "";
    body_format.value = this.format;
    const others = {};
    for (const [language, text] of Object.entries(this.texts)) {
      const said = Object.fromEntries(Object.entries(text).filter(([, value]) => value));
      if (language !== this.own && Object.keys(said).length) others[language] = said;
    }
    translations.value = JSON.stringify(others, null, 1);
    this.preview?.later();
  }

  rename(language) {
    if (!language || language === this.own || this.texts[language]) return;
    this.texts = { [language]: this.texts[this.own], ...Object.fromEntries(Object.entries(this.texts).filter(([code]) => code !== this.own)) };
    if (this.shownIn === this.own) this.shownIn = language;
    this.own = language;
    this.redraw();
  }

  // Drawing

  redraw(focus = "") {
    const had = this.contains(document.activeElement) ? document.activeElement.id : "";
    this.main.replaceChildren(this.head(), this.tabs(), this.isMail ? this.lines() : "", this.body());
    this.tools();
    this.mark(this.preview?.problems ?? []);
    // Selectors behind slashes are tried where those before find nothing.
    const wanted = focus ? focus.split(" / ").map((one) => this.querySelector(one)).find(Boolean) : had && document.getElementById(had);
    if (wanted) wanted.focus();
  }

  head() {
    const formats = equipment.formats.filter(([name]) => [...this.fields.body_format.options].some((one) => one.value === name));
    const keys = [["↑ ↓", words.keysWalk], ["Enter", words.keysOpen], ["A", words.keysAdd], ["Alt ↑ ↓", words.keysMove], ["D, Del", words.keysDelete], ["Ctrl Z", words.keysUndo]];
    return el("div", { class: "mail-tools" },
      el("span", { class: "segmented", role: "group", "aria-label": words.writtenIn }, ...formats.map(([name, label]) =>
        el("button", { type: "button", id: `mail-mode-${name}`, "aria-pressed": String(this.format === name), text: label, on: { click: () => this.mode(name) } }))),
      el("span", { class: "push" }),
      iconButton("undo", words.undo, () => this.undo(), { id: "mail-undo" }),
      iconButton("redo", words.redo, () => this.undo(true), { id: "mail-redo" }),
      el("details", { class: "mail-keys" }, el("summary", { class: "bar-button", title: words.keys }, icon("keyboard"), el("span", { class: "visually-hidden", text: words.keys })),
        el("dl", {}, ...keys.flatMap(([key, about]) => [el("dt", {}, el("kbd", { text: key })), el("dd", { text: about })]))));
  }

  tools() {
    for (const [name, steps] of [["undo", this.past], ["redo", this.future]]) this.querySelector(`#mail-${name}`).disabled = !steps.length;
  }

  tabs() {
    const more = equipment.languages.filter(([code]) => !this.texts[code]);
    const tab = (code) => el("button", { type: "button", id: `mail-tab-${code}`, "aria-pressed": String(code === this.shownIn), on: { click: () => this.turn(code) } },
      nameOf(code), code === this.own || this.hasBody(code) ? null : el("small", { class: "quiet", text: say("asIn", { name: nameOf(this.own) }) }));
    return el("div", { class: "mail-tabs" },
      el("span", { class: "segmented", role: "group", "aria-label": words.languages }, ...Object.keys(this.texts).map(tab)),
      el("select", { id: "mail-more", "aria-label": words.languageAdd, on: { change: (event) => { this.texts[event.target.value] = {}; this.turn(event.target.value); } } },
        el("option", { value: "", text: `+ ${words.languageAdd}` }), ...more.map(([code, name]) => el("option", { value: code, text: name }))));
  }

  turn(code) {
    this.shownIn = code;
    this.readBlocks = null;
    this.list.opened = "";
    this.redraw(`#mail-tab-${code}`);
    this.preview?.draw();
  }

  // Subject and preheader; in another language what is not said is as in the mail's own.
  lines() {
    return el("div", { class: "mail-fields" }, ...["subject", "preheader"].map((name) => {
      const id = `mail-${name}`;
      const own = this.texts[this.own][name] ?? "";
      const input = el("input", { id, type: "text", value: this.text[name] ?? "", placeholder: this.isOwn ? false : own, "aria-describedby": `${id}-about`, on: {
        input: (event) => { this.change(() => { this.text[name] = event.target.value; }, { isText: true, key: `${this.shownIn}.${name}`, isQuiet: true }); about(); } } });
      const help = el("p", { class: "help", id: `${id}-about` });
      const about = () => { help.textContent = !this.isOwn && !this.text[name] && own ? `${say("asIn", { name: nameOf(this.own) })}: ${own}` : name === "preheader" ? words.preheaderAbout : ""; };
      about();
      return el("div", { class: "field", "data-field": name }, el("div", { class: "mail-label" }, el("label", { for: id, text: words[name] }), chipButton(() => document.getElementById(id))), input, help, el("p", { class: "mail-problem", hidden: true }));
    }));
  }

  body() {
    if (!this.hasBody(this.shownIn)) {
      return el("div", { class: "card empty mail-fallback" }, el("p", { text: say("asInAll", { name: nameOf(this.own) }) }),
        el("p", { class: "row" }, ...Object.keys(this.texts).filter((code) => code !== this.shownIn && this.hasBody(code)).map((code) =>
          el("button", { type: "button", class: "button", "data-copy": code, text: say("copyFrom", { name: nameOf(code) }), on: { click: () => this.copy(code) } }))));
    }
    const parts = [];
    if (this.format === "blocks" && this.blocks) parts.push(this.list.draw(this.blocks));
    else {
      const area = el("textarea", { id: "mail-body", class: "mail-code", rows: 22, spellcheck: this.format === "markdown" ? "true" : "false", on: {
        input: (event) => this.change(() => { this.text.body = event.target.value; }, { isText: true, key: `${this.shownIn}.body`, isQuiet: true }) } });
      area.value = this.text.body ?? "";
      parts.push(el("div", { class: "field", "data-field": "body" }, el("div", { class: "mail-label" }, el("label", { for: "mail-body", text: this.format === "blocks" ? words.unreadable : words.body }), chipButton(() => document.getElementById("mail-body"))), area));
    }
    parts.push(el("p", { class: "mail-problem", "data-field-problem": "body", hidden: true }));
    if (!this.isOwn) {
      parts.push(el("p", { class: "row" },
        ...Object.keys(this.texts).filter((code) => code !== this.shownIn && this.hasBody(code)).map((code) =>
          el("button", { type: "button", class: "button is-small", "data-copy": code, text: say("copyFrom", { name: nameOf(code) }), on: { click: () => this.copy(code) } })),
        el("button", { type: "button", class: "button is-small", "data-back": true, text: say("backTo", { name: nameOf(this.own) }), on: { click: () => {
          this.readBlocks = null;
          this.change(() => { delete this.text.body; }, { isText: true, focus: `#mail-tab-${this.shownIn}`, message: say("asInAll", { name: nameOf(this.own) }), undo: true });
        } } })));
    }
    return el("div", { class: "mail-body" }, ...parts);
  }

  copy(code) {
    this.readBlocks = null;
    this.list.opened = "";
    this.change(() => { this.text.body = this.texts[code].body; for (const name of ["subject", "preheader"]) this.text[name] ||= this.texts[code][name] ?? ""; },
      { isText: true, focus: "#mail-blocks .mail-say / #mail-body", message: say("copied", { name: nameOf(code) }), undo: true });
  }

  // Another way to write the same: text becomes a block and blocks become text; the rest begins anew and can be undone.
  mode(format) {
    if (format === this.format) return;
    const from = this.format;
    this.change(() => {
      for (const [language, text] of Object.entries(this.texts)) {
        (this.kept[from] ??= {})[language] = text.body;
        if (!text.body && language !== this.own) continue;
        if (format === "blocks" && from === "markdown") text.body = text.body.trim() ? JSON.stringify([{ kind: "text", text: text.body.trim() }], null, 1) : "[]";
        else if (format === "markdown" && from === "blocks") text.body = toMarkdown(text.body);
        else text.body = this.kept[format]?.[language] ?? (format === "mjml" ? MJML : format === "blocks" ? "[]" : "");
      }
      this.format = format;
      this.readBlocks = null;
      this.list.opened = "";
    }, { isText: true, focus: `#mail-mode-${format}`, message: words.modeChanged, undo: true });
  }

  say(text) { if (text) this.live.textContent = text === this.live.textContent ? `${text}\u00a0` : text; }

  // Problems: each beside what it is about

  mark(problems) {
    for (const box of this.main.querySelectorAll(".mail-problem")) box.hidden = true;
    for (const one of this.main.querySelectorAll(".has-problem, .has-doubt")) one.classList.remove("has-problem", "has-doubt");
    for (const one of problems) {
      if (one.language !== this.shownIn && !(one.language === this.own && !this.hasBody(this.shownIn))) continue;
      const address = addressOf(one.path);
      const at = address ? this.main.querySelector(`[data-at="${address}"]`) : this.main.querySelector(`[data-field="${one.field}"]`);
      const box = at?.querySelector(":scope > .mail-problem") ?? (one.field === "body" ? this.main.querySelector("[data-field-problem=body]") : null);
      if (!box || !box.hidden) continue;
      box.hidden = false;
      box.classList.toggle("is-warn", one.level !== "error");
      box.textContent = one.sentence;
      at?.classList.add(one.level === "error" ? "has-problem" : "has-doubt");
    }
  }

  // Leads to what a problem is about.
  lead(one) {
    if (one.language !== this.shownIn && this.texts[one.language]) this.turn(one.language);
    const address = addressOf(one.path);
    if (!address || !this.blocks) { this.querySelector(`#mail-${one.field}, #mail-body, .mail-add`)?.focus(); return; }
    this.list.open(address, true);
    const part = /\.(\w+)$/.exec(one.path)?.[1];
    (document.getElementById(`b-${address}-${part}`) ?? document.getElementById(`b-${address}`))?.focus();
  }

  onKey(event) {
    const isCommand = event.ctrlKey || event.metaKey;
    if (!isCommand || event.target.matches("input, textarea, select")) return;
    const key = event.key.toLowerCase();
    if (key === "z") { event.preventDefault(); this.undo(event.shiftKey); }
    if (key === "y") { event.preventDefault(); this.undo(true); }
  }
}

customElements.define("mail-editor", MailEditor);
