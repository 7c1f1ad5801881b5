// A picker beside each colour, and how well it is read upon the colour it stands on, while one chooses. The server
// reckons the same when the form is saved; without this script the text inputs do all.

const fields = [...document.querySelectorAll(".colour")];
const textOf = (field) => field.querySelector(".colour-text");

/** A colour as the browser understands it, as #rrggbb; null for what is none. */
function read(text) {
  if (!text || !CSS.supports("color", text)) return null;
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.fillStyle = text;
  return canvas.fillStyle.startsWith("#") ? canvas.fillStyle : null;
}

const shown = (field) => read(textOf(field).value.trim()) ?? field.dataset.plain;

function light(colour) {
  const [red, green, blue] = [1, 3, 5].map((place) => {
    const share = parseInt(colour.slice(place, place + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one, other) {
  const [less, more] = [light(one), light(other)].sort((a, b) => a - b);
  return (more + 0.05) / (less + 0.05);
}

function tell() {
  for (const field of fields) {
    field.querySelector("input[type=color]").value = shown(field);
    const said = field.querySelector("output");
    if (!said) continue;
    const ground = fields.find((one) => textOf(one).name === field.dataset.upon);
    const ratio = contrast(shown(field), shown(ground));
    const number = new Intl.NumberFormat(document.documentElement.lang, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
    said.querySelector("span").textContent = number.format(Math.floor(ratio * 10) / 10);
    said.classList.toggle("is-good", ratio >= 4.5);
    said.classList.toggle("is-bad", ratio < 4.5);
  }
}

for (const field of fields) {
  const picker = field.querySelector("input[type=color]");
  picker.hidden = false;
  picker.addEventListener("input", () => {
    textOf(field).value = picker.value;
    tell();
  });
  textOf(field).addEventListener("input", tell);
}
tell();
