/* Keys of the sales workspace. Every key only does what a visible link or button does, so all works without it.

   An element says by data-key which key clicks it; a <summary> is opened and its first field takes the focus.
   Where no such element is on the page, #key-words says why. */

import { toast } from "../journey/shell.js";

const KEYS = "sales-keys"; // localStorage: "off" where a person switched single keys off (WCAG 2.1.4)
const BY_KEY = "sales-by-key"; // sessionStorage: the page was reached by a key, so the focus follows
const words = document.querySelector("#key-words").dataset;
const box = document.querySelector(".sales-switch");
const onOff = box.querySelector("input");

box.hidden = false;
onOff.checked = localStorage.getItem(KEYS) !== "off";
onOff.addEventListener("change", () => localStorage.setItem(KEYS, onOff.checked ? "on" : "off"));

document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  const form = event.target.closest?.("details.sales-form[open]");
  if (key === "escape" && form) {
    form.open = false;
    form.querySelector("summary").focus();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !"jkcer?".includes(key)) return;
  if (!onOff.checked || event.target.closest?.("input, textarea, select, dialog")) return;
  event.preventDefault();
  const what = document.querySelector(`[data-key="${key}"]`);
  if (!what) return void (words[key] && toast(words[key]));
  if (what.matches("summary")) {
    what.parentElement.open = true;
    what.parentElement.querySelector("input:not([type=hidden])")?.focus();
    return;
  }
  if (key !== "?") sessionStorage.setItem(BY_KEY, "1");
  what.click();
});

document.querySelector(".sales-list [aria-current]")?.scrollIntoView({ block: "nearest" });
if (sessionStorage.getItem(BY_KEY)) {
  sessionStorage.removeItem(BY_KEY);
  document.querySelector("#person")?.focus({ preventScroll: true });
}

// Screen readers read out what appears, not what was there when the page opened.
const said = document.querySelector(".toast");
if (said) toast(said.textContent.trim());
