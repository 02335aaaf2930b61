// Shows by itself what has changed: every two seconds, while the page is seen and nobody is busy in it.
"use strict";
const live = document.getElementById("live");
const on = document.getElementById("live-on");
document.querySelector(".live-switch").hidden = false;
let failures = 0;
setInterval(async () => {
  if (!on.checked || document.hidden || failures > 5 || live.contains(document.activeElement)) return;
  try {
    const answer = await fetch(location.href, { redirect: "error", headers: { "x-live": "1" } });
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("live");
    if (fresh && fresh.innerHTML !== live.innerHTML && !live.contains(document.activeElement)) live.replaceChildren(...fresh.childNodes);
    failures = 0;
  } catch {
    failures += 1;
  }
}, 2000);
