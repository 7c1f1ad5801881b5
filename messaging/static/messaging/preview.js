// The mail beside the editor, as it would reach somebody: drawn by the server from the unsaved form, shut into a frame of
// its own. A new frame takes the place of the old one when it is there: nothing flickers, and Back leads out of the page.
import { el, equipment, icon, say, words } from "./drawing.js";

const { urls } = equipment;
const REMEMBERED = "mail-shown-as";
let frames = 0;

export class Preview {
  constructor(owner) {
    this.owner = owner;
    this.problems = [];
    this.width = "600";
    this.person = null;
    try { this.person = JSON.parse(sessionStorage.getItem(REMEMBERED)); } catch { /* nobody */ }
    this.panel = this.build();
  }

  build() {
    const widths = [["600", words.wide], ["360", words.narrow], ["text", words.text]];
    this.buttons = widths.map(([name, label]) => el("button", { type: "button", "aria-pressed": String(name === this.width), text: label, on: { click: () => this.show(name) } }));
    this.dark = el("input", { type: "checkbox", id: "mail-dark", on: { change: () => this.draw() } });
    this.subject = el("p", { class: "mail-shown-subject" });
    this.frame = el("div", { class: "mail-frame is-600" });
    new ResizeObserver(() => this.fit()).observe(this.frame);
    this.plain = el("pre", { class: "mail-plain", hidden: true, tabindex: "0", "aria-label": words.text });
    this.problem = el("p", { class: "notice is-bad", hidden: true, role: "status" });
    this.meter = el("meter", { class: "bar", min: "0", max: "100", "aria-labelledby": "mail-size" });
    this.size = el("p", { id: "mail-size", class: "quiet number" });
    this.list = el("ul", { class: "mail-problems" });
    this.search = el("input", { type: "search", id: "mail-as", autocomplete: "off", placeholder: words.search, on: { input: () => this.find() } });
    this.found = el("ul", { class: "mail-found" });
    this.who = el("p", { class: "row" });
    this.whom();
    return el("aside", { class: "mail-panel", "aria-label": words.preview },
      el("section", {},
        el("div", { class: "row" }, el("span", { class: "segmented", role: "group", "aria-label": words.preview }, ...this.buttons), el("label", { class: "mail-tick" }, this.dark, words.dark)),
        el("div", { class: "field" }, el("label", { for: "mail-as", text: words.showAs }), this.search), this.found, this.who),
      this.problem, this.subject, this.frame, this.plain,
      el("section", {}, this.size, this.meter),
      el("section", {}, el("h3", { text: words.problems }), this.list),
      equipment.mayTry ? this.trial() : null);
  }

  show(width) {
    this.width = width;
    this.buttons.forEach((button, number) => button.setAttribute("aria-pressed", String(["600", "360", "text"][number] === width)));
    this.frame.hidden = width === "text";
    this.plain.hidden = width !== "text";
    this.frame.className = `mail-frame is-${width}`;
    this.fit();
  }

  // A mail is 600 px wide whatever room there is beside the editor.
  fit() {
    const room = this.frame.clientWidth;
    const scale = this.width === "600" && room ? Math.min(1, room / 600) : 1;
    for (const frame of this.frame.children) {
      frame.style.zoom = scale;
      frame.style.height = `${Math.round((this.frame.clientHeight - 2) / scale)}px`;
    }
  }

  values(more = {}) {
    const values = new FormData(this.owner.form);
    for (const name of [...values.keys()]) if (values.get(name) instanceof File || name.startsWith("_")) values.delete(name);
    for (const [name, value] of Object.entries({ pk: this.owner.dataset.pk ?? "", shown: this.owner.shownIn, contact: this.person?.id ?? "", dark: this.dark.checked ? "1" : "", ...more })) values.set(name, value);
    return values;
  }

  ask(url, more) { return fetch(url, { method: "POST", body: new URLSearchParams(this.values(more)) }); }

  later() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.draw(), 400);
  }

  async draw() {
    clearTimeout(this.typing);
    const mine = (this.asked = (this.asked ?? 0) + 1);
    const response = await this.ask(urls.draw).catch(() => null);
    if (mine !== this.asked) return;
    const answer = response?.ok ? await response.json() : { problems: this.problems, problem: words.offline, bytes: 0, most: 1 };
    if (mine !== this.asked) return;
    this.problems = answer.problems;
    this.problem.hidden = !answer.problem;
    this.problem.textContent = answer.problem ? `${words.cannotDraw} ${answer.problem}` : "";
    this.listProblems();
    this.owner.mark(this.problems);
    if (!answer.problem) {
      this.subject.textContent = answer.subject;
      this.plain.textContent = answer.text;
      this.mail();
    }
    const share = Math.min(100, (answer.bytes / answer.most) * 100);
    this.meter.value = share;
    this.meter.classList.toggle("is-bad", answer.bytes > answer.most);
    this.meter.classList.toggle("is-good", answer.bytes <= answer.most);
    const most = Math.round(answer.most / 1024);
    this.size.textContent = say("bytes", { size: (answer.bytes / 1024).toLocaleString(document.documentElement.lang || "en", { maximumFractionDigits: 1 }), most }) + (answer.bytes > answer.most ? ` ${say("tooLong", { most })}` : "");
    this.owner.dataset.drawn = String(mine);
  }

  mail() {
    const name = `mail-frame-${(frames += 1)}`;
    const next = el("iframe", { class: "mail", name, sandbox: true, title: words.mail, tabindex: "0" });
    next.classList.add("is-coming");
    this.frame.append(next);
    this.fit();
    const form = el("form", { method: "post", action: urls.draw_mail, target: name, hidden: true });
    for (const [key, value] of this.values()) form.append(el("input", { type: "hidden", name: key, value }));
    document.body.append(form);
    next.addEventListener("load", () => {
      for (const old of [...this.frame.children]) { if (old === next) break; old.remove(); }
      next.classList.remove("is-coming");
      form.remove();
    });
    form.submit();
  }

  listProblems() {
    if (!this.problems.length) { this.list.replaceChildren(el("li", { class: "is-good" }, icon("check"), words.fine)); return; }
    this.list.replaceChildren(...this.problems.map((one) => {
      const where = [one.language, one.path || one.field].join(" · ");
      return el("li", { class: one.level === "error" ? "is-bad" : "is-warn" }, icon(one.level === "error" ? "alert" : "warning"),
        el("button", { type: "button", on: { click: () => this.owner.lead(one) } }, el("span", { class: "visually-hidden", text: one.level === "error" ? words.problem : words.warning }), el("small", { class: "quiet", text: where }), el("span", { text: one.sentence })));
    }));
  }

  // Whose values it shows

  find() {
    clearTimeout(this.searching);
    this.searching = setTimeout(async () => {
      const q = this.search.value.trim();
      const answer = q ? await this.ask(urls.people, { q }).catch(() => null) : null;
      this.found.replaceChildren();
      if (!answer?.ok || this.search.value.trim() !== q) return;
      const { people } = await answer.json();
      this.found.append(...people.map((one) => el("li", {}, el("button", { type: "button", text: one.email && one.email !== one.name ? `${one.name} · ${one.email}` : one.name, on: { click: () => this.as(one) } }))));
      if (!people.length) this.found.append(el("li", { class: "quiet", text: words.nobody }));
    }, 250);
  }

  as(person) {
    this.person = person;
    if (person) sessionStorage.setItem(REMEMBERED, JSON.stringify(person)); else sessionStorage.removeItem(REMEMBERED);
    this.search.value = "";
    this.found.replaceChildren();
    this.whom();
    this.draw();
    this.search.focus();
  }

  whom() {
    this.who.replaceChildren(el("span", { class: "chip", text: this.person?.name ?? words.noContact }),
      this.person ? el("button", { type: "button", class: "button is-plain is-small", text: words.remove, on: { click: () => this.as(null) } }) : "");
  }

  // Test send

  trial() {
    const to = el("input", { type: "text", id: "mail-to", value: equipment.me, autocomplete: "off", inputmode: "email", "aria-describedby": "mail-to-about" });
    this.told = el("p", { class: "mail-told", role: "status" });
    this.tries = el("ul", { class: "mail-tries" });
    const button = el("button", { type: "button", class: "button", on: { click: () => this.send(to, button) } }, icon("send"), el("span", { text: words.send }));
    return el("section", { class: "mail-trial" }, el("h3", { text: words.send }),
      el("div", { class: "field" }, el("label", { for: "mail-to", text: words.sendTo }), to, el("p", { class: "help", id: "mail-to-about", text: say("sendAbout", { most: equipment.most }) })),
      button, this.told, this.tries);
  }

  async send(to, button) {
    button.disabled = true;
    const response = await this.ask(urls.try, { to: to.value }).catch(() => null);
    button.disabled = false;
    const answer = response && response.status < 500 ? await response.json().catch(() => null) : null;
    this.told.textContent = answer?.message ?? words.offline;
    this.told.classList.toggle("is-bad", !response?.ok);
    to.setAttribute("aria-invalid", String(!response?.ok));
    if (response?.ok) this.follow(30);
  }

  // What became of it, asked for a minute at most.
  async follow(left) {
    clearTimeout(this.following);
    const response = await this.ask(urls.tries).catch(() => null);
    if (!response?.ok) return;
    const { tries } = await response.json();
    this.tries.replaceChildren(...tries.map((one) => el("li", { "data-state": one.state }, el("span", { class: `chip ${{ sent: "is-good", failed: "is-bad", uncertain: "is-warn" }[one.state] ?? "is-info"}`, text: one.says }), ` ${one.address} `, one.response ? el("small", { class: "quiet", text: one.response }) : null)));
    if (left && tries.some((one) => one.state === "queued" || one.state === "sending")) this.following = setTimeout(() => this.follow(left - 1), 2000);
  }
}
