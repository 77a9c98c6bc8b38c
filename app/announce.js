// Has a screen reader read out an answer, once it is there as a whole.
(() => {
  if (window.vqaAnnounces) return; // once for each page
  window.vqaAnnounces = true;
  const region = document.createElement("div");
  region.className = "read-out";
  region.setAttribute("role", "status");
  region.setAttribute("aria-live", "polite");
  document.body.append(region);

  const last = () => [...document.querySelectorAll('[data-testid="stChatMessage"]')].at(-1);
  const answer = () => { // the last one, if it has ended
    const menu = last()?.querySelector('[class*="st-key-more-"]');
    return menu?.className.match(/st-key-more-\S+/)[0] ?? "";
  };
  let before = null; // the answer that stood there when somebody asked

  const asks = (event) => {
    const button = '[data-testid="stChatInput"], [class*="st-key-suggested-"], [class*="st-key-again-"], form';
    if (event.type === "click" || event.key === "Enter")
      if (event.target.closest?.(button)) before = answer();
  };
  const announce = () => {
    if (before === null || !answer() || answer() === before) return;
    before = null;
    const words = '[data-testid="stMarkdown"]:not([class*="st-key-row-"] *), [data-testid="stAlert"]';
    region.textContent = [...last().querySelectorAll(words)].map((one) => one.innerText).join("\n");
  };
  window.addEventListener("click", asks, true);
  window.addEventListener("keydown", asks, true);
  setInterval(announce, 200);
})();
