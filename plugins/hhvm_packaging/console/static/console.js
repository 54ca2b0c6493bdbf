// A part of the page is not replaced while somebody is in it: it would take away what they type or choose.
document.addEventListener("htmx:beforeSwap", (event) => {
  const target = event.detail.target;
  const polled = target && target.hasAttribute("data-polled");
  if (polled && target.contains(document.activeElement) && document.activeElement !== document.body) {
    event.detail.shouldSwap = false;
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
