// The list of a mail's blocks: each a card that opens into its form, in columns once more. `owner` keeps the blocks:
// change(run, {key, focus, message, undo}) changes them, draws anew and remembers the way back.
import { chipButton, shown } from "./chips.js";
import { choose, el, equipment, icon, iconButton, say, words } from "./drawing.js";

const { kinds, simple } = equipment;

// An address is "3", or "3.0.1": the second block in the first column of the fourth block.
export function place(blocks, address) {
  const [index, column, inner] = address.split(".").map(Number);
  if (inner === undefined) return [blocks, index];
  return [blocks[index].columns[column], inner];
}

export const pathOf = (address) => {
  const [index, column, inner] = address.split(".");
  return `blocks[${index}]` + (inner === undefined ? "" : `.columns[${column}][${inner}]`);
};

export const addressOf = (path) => {
  const match = /^blocks\[(\d+)\](?:\.columns\[(\d+)\](?:\[(\d+)\])?)?/.exec(path);
  return match ? [match[1], ...(match[3] ? [match[2], match[3]] : [])].join(".") : "";
};

export function fresh(kind) {
  const block = { kind };
  if (kind === "columns") block.columns = [[], []];
  if (kind === "social") block.links = [{ name: "", url: "" }];
  return block;
}

// The first control of a block's form.
const first = (address) => `[data-at="${address}"] > .mail-form > :not(details) :is(input, textarea, select)`;

const clean = (block) => { for (const [name, value] of Object.entries(block)) if (value === "" || value == null) delete block[name]; };

export class BlockList {
  constructor(owner) { this.owner = owner; this.opened = ""; }

  // Drawing

  draw(blocks) {
    const list = this.list(blocks, "");
    list.id = "mail-blocks";
    list.addEventListener("keydown", (event) => this.onKey(event));
    for (const name of ["dragstart", "dragover", "dragleave", "drop", "dragend"]) list.addEventListener(name, (event) => this.onDrag(event));
    return list;
  }

  list(blocks, around) {
    const items = blocks.map((block, index) => this.card(block, around ? `${around}.${index}` : `${index}`));
    const add = el("button", { type: "button", class: "button is-small mail-add", "data-in": around, on: { click: () => this.palette(around, blocks.length) } }, icon("plus"), el("span", { text: words.add }));
    return el("ol", { class: "mail-blocks", "data-list": around }, ...items,
      el("li", { class: "mail-adds" }, blocks.length ? null : el("p", { class: "quiet", text: words.empty }), add));
  }

  card(block, address) {
    const kind = kinds[block.kind];
    const isOpen = this.opened === address || this.opened.startsWith(`${address}.`);
    const label = kind?.label ?? String(block.kind);
    const text = el("span", { class: "mail-words" }, ...this.summary(block));
    const button = el("button", { type: "button", class: "mail-say", id: `b-${address}`, "aria-expanded": String(isOpen), on: { click: () => this.open(isOpen && this.opened === address ? "" : address, true) } },
      icon(kind?.icon ?? "alert"), el("strong", { text: label }), block.show_if ? el("span", { class: "chip is-teal", text: `${words.showIf} ${block.show_if}` }) : null, text);
    const run = (op) => () => this.run(op, address);
    return el("li", { class: `mail-block${isOpen ? " is-open" : ""}`, "data-at": address },
      el("div", { class: "mail-line" },
        el("span", { class: "mail-grip", draggable: "true", title: words.grip, "aria-hidden": "true" }, icon("up-down")),
        button,
        el("span", { class: "mail-acts" },
          iconButton("copy", `${words.duplicate}: ${label}`, run("duplicate")),
          iconButton("trash", `${words.delete}: ${label}`, run("delete")))),
      el("p", { class: "mail-problem", hidden: true }),
      isOpen ? this.form(block, address) : null);
  }

  summary(block) {
    if (block.kind === "columns") return [(block.columns ?? []).map((column) => column.map((one) => kinds[one.kind]?.label ?? one.kind).join(", ") || "–").join(" | ")];
    if (block.kind === "social") return [(block.links ?? []).map((link) => link.name).filter(Boolean).join(" · ")];
    if (block.kind === "reusable") return [equipment.reusable.find(([key]) => key === block.key)?.[1] ?? block.key ?? ""];
    if (block.kind === "spacer") return [block.height ? `${block.height} px` : ""];
    return shown(String(block.text ?? block.name ?? block.alt ?? "").split("\n")[0].slice(0, 300));
  }

  form(block, address) {
    const form = el("div", { class: "mail-form" });
    for (const part of kinds[block.kind]?.parts ?? []) form.append(this.control(part, block, address));
    const id = `b-${address}-show_if`;
    form.append(el("details", { class: "mail-more", open: Boolean(block.show_if) }, el("summary", { text: words.showIf }),
      el("div", { class: "field" }, el("label", { class: "visually-hidden", for: id, text: words.showIf }),
        el("input", { id, type: "text", class: "mail-code", value: block.show_if ?? "", "aria-describedby": `${id}-about`, on: { input: (event) => this.set(address, "show_if", event.target.value) } }),
        el("p", { id: `${id}-about`, class: "help", text: say("showIfAbout", { example: 'contact.country == "CZ"' }) }))));
    form.append(el("div", { class: "row" },
      el("button", { type: "button", class: "button is-small", on: { click: () => this.run("up", address) } , text: words.up }),
      el("button", { type: "button", class: "button is-small", on: { click: () => this.run("down", address) }, text: words.down })));
    return form;
  }

  control(part, block, address) {
    const id = `b-${address}-${part.name}`;
    const value = block[part.name];
    if (part.type === "columns") return this.columns(block, address);
    if (part.type === "links") return this.links(block, address);
    let field;
    const set = (event) => this.set(address, part.name, part.type === "number" ? (event.target.value === "" ? "" : Number(event.target.value)) : event.target.value);
    if (part.type === "choice" || part.type === "reusable") {
      const options = part.type === "choice" ? part.choices : [["", words.none], ...equipment.reusable];
      field = el("select", { id, on: { change: set } }, ...options.map(([name, label]) => el("option", { value: name, selected: String(value ?? part.default) === name, text: label })));
    } else if (part.type === "text") {
      field = el("textarea", { id, rows: 5, on: { input: set } });
      field.value = value ?? "";
    } else {
      const type = part.type === "number" ? "number" : "text";
      field = el("input", { id, type, value: value ?? "", min: part.type === "number" && part.least, max: part.type === "number" && part.most, inputmode: part.type === "url" || part.type === "picture" ? "url" : false, placeholder: part.type === "url" || part.type === "picture" ? "https://" : part.type === "number" && part.default ? part.default : false, on: { input: set } });
    }
    field.dataset.part = part.name;
    const hasChips = ["line", "text", "url"].includes(part.type);
    return el("div", { class: `field${part.type === "choice" || part.type === "number" ? " is-short" : ""}` },
      el("div", { class: "mail-label" }, el("label", { for: id, text: part.label + (part.isRequired ? "" : "") }), hasChips ? chipButton(() => document.getElementById(id)) : null), field);
  }

  columns(block, address) {
    const count = block.columns.length;
    return el("div", { class: "mail-columns-form" },
      ...block.columns.map((column, number) => el("section", { "aria-label": say("column", { number: number + 1 }) }, el("h4", { text: say("column", { number: number + 1 }) }), this.list(column, `${address}.${number}`))),
      el("div", { class: "row" },
        count < 3 ? el("button", { type: "button", class: "button is-small", text: `+ ${say("column", { number: 3 })}`, on: { click: () => this.owner.change((blocks) => { place(blocks, address)[0][place(blocks, address)[1]].columns.push([]); }, {}) } }) : null,
        count > 2 ? el("button", { type: "button", class: "button is-small", text: `${words.remove}: ${say("column", { number: 3 })}`, on: { click: () => this.owner.change((blocks) => { place(blocks, address)[0][place(blocks, address)[1]].columns.pop(); }, { message: say("deleted", { name: say("column", { number: 3 }) }), undo: true }) } }) : null));
  }

  links(block, address) {
    const change = (run, options = {}) => this.owner.change((blocks) => { const [list, index] = place(blocks, address); run((list[index].links ??= [])); }, options);
    const input = (link, number, name, label) => {
      const id = `b-${address}-links-${number}-${name}`;
      return el("div", { class: "field" }, el("label", { for: id, text: label }), el("input", { id, type: "text", value: link[name] ?? "", placeholder: name === "url" ? "https://" : false, on: { input: (event) => change((links) => { links[number][name] = event.target.value; }, { key: id, isQuiet: true }) } }));
    };
    return el("div", { class: "mail-links" },
      ...(block.links ?? []).map((link, number) => el("div", { class: "row mail-link" }, input(link, number, "name", words.linkName), input(link, number, "url", words.linkUrl),
        iconButton("trash", `${words.remove}: ${link.name || number + 1}`, () => change((links) => links.splice(number, 1))))),
      el("button", { type: "button", class: "button is-small", text: words.linkAdd, on: { click: () => change((links) => links.push({ name: "", url: "" })) } }));
  }

  // Operations

  set(address, name, value) {
    this.owner.change((blocks) => {
      const [list, index] = place(blocks, address);
      list[index][name] = value;
      clean(list[index]);
    }, { key: `${address}.${name}`, isQuiet: true });
    const card = document.getElementById(`b-${address}`);
    const [list, index] = place(this.owner.blocks, address);
    card?.querySelector(".mail-words").replaceChildren(...this.summary(list[index]));
  }

  open(address, hasFocus) {
    this.opened = address;
    this.owner.redraw(hasFocus ? (address ? `#b-${address}` : document.activeElement?.id && `#${CSS.escape(document.activeElement.id)}`) : "");
    if (address && hasFocus) document.querySelector(first(address))?.focus();
  }

  palette(around, index) {
    const offered = Object.keys(kinds).filter((kind) => (!around || simple.includes(kind)) && (kind !== "reusable" || (this.owner.hasReusable && equipment.reusable.length)));
    choose(words.add, offered.map((value) => ({ value, label: kinds[value].label, about: kinds[value].about, icon: kinds[value].icon })), (kind) => {
      const address = around ? `${around}.${index}` : `${index}`;
      this.opened = address;
      this.owner.change((blocks) => { this.listAt(blocks, around).splice(index, 0, fresh(kind)); }, { focus: `${first(address)} / [data-at="${address}"] > .mail-form .mail-add / #b-${CSS.escape(address)}`, message: say("added", { name: kinds[kind].label }) });
    });
  }

  listAt(blocks, around) {
    if (!around) return blocks;
    const [index, column] = around.split(".").map(Number);
    return blocks[index].columns[column];
  }

  run(op, address) {
    const parts = address.split(".");
    const index = Number(parts.pop());
    const around = parts.join(".");
    const at = (number) => (around ? `${around}.${number}` : `${number}`);
    const list = this.listAt(this.owner.blocks, around);
    const name = kinds[list[index].kind]?.label ?? "";
    const wasOpen = this.opened === address;
    const focus = (number) => `#b-${CSS.escape(at(number))}`;
    if (op === "duplicate") {
      if (!around) this.opened = "";
      this.owner.change((blocks) => { const mine = this.listAt(blocks, around); mine.splice(index + 1, 0, structuredClone(mine[index])); }, { focus: focus(index + 1), message: words.duplicated });
    } else if (op === "delete") {
      this.opened = around ? around.split(".")[0] : "";
      const next = Math.min(index, list.length - 2);
      this.owner.change((blocks) => { this.listAt(blocks, around).splice(index, 1); }, { focus: next >= 0 ? focus(next) : `[data-in="${around}"]`, message: say("deleted", { name }), undo: true });
    } else if (op === "up" || op === "down") {
      const to = index + (op === "up" ? -1 : 1);
      if (to < 0 || to >= list.length) return;
      this.opened = wasOpen ? at(to) : around ? around.split(".")[0] : "";
      this.owner.change((blocks) => { const mine = this.listAt(blocks, around); mine.splice(to, 0, ...mine.splice(index, 1)); }, { focus: focus(to), message: words.moved });
    }
  }

  onKey(event) {
    const { key, target } = event;
    if (key === "Escape") {
      const card = target.closest(".mail-block.is-open");
      if (!card || !target.closest(".mail-form")) return;
      event.preventDefault();
      event.stopPropagation();
      const address = card.dataset.at;
      this.opened = address.includes(".") ? address.split(".")[0] : "";
      this.owner.redraw(`#b-${CSS.escape(address)}`);
      return;
    }
    if (!target.matches(".mail-say")) return;
    const address = target.closest("[data-at]").dataset.at;
    const stop = () => { event.preventDefault(); event.stopPropagation(); };
    if (event.ctrlKey || event.metaKey) return;
    if (event.altKey) {
      const op = { ArrowUp: "up", ArrowDown: "down" }[key];
      if (op) { stop(); this.run(op, address); }
      return;
    }
    if (key === "ArrowUp" || key === "ArrowDown") {
      stop();
      const all = [...event.currentTarget.querySelectorAll(".mail-say")];
      all[all.indexOf(target) + (key === "ArrowDown" ? 1 : -1)]?.focus();
    } else if (key === "Delete" || key === "Backspace") { stop(); this.run("delete", address); }
    else if (key.toLowerCase() === "d") { stop(); this.run("duplicate", address); }
    else if (key.toLowerCase() === "a") {
      stop();
      const parts = address.split(".");
      const index = Number(parts.pop());
      this.palette(parts.join("."), index + 1);
    }
  }

  // Drag: a line shows where the block would stand

  onDrag(event) {
    const { type, target } = event;
    const clear = () => document.querySelectorAll("#mail-blocks .is-before, #mail-blocks .is-after").forEach((one) => one.classList.remove("is-before", "is-after"));
    if (type === "dragstart") {
      const grip = target.closest?.(".mail-grip");
      if (!grip) return;
      this.dragged = grip.closest("[data-at]");
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("text/plain", this.dragged.dataset.at);
      return;
    }
    if (type === "dragend") { clear(); this.dragged = null; return; }
    const over = this.dragged && target.closest?.("[data-at]");
    if (type === "dragleave" || !over || this.dragged.contains(over)) { clear(); return; }
    event.preventDefault();
    clear();
    const box = over.querySelector(".mail-line").getBoundingClientRect();
    const isAfter = event.clientY > box.top + box.height / 2;
    over.classList.add(isAfter ? "is-after" : "is-before");
    if (type === "drop") { clear(); this.move(this.dragged.dataset.at, over.dataset.at, isAfter); }
  }

  move(from, to, isAfter) {
    const [source, at] = place(this.owner.blocks, from);
    if (to.includes(".") && !simple.includes(source[at].kind)) return;
    this.opened = "";
    this.owner.change((blocks) => {
      const [list, index] = place(blocks, from);
      const [target, near] = place(blocks, to);
      const block = list[index];
      list[index] = null;
      target.splice(near + (isAfter ? 1 : 0), 0, block);
      list.splice(list.indexOf(null), 1);
    }, { message: words.moved });
  }
}
