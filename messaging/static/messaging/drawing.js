// What the parts of the editor share: elements made without HTML, so that nothing people write is ever read as markup.

export const equipment = JSON.parse(document.getElementById("mail-equipment").textContent);
export const words = equipment.words;

// A sentence with its `{names}` filled in.
export const say = (name, values = {}) => words[name].replace(/\{(\w+)\}/g, (all, key) => values[key] ?? all);

// el("button", {class: "button", text: "Go", on: {click: …}}, child, …): properties are attributes; false leaves one out.
export function el(tag, { on = {}, text, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  if (text != null) made.textContent = text;
  for (const [name, run] of Object.entries(on)) made.addEventListener(name, run);
  made.append(...children.filter((child) => child != null));
  return made;
}

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `${equipment.icons}#${name}`);
  svg.append(use);
  return svg;
}

export const iconButton = (name, label, run, more = {}) =>
  el("button", { type: "button", class: "bar-button", title: label, on: { click: run }, ...more }, icon(name), el("span", { class: "visually-hidden", text: label }));

// A question that waits for its answer: closes on Escape and beside it, and gives the focus back.
export function dialog(label, className, ...children) {
  const back = document.activeElement;
  const box = el("dialog", { class: `palette ${className}`, "aria-label": label }, ...children);
  box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
  box.addEventListener("close", () => { box.remove(); if (!box.keepsFocus) back?.focus(); });
  document.body.append(box);
  box.showModal();
  return box;
}

const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

// The palette of blocks: filtered by what is typed, walked by arrows, chosen by Enter.
export function choose(label, options, run) {
  const input = el("input", { type: "search", placeholder: words.filter, "aria-label": words.filter, autocomplete: "off" });
  const list = el("ul", {});
  const box = dialog(label, "mail-palette", input, list);
  const show = () => {
    const wanted = plain(input.value.trim());
    const found = options.filter((one) => plain(`${one.label} ${one.about}`).includes(wanted));
    // Whose name it is stands before whom it only describes.
    found.sort((one, other) => plain(other.label).includes(wanted) - plain(one.label).includes(wanted));
    list.replaceChildren(...found.map((one) =>
      el("li", {}, el("button", { type: "button", "data-kind": one.value, on: { click: () => { box.keepsFocus = true; box.close(); run(one.value); } } },
        icon(one.icon), el("span", {}, el("strong", { text: one.label }), el("small", { class: "quiet", text: one.about }))))));
  };
  input.addEventListener("input", show);
  box.addEventListener("keydown", (event) => {
    const buttons = [...list.querySelectorAll("button")];
    if (event.key === "Enter" && event.target === input) { event.preventDefault(); buttons[0]?.click(); }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    const next = buttons.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    (next < 0 ? input : buttons[Math.min(next, buttons.length - 1)])?.focus();
  });
  show();
  input.focus();
}
