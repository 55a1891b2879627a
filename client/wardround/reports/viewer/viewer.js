// Keys, and choices that send their form. Everything also works without this script.
"use strict";

const OFF = "wardround-letters-off";
const help = document.getElementById("help");
const letters = document.getElementById("letters");

function remembered() {
  try { return sessionStorage.getItem(OFF) === "1"; } catch { return false; }
}

function remember(off) {
  try { off ? sessionStorage.setItem(OFF, "1") : sessionStorage.removeItem(OFF); } catch { /* not kept, then */ }
}

letters.checked = !remembered();
letters.addEventListener("change", () => remember(!letters.checked));
document.getElementById("keys").addEventListener("click", () => help.showModal());

for (const choice of document.querySelectorAll("select[data-sends]")) {
  choice.addEventListener("change", () => choice.form.requestSubmit());
}

// An address names only what differs from the usual.
for (const form of document.querySelectorAll("form[method=get]")) {
  form.addEventListener("submit", () => {
    const usual = { scope: "anywhere", order: "study" };
    for (const field of form.elements) {
      if (field.name && (field.value === "" || field.value === usual[field.name])) field.disabled = true;
    }
  });
}
// A page that the browser brings back would still have them disabled.
window.addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll("form[method=get] :disabled")) field.disabled = false;
});

function step(forward) {
  const lines = [...document.querySelectorAll("a.line")];
  if (!lines.length) return false;
  const at = lines.indexOf(document.activeElement);
  const next = at < 0 ? (forward ? 0 : lines.length - 1) : at + (forward ? 1 : -1);
  if (lines[next]) lines[next].focus();
  return true;
}

function press(key) {
  const marked = document.querySelector(`[data-key~="${CSS.escape(key)}"]`);
  if (marked) {
    if (marked.matches("input, select")) { marked.focus(); if (marked.select) marked.select(); } else marked.click();
    return true;
  }
  if (key === "j" || key === "k") return step(key === "j");
  return false;
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.target.matches("input, select, textarea, [contenteditable]")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const onLine = event.target.matches("a.line");
  if (onLine && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    if (step(event.key === "ArrowDown")) event.preventDefault();
    return;
  }
  if (event.key.length === 1 && !letters.checked) return;
  // Where something scrolls sideways, the arrows belong to it.
  if (event.key.startsWith("Arrow") && event.target.matches(".wide")) return;
  if (press(event.key)) event.preventDefault();
});
