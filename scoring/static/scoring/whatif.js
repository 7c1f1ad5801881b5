// “What would this change?” on the form of a score: sends the form as it stands, and shows what the server says of it.
import { toast } from "../journey/shell.js";

const box = document.querySelector("#whatif");
const button = box?.querySelector("[data-whatif]");
const result = box?.querySelector("[data-result]");

async function weigh() {
  const { form } = button;
  // What was typed last into a rule may still be on its way.
  await Promise.all([...form.querySelectorAll("rule-builder")].map((builder) => builder.settle?.()));
  button.disabled = true;
  result.textContent = box.dataset.working;
  try {
    const response = await fetch(box.dataset.url, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    if (!response.ok && response.status !== 422) throw new Error(response.status);
    result.innerHTML = await response.text(); // our own template, escaped by Django
  } catch {
    result.textContent = "";
    toast(box.dataset.offline);
  } finally {
    button.disabled = false;
  }
}

if (button) {
  button.hidden = false;
  button.addEventListener("click", weigh);
}
