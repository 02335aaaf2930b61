// Shows by itself what has changed, and how long ago things were. It asks every two seconds, and more rarely while nothing
// changes; and not at all while nobody sees the page, or somebody is busy in it.
"use strict";
const SOON = 2000;
const RARELY = 30000;
const MOST_FAILURES = 5;
const live = document.getElementById("live");
const on = document.getElementById("live-on");
let tag = live.dataset.tag;
let pause = SOON;
let failures = 0;
let asking = false;
let timer;

const isBusy = () => live.contains(document.activeElement);

// Whether something has changed, which is then shown.
async function ask() {
  const answer = await fetch(location.href, { redirect: "error", headers: { "x-live": "1", "if-none-match": tag } });
  if (answer.status === 304) return false;
  if (!answer.ok) throw new Error(answer.statusText);
  const changed = await answer.text();
  if (!isBusy()) {
    const open = [...live.querySelectorAll("details[open]")].map((details) => details.id);
    live.innerHTML = changed;
    for (const details of live.querySelectorAll("details")) details.open = open.includes(details.id);
    tag = answer.headers.get("etag");
    tellAges();
  }
  return true;
}

async function look() {
  if (asking) return;
  asking = true;
  try {
    pause = isBusy() || (await ask()) ? SOON : Math.min(pause * 1.5, RARELY);
    failures = 0;
  } catch {
    failures += 1;
  }
  asking = false;
  plan();
}

function plan() {
  clearTimeout(timer);
  if (on.checked && !document.hidden && failures <= MOST_FAILURES) timer = setTimeout(look, pause);
}

function lookSoon() {
  pause = SOON;
  failures = 0;
  plan();
}

function age(seconds) {
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

function tellAges() {
  for (const time of live.querySelectorAll("time.ago")) {
    const told = age(Math.max(0, Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000)));
    if (time.textContent !== told) time.textContent = told;
  }
}

document.querySelector(".live-switch").hidden = false;
on.addEventListener("change", lookSoon);
document.addEventListener("visibilitychange", lookSoon);
window.addEventListener("focus", lookSoon);
setInterval(tellAges, 1000);
tellAges();
plan();
