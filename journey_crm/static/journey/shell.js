/* The shell's few words of script. Everything works without it: menus are native popovers, forms post.

   toast("Deleted.", {label: "Undo", run: () => …})  shows a message for eight seconds, longer while pointed at or focused;
   a server-rendered .toast element is dismissed the same way, after data-stays milliseconds where it says so. Ctrl+K opens "Go to", which lists the navigation. */

export const linger = (toast) => {
  let timer;
  const start = () => { timer = setTimeout(() => toast.remove(), Number(toast.dataset.stays) || 8000); };
  for (const name of ["pointerenter", "focusin"]) toast.addEventListener(name, () => clearTimeout(timer));
  for (const name of ["pointerleave", "focusout"]) toast.addEventListener(name, start);
  start();
};

export const toast = (text, action) => {
  document.querySelectorAll(".toast:not(:has(form))").forEach((old) => old.remove());
  const box = document.createElement("div");
  box.className = "toast";
  box.setAttribute("role", "status");
  document.body.append(box);
  const words = document.createElement("span");
  words.textContent = text;
  box.append(words);
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = action.label;
    button.addEventListener("click", () => { box.remove(); action.run(); });
    box.append(button);
  }
  linger(box);
  return box;
};

document.querySelectorAll(".toast").forEach(linger);

// A tree wider than its pane starts in the middle; filters start shut where they stand above the list.
for (const canvas of document.querySelectorAll(".is-canvas")) canvas.scrollLeft = (canvas.scrollWidth - canvas.clientWidth) / 2;
if (matchMedia("(max-width: 1100px)").matches) document.querySelectorAll("#changelist-filter details").forEach((filter) => { filter.open = false; });

// Django gives fields inside tables no label; the head of their column is one.
for (const field of document.querySelectorAll("#result_list td :is(input, select, textarea), .tabular td :is(input, select, textarea)")) {
  const cell = field.closest("td");
  const head = cell.closest("table").tHead?.rows[0]?.cells[cell.cellIndex];
  if (head && !field.labels?.length && !field.ariaLabel && field.type !== "hidden") field.ariaLabel = head.textContent.trim();
}

const palette = document.querySelector("dialog.palette");
if (palette) {
  const input = palette.querySelector("input");
  const list = palette.querySelector("ul");
  const find = list.firstElementChild; // "Find … in contacts", when the user may see contacts
  find?.remove();
  const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const show = () => {
    const words = plain(input.value.trim());
    list.replaceChildren();
    for (const link of document.querySelectorAll(".side a")) {
      const text = link.textContent.trim();
      if (words && !plain(text).includes(words)) continue;
      const item = document.createElement("li");
      const copy = link.cloneNode(true);
      copy.removeAttribute("aria-current");
      item.append(copy);
      list.append(item);
    }
    if (find && words) {
      const link = find.querySelector("a");
      link.href = `${link.dataset.url}?q=${encodeURIComponent(input.value.trim())}`;
      link.querySelector("b").textContent = input.value.trim();
      list.append(find);
    }
  };
  const open = () => { input.value = ""; show(); palette.showModal(); input.focus(); };
  input.addEventListener("input", show);
  palette.addEventListener("keydown", (event) => {
    const links = [...list.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    if (event.key === "Enter" && document.activeElement === input) { event.preventDefault(); links[0]?.click(); }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const next = at + (event.key === "ArrowDown" ? 1 : -1);
      (next < 0 ? input : links[Math.min(next, links.length - 1)])?.focus();
    }
  });
  palette.addEventListener("click", (event) => { if (event.target === palette) palette.close(); });
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey) { event.preventDefault(); palette.open || open(); }
  });
  document.querySelectorAll("[data-palette]").forEach((button) => button.addEventListener("click", open));
}
