// Uploads a file with real progress, and keeps the numbers of a running import fresh. Without it, forms post and pages reload.

const form = document.querySelector(".import-upload");
form?.addEventListener("submit", (event) => {
  if (!form.querySelector("input[type=file]").files.length) return;
  event.preventDefault();
  const bar = form.querySelector("progress");
  const button = form.querySelector("button");
  const said = form.querySelector("[role=status]");
  const request = new XMLHttpRequest();
  const again = () => { bar.hidden = true; button.disabled = false; said.textContent = ""; };
  bar.hidden = false;
  button.disabled = true;
  request.upload.addEventListener("progress", (now) => { if (now.lengthComputable) bar.value = now.loaded / now.total; });
  request.upload.addEventListener("load", () => { bar.removeAttribute("value"); said.textContent = said.dataset.said; });
  request.addEventListener("load", () => {
    if (request.status === 200 && new URL(request.responseURL).pathname !== location.pathname) {
      location.assign(request.responseURL);
      return;
    }
    again();
    // The same page again, with what is wrong: our own template, escaped by Django.
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    const errors = page.querySelector(".import-upload .errorlist");
    form.querySelector(".errorlist")?.remove();
    if (errors) form.querySelector(".field").append(document.importNode(errors, true));
    else said.textContent = `${request.status} ${request.statusText}`;
  });
  request.addEventListener("error", () => { again(); form.submit(); });
  request.open("POST", location.href);
  request.send(new FormData(form));
});

const progress = document.querySelector("#progress[data-poll]");
const poll = async () => {
  if (document.hidden) return setTimeout(poll, 1500);
  try {
    const answer = await fetch(progress.dataset.poll);
    if (answer.redirected) return location.reload();
    if (answer.ok) {
      const held = progress.contains(document.activeElement) ? document.activeElement.value : "";
      progress.innerHTML = await answer.text();
      if (held) progress.querySelector(`button[value="${held}"]`)?.focus();
      // What is done offers more than numbers.
      if (!progress.querySelector("[data-busy='1']")) return location.reload();
    }
  } catch { /* The server is away; the numbers stand, and are asked again. */ }
  return setTimeout(poll, 1500);
};
if (progress) setTimeout(poll, 1500);
