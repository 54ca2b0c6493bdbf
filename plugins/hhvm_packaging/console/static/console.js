// A part of the page is not replaced while somebody is in it: it would take away what they type or choose.
for (const name of ["htmx:beforeSwap", "htmx:oobBeforeSwap"]) {
  document.addEventListener(name, (event) => {
    const target = event.detail.target;
    const polled = target && target.hasAttribute("data-polled");
    if (polled && target.contains(document.activeElement) && document.activeElement !== document.body) {
      event.detail.shouldSwap = false;
    }
  });
}
// What somebody opened stays open when its part of the page is replaced.
const opened = new Set();
const nameOf = (details) => `${details.closest("[id]")?.id} ${details.querySelector("summary")?.textContent}`;
document.addEventListener("toggle", (event) => {
  if (event.target.open) {
    opened.add(nameOf(event.target));
  } else {
    opened.delete(nameOf(event.target));
  }
}, true);
document.addEventListener("htmx:load", (event) => {
  for (const details of event.detail.elt.querySelectorAll("details")) {
    if (opened.has(nameOf(details))) {
      details.open = true;
    }
  }
});
// What is started once is not started twice by a second click.
document.addEventListener("submit", (event) => {
  if (event.target.method === "post") {
    for (const button of event.target.querySelectorAll("button")) {
      setTimeout(() => { button.disabled = true; }, 0);
    }
  }
});
