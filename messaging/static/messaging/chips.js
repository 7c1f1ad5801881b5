// Values in texts: a picker that asks what stands there where the value is missing, and texts shown with their values.
import { dialog, el, equipment, icon, say, words } from "./drawing.js";

const LIQUID = /\{\{.*?\}\}|\{%.*?%\}/gs;
const labels = new Map(equipment.chips.flatMap((group) => group.fields.map((field) => [field.path, field.label])));

// A text as nodes: values as chips, other Liquid as code, the rest as it is.
export function shown(text) {
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(LIQUID)) {
    nodes.push(text.slice(at, match.index));
    at = match.index + match[0].length;
    const value = /^\{\{\s*([\w.-]+)\s*(?:\|\s*default:\s*(["'])(.*?)\2\s*)?\}\}$/.exec(match[0]);
    if (value) nodes.push(el("span", { class: "chip is-violet", title: match[0], text: (labels.get(value[1]) ?? value[1]) + (value[3] ? ` · ${value[3]}` : "") }));
    else nodes.push(el("code", { class: "mail-code", text: match[0] }));
  }
  nodes.push(text.slice(at));
  return nodes;
}

// `{{ path | default: "…" }}`; Liquid's texts know no escapes, so one kind of quotes has to do.
export function token(path, fallback) {
  if (!fallback) return `{{ ${path} }}`;
  const quote = fallback.includes('"') && !fallback.includes("'") ? "'" : '"';
  return `{{ ${path} | default: ${quote}${fallback.replaceAll(quote, "”")}${quote} }}`;
}

function insert(field, text) {
  const [from, to] = [field.selectionStart ?? field.value.length, field.selectionEnd ?? field.value.length];
  field.focus();
  field.setRangeText(text, from, to, "end");
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

// Asks for a value and its fallback, and inserts it where the cursor of the field stands.
export function pick(field) {
  const select = el("select", { id: "chip-field", name: "field" }, ...equipment.chips.map((group) =>
    el("optgroup", { label: group.name }, ...group.fields.map((one) => el("option", { value: one.path, text: one.label })))));
  const fallback = el("input", { id: "chip-fallback", type: "text", autocomplete: "off", "aria-describedby": "chip-about" });
  const about = el("p", { id: "chip-about", class: "help" });
  const code = el("code", { class: "mail-code" });
  const always = () => equipment.chips.flatMap((group) => group.fields).find((one) => one.path === select.value)?.is_always;
  const draw = () => {
    fallback.required = !always();
    fallback.setCustomValidity(fallback.required && !fallback.value.trim() ? words.fallbackNeeded : "");
    about.textContent = always() ? words.alwaysThere : words.fallbackNeeded;
    code.textContent = token(select.value, fallback.value.trim() || (always() ? "" : "…"));
  };
  const form = el("form", { method: "dialog", class: "mail-chip-form" },
    el("h2", { text: words.insertValue }),
    el("div", { class: "field" }, el("label", { for: "chip-field", text: words.field }), select),
    el("div", { class: "field" }, el("label", { for: "chip-fallback", text: words.fallback }), fallback, about),
    el("p", {}, code),
    el("div", { class: "row" },
      el("button", { type: "submit", class: "button is-main", text: words.insert }),
      el("button", { type: "button", class: "button", text: words.cancel, on: { click: () => box.close() } })));
  form.addEventListener("input", draw);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    draw();
    if (!fallback.checkValidity()) { fallback.reportValidity(); return; }
    box.keepsFocus = true;
    box.close();
    insert(field, token(select.value, fallback.value.trim()));
  });
  const box = dialog(words.insertValue, "mail-chips", form);
  draw();
  select.focus();
}

// The button beside a field's label.
export const chipButton = (field) =>
  el("button", { type: "button", class: "button is-plain is-small mail-chip-button", title: say("insertValue"), on: { click: () => pick(field()) } }, icon("tag"), el("span", { text: words.insertValue }));
