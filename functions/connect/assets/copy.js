// Copies the link at the press of a button, which is there only if this script runs.
"use strict";
const field = document.getElementById("link");
const button = document.getElementById("copy");
const copied = document.getElementById("copied");

async function copy() {
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    copied.textContent = "The link is copied.";
  } catch {
    copied.textContent = "This browser does not let pages copy. The link is selected: copy it by keyboard or menu.";
  }
}

field.addEventListener("focus", () => field.select());
button.addEventListener("click", copy);
button.hidden = false;
